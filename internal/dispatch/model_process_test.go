package dispatch

import (
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// process is a dispatcher, or as much of one as an ingest and a collector need.
type process struct {
	w     *world
	no    int
	life  int // it dies and comes again as another
	owner string

	tail   int // records that it has read
	readAt []ms
	slow   ms // its monotonic clock has stood still for so long
	wall   ms // its wall clock is ahead by this

	pool    [2][]int // held pieces with something to send, by account
	tasks   [atOnce]task
	frees   []freeing
	strays  []*entry
	pending [2]*entry // a record whose effect it waits for, of other business

	slots     [2]granted
	down      [2]ms // since when Redis has not answered; 0: it does
	from      [2]ms // when the mode may begin
	regime    [2]int
	others    ms
	aloneNext [2]ms
	cut       bool // off from Redis, alone
}

// granted is a slot that nothing was chosen for yet.
type granted struct {
	ok     bool
	at     ms
	regime int
}

// freeing is a release under way, for the messages of a held piece.
type freeing struct {
	piece int
	rec   *entry
}

type stage uint8

const (
	idle   stage = iota
	intend       // the intent is written, and waited for
	begin        // it won something, and waits for its slot
	body         // the first byte has left
	answer       // the last one too
	settle       // the outcome is written, and waited for
	tell
	follow
	ack
	expire // no request: a close record of what expired is waited for
)

// task is one attempt.
type task struct {
	at      stage
	account int
	pieces  []int
	msgs    []int // of the intent
	won     []bool
	rec     *entry
	asked   ms
	wall    ms
	slot    ms
	regime  int
	sent    ms
	results [mostMessages]providers.Class
	whole   bool // the class is the request's, not each message's own
	verdict [mostMessages]verdict
	outcome *entry
}

func (p *process) start() {
	*p = process{w: p.w, no: p.no, life: p.life + 1, slow: p.slow, wall: p.wall, cut: p.cut, others: -1e9}
	p.owner = fmt.Sprintf("%d.%d", p.no, p.life)
	p.tail = len(p.w.log)
	p.readAt = make([]ms, p.tail, 32)
	for i := range p.readAt {
		p.readAt[i] = p.mono() // leases count from here
		// A journal that begins at a checkpoint looks back, so that pacer.watch sees
		// every change of the regime that is younger than longAgo.
		if r := p.w.log[i]; r.Kind == idempotency.Sender && p.w.now-r.at < ms(longAgo/time.Millisecond) {
			p.from[accountNo(r.Account)] = p.mono() + hold
		}
	}
}

func (p *process) mono() ms { return p.w.now - p.slow }

// view is what the process knows.
func (p *process) view() *state { return &p.w.after[p.tail] }

// read folds the next record.
func (p *process) read() bool {
	if p.tail == len(p.w.log) {
		return false
	}
	r := p.w.log[p.tail]
	p.tail++
	p.readAt = append(p.readAt, p.mono())
	switch r.Kind {
	case idempotency.Intent:
		if r.owner != p.owner {
			p.others = p.mono()
		} else if r.orphan && r.effect.Acted > 0 {
			p.strays = append(p.strays, r)
		}
	case idempotency.Sender:
		i := accountNo(r.Account)
		p.from[i], p.regime[i] = p.mono()+hold, p.regime[i]+1
	}
	return true
}

func accountNo(name string) int { return int(name[0] - 'a') }

// append puts a record on its way: stored, delayed, or lost.
func (p *process) append(r idempotency.Record, msgs []int, luck uint8) *entry {
	rec := &entry{Record: r, owner: p.owner, from: p.no, messages: append([]int(nil), msgs...)}
	switch {
	case luck%16 < 13:
		p.w.store(rec)
	case luck%16 < 15:
		p.w.open = append(p.w.open, rec)
		p.w.notef("    %s by %s is on its way", r.Kind, p.owner)
	default:
		rec.dropped = true
		p.w.notef("    %s by %s is lost", r.Kind, p.owner)
	}
	return rec
}

// again publishes a record anew that did not reach the bus, with the same id.
func (p *process) again(r *entry) {
	if r.dropped {
		r.dropped = false
		p.w.store(r)
	}
}

// back reports whether a record has come back to its process.
func (p *process) back(r *entry) bool { return r.seq > 0 && r.seq <= p.tail }

// take is handed a piece by the queue: screen.
func (p *process) take(i int, luck uint8) {
	q := &p.w.queue[i]
	q.held, q.until = true, p.w.now+ackWait
	var free, unsettled, closed, taken []int
	for m := range p.w.msgs {
		if q.msgs>>m&1 == 0 {
			continue
		}
		switch p.view().of[m].State {
		case idempotency.Free:
			free = append(free, m)
		case idempotency.Unsettled:
			unsettled = append(unsettled, m)
		case idempotency.Closed:
			closed = append(closed, m)
		default:
			taken = append(taken, m)
		}
	}
	p.w.notef("%s takes piece %d: free %v, uncertain %v, closed %v, taken %v", p.owner, i, free, unsettled, closed, taken)
	if q.retryOf != 0 {
		mine := false
		for _, m := range unsettled {
			mine = mine || p.view().of[m].Intent == q.retryOf
		}
		if mine && p.timely(unsettled) {
			rec := p.append(idempotency.Record{Kind: idempotency.Release, Account: p.w.names[q.account], Intent: q.retryOf, Spans: p.w.spans(unsettled)}, unsettled, luck)
			p.frees = append(p.frees, freeing{i, rec})
			return
		}
	}
	p.policy(q.account, unsettled)
	switch {
	case len(free) > 0:
		p.pool[q.account] = append(p.pool[q.account], i)
	case len(taken) > 0:
		q.held, q.until = false, p.w.now+nakFor
	default:
		q.acked = true
	}
}

// timely reports whether none of the messages has expired.
func (p *process) timely(msgs []int) bool {
	for _, m := range msgs {
		if p.w.msgs[m].expires <= p.w.now+p.wall {
			return false
		}
	}
	return true
}

// policy gives uncertain messages what their policy says.
func (p *process) policy(account int, msgs []int) {
	for _, m := range msgs {
		s := p.view().of[m]
		if retries(&p.w.msgs[m].piece, "", s.Released) && p.w.msgs[m].expires > p.w.now+p.wall+ms(evidenceHigh/time.Millisecond) {
			p.w.schedule(account, 1<<m, s.Intent, ms(evidenceHigh/time.Millisecond))
		} else {
			p.w.msgs[m].letters++
		}
	}
}

func (w *world) schedule(account int, msgs uint8, retryOf uint64, after ms) {
	for i := range w.delayed {
		if d := &w.delayed[i]; d.account == account && d.msgs == msgs && d.retryOf == retryOf {
			return // it has a fixed id
		}
	}
	w.delayed = append(w.delayed, due{w.now + after, queued{account: account, msgs: msgs, retryOf: retryOf}})
}

// freed goes on with pieces whose release has come back.
func (p *process) freed() (moved bool) {
	for i := 0; i < len(p.frees); i++ {
		f := p.frees[i]
		if f.rec.dropped {
			p.again(f.rec)
			moved = true
		}
		if !p.back(f.rec) {
			continue
		}
		p.frees = append(p.frees[:i], p.frees[i+1:]...)
		i--
		moved = true
		p.tellRecord(f.rec)
		q := &p.w.queue[f.piece]
		if q.acked {
			continue
		}
		was := q.retryOf
		q.retryOf = 0 // what is left uncertain has had its release
		p.take(f.piece, 0)
		q.retryOf = was
	}
	return moved
}

// slot asks for one under the mode that the process knows of.
func (p *process) slot(acct int) (at ms, ok bool) {
	w, now := p.w, p.mono()
	if now < p.from[acct] && !w.broken.noQuarantine {
		return 0, false
	}
	switch sender := p.view().sender[acct]; sender {
	case "":
		if !w.redisUp || p.cut || w.now < w.redisFrom {
			if (!w.redisUp || p.cut) && p.down[acct] == 0 {
				p.down[acct] = now
			}
			return 0, false
		}
		p.down[acct] = 0
		if at = max(w.now, w.redisNext[acct]); at > w.now+ahead {
			return 0, false
		}
		w.redisNext[acct] = at + spacing
	case p.owner:
		if at = max(w.now, p.aloneNext[acct]); at > w.now+ahead {
			return 0, false
		}
		p.aloneNext[acct] = at + spacing
	default:
		return 0, false
	}
	return at, true
}

// consider changes the mode if it must, as pacer.consider.
func (p *process) consider(acct int, luck uint8) {
	if p.pending[acct] != nil && !p.pending[acct].dropped && !p.back(p.pending[acct]) {
		return
	}
	sender, now := p.view().sender[acct], p.mono()
	silence := ms(silence / time.Millisecond)
	grants := p.w.redisUp && !p.cut && p.w.now >= p.w.redisFrom
	to := ""
	switch {
	case sender == p.owner:
		if !grants {
			return
		}
	case now-p.others < silence || now-p.from[acct] < silence:
		return
	case sender == "":
		if p.down[acct] == 0 || now-p.down[acct] < silence {
			return
		}
		to = p.owner
	case !grants:
		to = p.owner
	}
	if to == sender {
		return
	}
	p.pending[acct] = p.append(idempotency.Record{Kind: idempotency.Sender, Account: p.w.names[acct], Was: sender, Sender: to}, nil, luck)
}
