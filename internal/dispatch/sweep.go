package dispatch

import (
	"context"
	"errors"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// sweepAtMost bounds the pieces that one sweep of a lane looks at.
const sweepAtMost = 20_000

// straysEvery is how many sweeps there are to one that looks for strays: it reads
// what they left in the queue again and again.
const straysEvery = 10

var errSwept = errors.New("enough")

// sweep closes and tells what expired in lanes that do not move: an account that
// is paused or ill. The messages stay in the queue and are passed over when their
// turn comes. All dispatchers sweep; the journal lets one of them win.
func (a *account) sweep(ctx context.Context) {
	if a.sweeps++; a.sweeps%straysEvery == 1 {
		a.sweepStrays(ctx)
	}
	if since, _ := a.stuck(); since.IsZero() && !a.j.Paused(a.o.Name) {
		return
	}
	for _, l := range a.lanes {
		from, err := a.b.Floor(ctx, a.queue, l.consumer())
		if err != nil && !errors.Is(err, bus.ErrNotFound) { // not found: nobody has read this lane yet
			continue
		}
		seen := 0
		ctx, stop := context.WithCancelCause(ctx)
		_, err = a.b.Scan(ctx, a.queue, bus.QueueSubject(a.o.Name, string(l.priority), l.tenant), from+1, func(m *bus.Msg) {
			if seen++; seen > sweepAtMost {
				stop(errSwept)
				return
			}
			a.expire(ctx, m)
		})
		if err != nil && !errors.Is(context.Cause(ctx), errSwept) && ctx.Err() == nil {
			a.d.Log.Warn("sweep interrupted", "account", a.o.Name, "priority", string(l.priority), "error", err)
		}
		stop(nil)
	}
}

// sweepStrays looks at what lies in lanes that nobody reads: of tenants that this
// account does not serve, or does not any more. What can be read waits for its
// tenant to come back, and is told as expired when its time is over. What cannot
// is buried and taken out.
func (a *account) sweepStrays(ctx context.Context) {
	lanes, err := a.b.Subjects(ctx, a.queue, bus.QueueSubject(a.o.Name, "*", "*"))
	if err != nil {
		if ctx.Err() == nil {
			a.d.Log.Warn("strays not looked for", "account", a.o.Name, "error", err)
		}
		return
	}
	for _, l := range a.lanes {
		delete(lanes, bus.QueueSubject(a.o.Name, string(l.priority), l.tenant))
	}
	for subject := range lanes {
		seen := 0
		ctx, stop := context.WithCancel(ctx)
		_, _ = a.b.Scan(ctx, a.queue, subject, 1, func(m *bus.Msg) { // what was missed is there in the next sweep
			if seen++; seen > sweepAtMost {
				stop()
			} else if a.look(m) != nil {
				a.expire(ctx, m)
			} else if err := a.letter(ctx, m, "not a piece, in a lane that nobody reads"); err == nil {
				_ = a.b.Delete(ctx, a.queue, m.Seq) // or after the next sweep, as the same letter
			}
		})
		stop()
	}
}

// expire closes a queued piece whose time is over, if nobody has it.
func (a *account) expire(ctx context.Context, m *bus.Msg) {
	h := a.look(m)
	if h == nil || h.p.ExpiresAt.After(a.d.Now()) {
		return
	}
	p := &h.p
	var placed []idempotency.PlacedKey
	var msgs []envelope.EventMessage
	for i := range p.Messages {
		it := item{h, int32(i)}
		if s := a.j.State(it.key()); s.State == idempotency.Free && !s.Released {
			placed, msgs = append(placed, it.placed()), append(msgs, journal.EventMessage(p, it.msg()))
		}
	}
	if len(placed) == 0 {
		return
	}
	seq, effect, err := a.j.Append(ctx, idempotency.Record{
		Kind: idempotency.Close, Account: a.o.Name, Owes: true, Reason: string(envelope.Expired), Spans: idempotency.Spans(placed),
	})
	if err != nil {
		return // the next sweep, or its turn
	}
	crash.At("dispatch.after-sweep")
	lost := positions(effect.Lost)
	won := msgs[:0]
	for i := range msgs {
		if _, ok := lost[uint32(i)]; !ok {
			won = append(won, msgs[i])
		}
	}
	if len(won) > 0 && a.tell(ctx, journal.ClosedEvents(cause(seq), p.Tenant, a.o.Name, envelope.Expired, "", a.d.Now(), won)) {
		a.j.Told(seq)
	}
}
