package dispatch

import (
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// step takes a task one stage further, if it can go.
func (p *process) step(t *task, luck uint8) bool {
	switch t.at {
	case idle:
		return p.choose(t, int(luck)&1, luck>>1)
	case intend:
		return p.intended(t)
	case begin:
		return p.begin(t)
	case body:
		return p.end(t, luck)
	case answer:
		return p.conclude(t, luck)
	case settle:
		return p.settled(t)
	case tell:
		p.tellRecord(t.outcome)
		t.at = follow
	case follow:
		p.follow(t)
		t.at = ack
	case ack:
		p.finish(t)
	case expire:
		return p.closed(t)
	}
	return true
}

// leadMs is how long before its slot a request is chosen.
const leadMs = ms(lead / time.Millisecond)

// choose waits for a slot, takes what the pool has, or two pieces of it, and
// writes the intent.
func (p *process) choose(t *task, acct int, luck uint8) bool {
	if len(p.pool[acct]) == 0 {
		return false
	}
	slot := &p.slots[acct]
	if !slot.ok {
		regime := p.regime[acct]
		at, ok := p.slot(acct)
		*slot = granted{ok, at, regime}
		return ok
	}
	if wait := slot.at - leadMs - p.w.now; wait > 100 {
		return false
	} else if wait > 0 {
		p.w.now += wait
	}
	n := min(2, len(p.pool[acct]))
	pieces := slices.Clone(p.pool[acct][:n])
	var free, over []int
	for _, i := range pieces {
		for m := range p.w.msgs {
			if p.w.queue[i].msgs>>m&1 == 0 || slices.Contains(free, m) || slices.Contains(over, m) || p.view().of[m].State != idempotency.Free {
				continue
			}
			switch x := &p.w.msgs[m]; {
			case x.expires > p.w.now+p.wall:
				free = append(free, m)
			case p.view().of[m].Released:
				x.letters = max(x.letters, 1) // what may have been sent stays uncertain
			default:
				over = append(over, m)
			}
		}
	}
	p.pool[acct] = slices.Delete(p.pool[acct], 0, n)
	*t = task{account: acct, pieces: pieces, slot: slot.at, regime: slot.regime}
	*slot = granted{}
	if len(over) > 0 || len(free) == 0 {
		return p.expire(t, over, luck)
	}
	t.at, t.msgs = intend, free
	t.asked, t.wall = p.mono(), p.w.now+p.wall
	p.w.notef("%s chooses %v for %s, slot in %d ms", p.owner, free, p.w.names[acct], t.slot-p.w.now)
	t.rec = p.append(idempotency.Record{
		Kind: idempotency.Intent, Account: p.w.names[acct], Spans: p.w.spans(free), LeaseMillis: leaseMs,
	}, free, luck)
	return true
}

// expire closes what has expired.
func (p *process) expire(t *task, over []int, luck uint8) bool {
	t.at = ack
	if len(over) > 0 {
		t.at, t.msgs = expire, over
		t.rec = p.append(idempotency.Record{Kind: idempotency.Close, Account: p.w.names[t.account], Reason: "expired", Spans: p.w.spans(over)}, over, luck)
	}
	return true
}

func (p *process) closed(t *task) bool {
	p.again(t.rec)
	if !p.back(t.rec) {
		return false
	}
	p.tellRecord(t.rec)
	t.at = ack
	return true
}

// intended waits for the intent's own coming back.
func (p *process) intended(t *task) bool {
	switch {
	case p.back(t.rec), p.w.broken.noOwnTail:
	case !mayStart(time.Duration(p.mono()-t.asked) * time.Millisecond):
		t.rec.orphan = true // an Append that has given up
		p.handBack(t)
		*t = task{}
		return true
	default:
		p.again(t.rec) // published again until the time is over
		return false
	}
	t.won, t.at = make([]bool, len(t.msgs)), begin
	any := false
	for i := range t.msgs {
		t.won[i] = p.w.broken.noOwnTail || !lostAt(t.rec, i)
		any = any || t.won[i]
	}
	if !any {
		p.handBack(t)
		*t = task{}
	}
	return true
}

// begin waits for the slot and lets the first byte go.
func (p *process) begin(t *task) bool {
	w := p.w
	if w.now < t.slot {
		if t.slot-w.now > 100 {
			return false
		}
		w.now = t.slot // it sleeps until then
	}
	switch {
	case !w.broken.noRegime && p.regime[t.account] != t.regime:
		return p.unsent(t)
	case w.now > t.slot+maxLate:
		if !mayStart(time.Duration(p.mono()-t.asked) * time.Millisecond) {
			return p.unsent(t)
		}
		at, ok := p.slot(t.account)
		if !ok {
			return p.unsent(t)
		}
		t.slot = at
		return true
	}
	for i, m := range t.msgs {
		if t.won[i] && w.msgs[m].expires <= w.now+p.wall {
			return p.unsent(t)
		}
	}
	w.notef("%s begins attempt %d on %s", p.owner, t.rec.seq, w.names[t.account])
	w.first(t.account, p.owner)
	t.sent, t.at = p.mono(), body
	return true
}

// unsent ends an attempt of which nothing, or not all, has left.
func (p *process) unsent(t *task) bool {
	p.w.notef("%s gives attempt %d up, not sent", p.owner, t.rec.seq)
	t.whole, t.at = true, answer
	for i := range t.results {
		t.results[i] = providers.Unavailable
	}
	return true
}

// end lets the last byte go, if the fence lets it, and the gateway decide.
func (p *process) end(t *task, luck uint8) bool {
	w := p.w
	since := func(a, b ms) time.Duration { return time.Duration(b-a) * time.Millisecond }
	if !w.broken.noFence && (!mayEnd(since(t.asked, p.mono()), since(t.wall, w.now+p.wall)) || p.proved(t)) {
		return p.unsent(t)
	}
	var msgs []int
	for i, m := range t.msgs {
		if t.won[i] {
			msgs = append(msgs, m)
			if p.view().of[m].CloseStands == journal.Reported && !w.broken.noFence {
				w.fail("message %d left a second time, and its process knew of a report on the first", m)
			}
		}
	}
	fate := luck % 16
	takes := fate <= 7 || fate >= 12
	w.notef("%s ends attempt %d of %v, fate %d", p.owner, t.rec.seq, msgs, fate)
	w.post(t.account, msgs, uint64(t.rec.seq), takes)
	if fate >= 12 && w.broken.resendOnEOF {
		w.post(t.account, msgs, uint64(t.rec.seq), takes)
	}
	p.decideFate(t, fate)
	t.at = answer
	if w.broken.ackFirst {
		for _, i := range t.pieces {
			w.queue[i].acked = true
		}
	}
	return true
}

// proved reports whether it has become known that the first attempt was taken.
func (p *process) proved(t *task) bool {
	if p.w.broken.noProof {
		return false
	}
	for i, m := range t.msgs {
		if t.won[i] && p.view().of[m].CloseStands == journal.Reported {
			return true
		}
	}
	return false
}

// decideFate is the gateway's answer.
func (p *process) decideFate(t *task, fate uint8) {
	class := providers.Accepted
	t.whole = true
	switch {
	case fate <= 7:
		t.whole = false
	case fate == 8:
		class = providers.Uncertain // it answered 500, and took nothing
	case fate == 9:
		class = providers.Throttled
	case fate == 10:
		class = providers.RejectedHere
	case fate == 11:
		class = providers.Rejected
	default:
		class = providers.Uncertain // it took all, and its answer was lost
	}
	for i := range t.results {
		t.results[i] = class
	}
}

// conclude writes the outcome.
func (p *process) conclude(t *task, luck uint8) bool {
	if t.sent > 0 && p.mono()-t.sent > reqTimeout {
		t.whole = true
		for i := range t.results {
			if t.results[i] != providers.Unavailable {
				t.results[i] = providers.Uncertain // nobody read the answer in time
			}
		}
	}
	states, class := make([]idempotency.State, len(t.msgs)), make([]byte, len(t.msgs))
	for i, m := range t.msgs {
		x := &p.w.msgs[m]
		enough := x.expires > p.w.now+p.wall+ms(evidenceHigh/time.Millisecond)
		t.verdict[i] = decide(t.results[i], facts{
			single: !t.whole, hasNext: t.account == 0, retry: enough && retries(&x.piece, "", p.view().of[m].Released),
		})
		if t.won[i] {
			states[i] = t.verdict[i].to
		}
		if class[i] = '-'; t.verdict[i].status == envelope.Failed {
			class[i] = 'f'
		}
	}
	t.outcome = p.append(idempotency.Record{
		Kind: idempotency.Outcome, Account: p.w.names[t.account], Intent: uint64(t.rec.seq), Runs: idempotency.AppendRuns(states), Class: string(class),
	}, t.msgs, luck)
	t.at = settle
	return true
}

// settled waits for the outcome's coming back.
func (p *process) settled(t *task) bool {
	p.again(t.outcome)
	if !p.back(t.outcome) {
		return false
	}
	t.at = tell
	return true
}

// follow does what the verdicts ask for, but for what the outcome lost.
func (p *process) follow(t *task) {
	var proved []int
	for i, m := range t.msgs {
		if !t.won[i] {
			continue
		}
		if lostAt(t.outcome, i) {
			if t.results[i] == providers.Accepted {
				proved = append(proved, m)
			}
			continue
		}
		if slices.Contains(t.outcome.effect.Freed, uint32(i)) {
			continue
		}
		switch t.verdict[i].then {
		case dead:
			p.w.msgs[m].letters++
		case renew:
			p.w.schedule(t.account, 1<<m, uint64(t.rec.seq), ms(evidenceHigh/time.Millisecond))
		case later:
			p.w.schedule(t.account, 1<<m, 0, 1000)
		case move:
			p.w.queue = append(p.w.queue, queued{account: 1, msgs: 1 << m})
		}
	}
	if len(proved) > 0 {
		p.prove(proved)
	}
}

// prove says of messages that others have freed since that they were sent.
func (p *process) prove(msgs []int) {
	p.append(idempotency.Record{Kind: idempotency.Close, Reason: journal.Reported, Spans: p.w.spans(msgs)}, msgs, 0)
	for _, m := range msgs {
		p.w.tell(m, envelope.Submitted)
	}
}

// finish lets the pieces go, or keeps what is to be tried again.
func (p *process) finish(t *task) {
	for _, i := range t.pieces {
		q, again, foreign := &p.w.queue[i], false, false
		for m := range p.w.msgs {
			if q.msgs>>m&1 == 0 {
				continue
			}
			n := slices.Index(t.msgs, m)
			if n >= 0 && t.rec != nil && t.rec.Kind == idempotency.Intent && t.won[n] && !lostAt(t.outcome, n) {
				again = again || t.verdict[n].to == idempotency.Free && t.verdict[n].then != later && t.verdict[n].then != move &&
					!slices.Contains(t.outcome.effect.Freed, uint32(n))
				continue
			}
			switch s := p.view().of[m]; {
			case s.State == idempotency.Closed, s.State == idempotency.Free && s.Released && n < 0 && p.w.msgs[m].letters > 0:
			case s.State == idempotency.Free && (t.rec == nil || t.rec.Kind == idempotency.Close):
				again = true // what expired was only a part
			default:
				foreign = true
			}
		}
		switch {
		case q.acked:
		case again && !foreign:
			p.pool[t.account] = append(p.pool[t.account], i)
		case foreign:
			q.held, q.until = false, p.w.now+nakFor
		default:
			q.acked = true
		}
	}
	*t = task{}
}

// handBack gives a task's pieces back to the queue.
func (p *process) handBack(t *task) {
	for _, i := range t.pieces {
		p.w.queue[i].held, p.w.queue[i].until = false, p.w.now+nakFor
	}
}
