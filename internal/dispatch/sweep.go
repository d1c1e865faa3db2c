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

var errSwept = errors.New("enough")

// sweep closes and tells what expired in lanes that do not move: an account that
// is paused or ill. The messages stay in the queue and are passed over when their
// turn comes. All dispatchers sweep; the journal lets one of them win.
func (a *account) sweep(ctx context.Context) {
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
