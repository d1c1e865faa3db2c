package dispatch

import (
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

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
