package dispatch

import (
	"context"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

const (
	horizon = time.Minute // how far ahead Sendable looks
	looks   = 5           // pieces of a lane that an estimate reads
)

// measure tells what waits for the account, over the cluster, and how much of
// this process's share of the slots is in use.
func (a *account) measure(ctx context.Context) {
	now := a.d.Now()
	a.mu.Lock()
	flying, size := max(a.peak, a.inFlight), a.o.BatchSize
	a.peak = a.inFlight
	if since := now.Sub(a.measured).Seconds(); !a.measured.IsZero() && since > 0 && a.o.Rate > 0 {
		a.slotUse = float64(a.requests) / since / a.o.Rate
		a.d.Observer.SlotUse(a.o.Name, a.slotUse)
	}
	a.requests, a.measured = 0, now
	refused := a.refused
	a.mu.Unlock()
	a.d.Observer.Uncertain(a.o.Name, a.j.Unsettled(a.o.Name), flying*size)
	// Told again each time: what changed may have been found by another dispatcher,
	// and a breaker without traffic changes when it is looked at, and not before.
	a.d.Observer.Mode(a.o.Name, "account", refused)
	a.d.Observer.Mode(a.o.Name, "breaker", a.breaker.State() == gobreaker.StateOpen)
	a.d.Observer.Mode(a.o.Name, "paused", a.j.Paused(a.o.Name))
	a.d.Observer.Mode(a.o.Name, "journal", a.j.Full() != "")
	a.d.Observer.Mode(a.o.Name, "degraded", a.pace.degraded())
	state, err := a.b.State(ctx, a.queue)
	if err != nil {
		return // nothing is known; the figures of before stay
	}
	total := 0
	for i, p := range envelope.Priorities {
		n, oldest := 0, time.Duration(0)
		for _, l := range a.lanes[i*len(a.o.Tenants) : (i+1)*len(a.o.Tenants)] {
			waiting, age := l.waits(ctx, now, state.LastSeq)
			n, oldest = n+waiting, max(oldest, age)
		}
		a.d.Observer.Backlog(a.o.Name, p, n, oldest)
		total += n
	}
	a.d.Observer.Sendable(a.o.Name, a.sendable(total))
}

// waits estimates how many of the lane's messages are not dealt with yet, whoever
// holds them, and for how long the oldest has been in the queue. The server counts
// pieces; some of them, evenly spread up to the stream's last sequence, tell how
// many messages a piece has.
func (l *lane) waits(ctx context.Context, now time.Time, last uint64) (messages int, oldest time.Duration) {
	a := l.a
	at, err := a.b.Progress(ctx, a.queue, l.consumer())
	pieces := int(at.Waiting) + at.Unsettled
	if err != nil || pieces == 0 {
		return 0, 0 // not found: nobody has read this lane yet
	}
	step := (last - min(last, at.Floor)) / looks
	sum, counted := 0, 0
	for i, next := 0, at.Floor+1; i < looks; i++ {
		m, err := a.b.First(ctx, a.queue, bus.QueueSubject(a.o.Name, string(l.priority), l.tenant), next)
		if err != nil {
			break // there are no more
		}
		if n := a.open(m, now); n > 0 {
			if counted == 0 {
				oldest = max(0, now.Sub(m.Time))
			}
			sum, counted = sum+n, counted+1
		}
		next = max(m.Seq+1, next+step)
	}
	if counted == 0 {
		return 0, 0 // expired or cancelled
	}
	return pieces * sum / counted, oldest
}

// open counts the messages of a queued piece that may still be sent.
func (a *account) open(m *bus.Msg, now time.Time) (n int) {
	h := a.look(m)
	if h == nil || !h.p.ExpiresAt.After(now) {
		return 0
	}
	keys := make([]idempotency.Key, len(h.p.Messages))
	for i := range keys {
		keys[i] = item{h, int32(i)}.key()
	}
	a.j.States(keys, func(_ int, s idempotency.MessageState) {
		if s.State == idempotency.Free || s.State == idempotency.Taken {
			n++
		}
	})
	return n
}

// look reads a piece that stays in the queue; nil: it is unreadable.
func (a *account) look(m *bus.Msg) *held {
	h := &held{msg: m}
	if envelope.DecodePiece(m.Data, &h.p) != nil || h.p.Check() != nil {
		return nil
	}
	h.locate()
	return h
}

// sendable is how much of what waits the account could send within the horizon
// if there were dispatchers enough. Where more of them would send nothing more it
// is 0: while the account is paused, ill, without slots, or one dispatcher sends
// alone.
func (a *account) sendable(backlog int) int {
	since, _ := a.stuck()
	if !since.IsZero() || a.j.Paused(a.o.Name) || a.pace.degraded() {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ill {
		return 0
	}
	if a.o.Rate > 0 {
		backlog = min(backlog, int(a.o.Rate*float64(a.limit())*horizon.Seconds()))
	}
	if a.o.MessageRate > 0 {
		backlog = min(backlog, int(a.o.MessageRate*horizon.Seconds()))
	}
	return backlog
}
