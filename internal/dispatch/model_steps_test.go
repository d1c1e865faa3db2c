package dispatch

import (
	"math/rand/v2"

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
