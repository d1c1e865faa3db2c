package dispatch

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// step is one thing that happens.
type step struct {
	kind kind
	who  uint8
	arg  uint16
}

type kind uint8

const (
	passes      kind = iota // time
	reads                   // a process's tail, a record or more
	takes                   // a dispatcher, a piece
	goes                    // a dispatcher, on with a request
	mops                    // a dispatcher, after dead ones
	keeps                   // a dispatcher says that it is at work on its pieces
	dies                    // a process, and comes again
	arrives                 // a delayed record, or it is lost
	cancels                 // a client, one message
	submits                 // a client
	reportsIn               // the collector is told of a message that was sent
	redelivered             // a piece, though somebody has it
	replayed                // all pieces, though they were acked
	copied                  // a piece, into either queue
	redis                   // flushed, away, back, or cut off from one
	considers               // a dispatcher, the mode
	retells                 // a process, what another should have told
	sleeps                  // a machine: its monotonic clock stands still
	steps                   // a clock is set
	kinds
)

// often is how likely each kind is.
var often = [kinds]int{
	passes: 16, reads: 22, takes: 14, goes: 34, mops: 4, keeps: 3, dies: 3, arrives: 3, cancels: 2, submits: 4, reportsIn: 4,
	redelivered: 3, replayed: 1, copied: 2, redis: 2, considers: 3, retells: 2, sleeps: 1, steps: 1,
}

func (k kind) String() string {
	return [kinds]string{"time", "tail", "take", "go", "mop", "keep", "die", "arrive", "cancel", "submit", "report", "redeliver", "replay",
		"copy", "redis", "mode", "tell", "sleep", "clock"}[k]
}

// leaps are how long time passes, in one step.
var leaps = [...]ms{3, 8, 30, 200, 700, 1010, 1100, 2100, 3200, 5100, 9000, 16_000, 60_000}

// program draws a schedule.
func program(rng *rand.Rand, n int, wheel []kind) []step {
	out := make([]step, n)
	for i := range out {
		r := rng.Uint64()
		out[i] = step{wheel[int(r%uint64(len(wheel)))], uint8(r >> 32), uint16(r >> 40)}
	}
	return out
}

func newWheel() (wheel []kind) {
	for k, n := range often {
		for range n {
			wheel = append(wheel, kind(k))
		}
	}
	return wheel
}

// do takes one step and reports whether there was one.
func (w *world) do(s step) bool {
	p := &w.procs[int(s.who)%w.shape.dispatchers]
	switch s.kind {
	case passes:
		d := leaps[int(s.arg)%len(leaps)]
		w.now += d
		w.notef("%d ms pass", d)
		return true
	case reads:
		p = &w.procs[int(s.who)%len(w.procs)]
		n := 1 + int(s.arg)%3
		for n == 3 && p.read() {
		}
		for i := 0; i < n && p.read(); i++ {
		}
		w.notef("%s has read the journal up to %d", p.owner, p.tail)
		return true
	case takes:
		return w.handOut(p, int(s.arg), uint8(s.arg>>8))
	case goes:
		t, luck, moved := &p.tasks[int(s.arg)%atOnce], uint8(s.arg>>8), false
		for range 1 + int(s.arg>>2)%4 {
			if p.freed() || p.stray() || p.step(t, luck) {
				moved = true
			}
			luck = luck*5 + 3
		}
		return moved
	case mops:
		return p.mop(uint8(s.arg))
	case keeps:
		p.keepHeld()
		return true
	case dies:
		p = &w.procs[int(s.who)%len(w.procs)]
		w.notef("%s dies", p.owner)
		p.start()
		if s.arg%16 == 0 {
			w.checkpoint(int(s.arg >> 4))
		}
		return true
	case arrives:
		return w.arrive(s.arg)
	case cancels:
		return w.cancel(int(s.arg)%len(w.msgs), uint8(s.arg>>8))
	case submits:
		return w.submit(int(s.arg) % len(w.msgs))
	case reportsIn:
		return w.report(int(s.arg), uint8(s.arg>>8))
	case redelivered, replayed, copied:
		return w.again(s)
	case redis:
		w.redisChange(p, s.arg)
		return true
	case considers:
		p.consider(int(s.arg)&1, uint8(s.arg>>8))
		return true
	case retells:
		return w.procs[int(s.who)%len(w.procs)].retell(retelling)
	case sleeps:
		if p.wall < 0 {
			return false // both together look like no time at all: nobody can tell
		}
		d := leaps[int(s.arg)%len(leaps)]
		w.now, p.slow = w.now+d, p.slow+d
		w.notef("%s sleeps for %d ms, and does not know", p.owner, d)
		return true
	case steps:
		if p.slow > 0 {
			return false
		}
		p.wall = []ms{0, 3_600_000, -3_600_000, 30_000}[s.arg%4]
		w.notef("the wall clock of %s is off by %d ms", p.owner, p.wall)
		return true
	}
	return false
}

// handOut gives a dispatcher the next piece that nobody has, or had for too long.
func (w *world) handOut(p *process, skip int, luck uint8) bool {
	w.fire()
	for n := range w.queue {
		i := (n + skip) % len(w.queue)
		if q := &w.queue[i]; !q.acked && w.now >= q.until {
			p.take(i, luck)
			return true
		}
	}
	return false
}

// fire puts what was delayed back into its queue.
func (w *world) fire() {
	for i := 0; i < len(w.delayed); i++ {
		if d := w.delayed[i]; w.now >= d.at {
			w.queue = append(w.queue, d.queued)
			w.delayed = append(w.delayed[:i], w.delayed[i+1:]...)
			i--
		}
	}
}

// keepHeld starts the ack wait of all that a dispatcher holds anew.
func (p *process) keepHeld() {
	again := func(i int) {
		if q := &p.w.queue[i]; q.held && !q.acked {
			q.until = p.w.now + ackWait
		}
	}
	for a := range p.pool {
		for _, i := range p.pool[a] {
			again(i)
		}
	}
	for t := range p.tasks {
		for _, i := range p.tasks[t].pieces {
			again(i)
		}
	}
	for _, f := range p.frees {
		again(f.piece)
	}
}

// arrive stores a record that was on its way, or loses it.
func (w *world) arrive(arg uint16) bool {
	if len(w.open) == 0 {
		return false
	}
	i := int(arg) % len(w.open)
	r := w.open[i]
	w.open = append(w.open[:i], w.open[i+1:]...)
	if arg>>8%3 == 0 {
		r.dropped = true
		w.notef("%s by %s is lost on its way", r.Kind, r.owner)
		return true
	}
	w.store(r)
	return true
}

func (w *world) cancel(m int, luck uint8) bool {
	if !w.msgs[m].stored {
		return false
	}
	w.notef("DELETE message %d", m)
	w.ingest().append(idempotency.Record{Kind: idempotency.Close, Reason: "canceled", Spans: w.spans([]int{m})}, []int{m}, luck)
	return true
}

func (w *world) submit(m int) bool {
	if w.msgs[m].stored {
		return false
	}
	w.notef("message %d is submitted", m)
	mask := uint8(1) << m
	if w.shape.together {
		mask = 1<<len(w.msgs) - 1
	}
	for i := range w.msgs {
		w.msgs[i].stored = w.msgs[i].stored || mask>>i&1 == 1
	}
	if w.shape.supersede && !w.shape.together && m < 2 {
		w.ingest().append(idempotency.Record{
			Kind: idempotency.Supersede, SupersedeKey: "k", At: int64(m + 1), ID: fmt.Sprint(m), Spans: w.spans([]int{m}),
		}, []int{m}, 0)
	}
	w.queue = append(w.queue, queued{msgs: mask})
	return true
}

// tried lets the first message have an attempt that nobody saw the end of.
func (w *world) tried() {
	first, second := &w.procs[0], &w.procs[1]
	w.msgs[0].piece.OnUncertain = envelope.Retry
	in := first.append(idempotency.Record{Kind: idempotency.Intent, Account: "a", Spans: w.spans([]int{0}), LeaseMillis: leaseMs}, []int{0}, 0)
	if in.effect.Acted == 0 {
		return // another dispatcher sends alone
	}
	w.first(0, first.owner)
	w.post(0, []int{0}, uint64(in.seq), true)
	first.start()
	w.now += leaseMs
	second.append(idempotency.Record{
		Kind: idempotency.Outcome, Account: "a", Intent: uint64(in.seq), Runs: []idempotency.Run{{N: 1, To: idempotency.Unsettled}},
	}, []int{0}, 0)
	w.now += ms(evidenceHigh / time.Millisecond)
	w.queue = append(w.queue, queued{msgs: 1, retryOf: uint64(in.seq)})
	for i := range w.procs {
		for w.procs[i].read() {
		}
	}
}

// report is the collector's: find, prove, tell.
func (w *world) report(n int, luck uint8) bool {
	if len(w.reports) == 0 {
		return false
	}
	c := w.collector()
	if r := c.pending[0]; r != nil && r.dropped {
		c.again(r)
	} else if r != nil && !c.back(r) {
		return false
	}
	c.pending[0] = nil
	n %= len(w.reports)
	r := w.reports[n]
	done := func() { w.reports = append(w.reports[:n], w.reports[n+1:]...) }
	switch s := c.view().of[r.msg]; {
	case s.State == idempotency.Closed, s.CloseStands == journal.Reported:
		done()
	case s.State == idempotency.Taken && s.Intent == r.intent: // the answer comes first
		return false
	case s.State == idempotency.Unsettled && s.Intent == r.intent:
		in := w.log[r.intent-1]
		states := make([]idempotency.State, len(in.messages))
		for i, m := range in.messages {
			if states[i] = idempotency.Unsettled; m == r.msg {
				states[i] = idempotency.Closed
			}
		}
		c.pending[0] = c.append(idempotency.Record{
			Kind: idempotency.Outcome, Account: w.names[r.account], Intent: r.intent, Runs: idempotency.AppendRuns(states),
		}, in.messages, luck)
	default:
		w.notef("a report proves that message %d was sent in attempt %d", r.msg, r.intent)
		c.pending[0] = c.append(idempotency.Record{Kind: idempotency.Close, Reason: journal.Reported, Spans: w.spans([]int{r.msg})}, []int{r.msg}, luck)
		w.tell(r.msg, envelope.Submitted)
		done()
	}
	return true
}

// again makes pieces come again that were here.
func (w *world) again(s step) bool {
	if len(w.queue) == 0 {
		return false
	}
	i := int(s.arg) % len(w.queue)
	switch s.kind {
	case redelivered:
		if w.queue[i].acked {
			return false
		}
		w.queue[i].until = w.now
	case replayed:
		for i := range w.queue {
			w.queue[i].acked, w.queue[i].held, w.queue[i].until = false, false, w.now
		}
	default:
		if len(w.queue) > 12 {
			return false
		}
		q := w.queue[i]
		w.queue = append(w.queue, queued{account: int(s.arg>>8) & 1, msgs: q.msgs, retryOf: q.retryOf})
	}
	w.notef("%s: piece %d", s.kind, i)
	return true
}

// redisChange is what befalls Redis.
func (w *world) redisChange(p *process, arg uint16) {
	switch arg % 4 {
	case 0:
		w.notef("Redis has lost its memory")
		w.redisNext = [2]ms{}
		if !w.broken.noQuarantine {
			w.redisFrom = w.now + hold
		}
	case 1:
		w.notef("Redis is away")
		w.redisUp = false
	case 2:
		w.notef("Redis is there")
		w.redisUp, p.cut = true, false
	default:
		w.notef("%s is cut off from Redis", p.owner)
		p.cut = true
	}
}

// checkpoint starts a fold from one, and compares.
func (w *world) checkpoint(at int) {
	at %= len(w.log) + 1
	begun := idempotency.NewFold()
	for i := range at {
		begun.Apply(uint64(i+1), w.log[i].Record)
	}
	data, err := begun.MarshalBinary()
	f := idempotency.NewFold()
	if err == nil {
		err = f.UnmarshalBinary(data)
	}
	if err != nil {
		w.fail("checkpoint: %v", err)
		return
	}
	for i := at; i < len(w.log); i++ {
		f.Apply(uint64(i+1), w.log[i].Record)
	}
	for m := range w.msgs {
		if got, want := f.State(w.msgs[m].key.Key), w.head().of[m]; got != want {
			w.fail("message %d is %+v after a start from a checkpoint at %d, and %+v without", m, got, at, want)
		}
	}
}

// end stops the faults and lets everything run until nothing is left to do.
func (w *world) end() {
	w.note("the faults stop")
	w.redisUp = true
	for i := range w.procs {
		w.procs[i].cut = false
	}
	for i := range w.msgs {
		w.submit(i)
	}
	for wait, rounds := ms(50), 0; rounds < 400 && w.fault == ""; rounds++ {
		if w.round() {
			wait = 50
			continue
		}
		if w.done() {
			break
		}
		if at := w.nextSlot(); at > w.now {
			w.now = at
			continue
		}
		w.now += wait
		wait = min(2*wait, 20_000)
	}
	if w.fault == "" {
		w.judge()
	}
}

// round has everybody do what he can, and reports whether anybody did.
func (w *world) round() (moved bool) {
	for len(w.open) > 0 {
		w.store(w.open[0])
		w.open = w.open[1:]
	}
	for i := range w.procs {
		p := &w.procs[i]
		for p.read() {
			moved = true
		}
		if i >= w.shape.dispatchers {
			moved = p.retell(retelling) || moved
			continue
		}
		p.keepHeld()
		for t := range p.tasks {
			for n := 0; n < 12 && p.step(&p.tasks[t], 0); n++ {
				moved = true
				for p.read() {
				}
			}
		}
		moved = p.freed() || moved
		moved = p.stray() || moved
		moved = p.mop(0) || moved
		moved = p.retell(retelling) || moved
		for w.handOut(p, 0, 0) {
			moved = true
		}
		for a := range p.pool {
			before := len(w.log)
			p.consider(a, 0)
			if moved = moved || len(w.log) > before; len(p.pool[a]) > 0 && p.tasks[0].at == idle {
				moved = p.choose(&p.tasks[0], a, 0) || moved
			}
		}
	}
	for n := len(w.reports); n > 0; n-- {
		moved = w.report(n-1, 0) || moved
	}
	return moved
}

// nextSlot is the next instant that somebody sleeps until; 0: there is none.
func (w *world) nextSlot() (at ms) {
	sooner := func(t ms) {
		if t > w.now && (at == 0 || t < at) {
			at = t
		}
	}
	for i := range w.procs {
		p := &w.procs[i]
		for a := range p.slots {
			if len(p.pool[a]) == 0 {
				continue
			}
			if p.slots[a].ok {
				sooner(p.slots[a].at - leadMs)
			} else {
				sooner(w.redisNext[a] - ahead)
				sooner(p.aloneNext[a] - ahead)
			}
		}
		for t := range p.tasks {
			if p.tasks[t].at == begin {
				sooner(p.tasks[t].slot)
			}
		}
	}
	return at
}

// done reports whether nothing is under way any more.
func (w *world) done() bool {
	if len(w.delayed)+len(w.open) > 0 {
		return false
	}
	for i := range w.queue {
		if !w.queue[i].acked {
			return false
		}
	}
	for i := range w.procs {
		for t := range w.procs[i].tasks {
			if w.procs[i].tasks[t].at != idle {
				return false
			}
		}
		for r := range w.procs[i].tail {
			if !w.log[r].toldOut && !w.broken.forgetTold {
				return false
			}
		}
	}
	return true
}

// judge looks at what became of every message that was acknowledged.
func (w *world) judge() {
	for m := range w.msgs {
		x, s := &w.msgs[m], w.head().of[m]
		told := x.told[envelope.Submitted] || x.told[envelope.Failed] || x.told[envelope.Expired] || x.told[envelope.Canceled]
		switch {
		case s.State == idempotency.Closed && !told:
			w.fail("message %d is closed, and nobody told", m)
		case s.State == idempotency.Taken:
			w.fail("message %d is still taken", m)
		case s.State == idempotency.Unsettled && !x.told[envelope.Uncertain]:
			w.fail("message %d is uncertain, and nobody told", m)
		case s.State == idempotency.Unsettled && x.letters == 0 && s.CloseStands != journal.Reported:
			w.fail("message %d is uncertain, and no operator is asked", m)
		case s.State == idempotency.Free && !(x.unsure && x.letters > 0):
			w.fail("message %d is lost: acknowledged, never sent, and nobody has it", m)
		case x.told[envelope.Failed] && x.letters == 0:
			w.fail("message %d failed, and there is no dead letter", m)
		}
	}
}
