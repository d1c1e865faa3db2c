package dispatch

import (
	"context"
	"errors"
	"slices"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// sweepAtMost bounds the pieces that one sweep of a lane looks at; the next goes on
// from there. It has sweepPage of them in memory at a time.
const (
	sweepAtMost = 20_000
	sweepPage   = 500

	closedAtOnce = 10_000 // messages, so that their names fit into a record
)

// straysEvery is how many sweeps there are to one that looks for strays: it reads
// what they left in the queue again and again.
const straysEvery = 10

// sweep closes and tells what expired in lanes that do not move: an account that
// is paused or ill, or a journal that takes no intents. The messages stay in the queue
// and are passed over when their turn comes. All dispatchers sweep; the journal lets one
// of them win.
func (a *account) sweep(ctx context.Context) {
	if a.sweeps++; a.sweeps%straysEvery == 1 {
		a.sweepStrays(ctx)
	}
	if since, _ := a.stuck(); since.IsZero() && !a.j.Paused(a.o.Name) && a.j.Full() == "" {
		return
	}
	for _, l := range a.lanes {
		floor, err := a.b.Floor(ctx, a.queue, l.consumer())
		if err != nil && !errors.Is(err, bus.ErrNotFound) { // not found: nobody has read this lane yet
			continue
		}
		if err := a.sweepLane(ctx, bus.QueueSubject(a.o.Name, string(l.priority), l.tenant), floor+1, a.overdue); err != nil && ctx.Err() == nil {
			a.d.Log.Warn("sweep interrupted", "account", a.o.Name, "priority", string(l.priority), "error", err)
		}
	}
}

// sweepLane goes through a lane from where the last sweep ended, and from first on if
// that was its end. look says what of a piece is to be expired.
func (a *account) sweepLane(ctx context.Context, subject string, first uint64, look func(context.Context, *bus.Msg) []item) error {
	from := max(first, a.swept[subject])
	for seen := 0; seen < sweepAtMost; {
		var due []item
		got, next, err := a.b.Page(ctx, a.queue, subject, from, sweepPage, func(m *bus.Msg) { due = append(due, look(ctx, m)...) })
		if err != nil {
			return err
		}
		for some := range slices.Chunk(due, closedAtOnce) {
			if _, _, err := a.expire(ctx, some); err != nil {
				return err // these again in the next sweep, or at their turn
			}
		}
		if got == 0 {
			delete(a.swept, subject)
			return nil
		}
		seen, from = seen+got, next
		a.swept[subject] = from
	}
	return nil
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
		_ = a.sweepLane(ctx, subject, 1, func(ctx context.Context, m *bus.Msg) []item { // what was missed is there in the next sweep
			if a.look(m) == nil {
				if err := a.letter(ctx, m, "not a piece, in a lane that nobody reads"); err == nil {
					_ = a.b.Delete(ctx, a.queue, m.Seq) // or after the next sweep, as the same letter
				}
			}
			return a.overdue(ctx, m)
		})
	}
}

// overdue are the messages of a queued piece whose time is over, if nobody has them.
func (a *account) overdue(_ context.Context, m *bus.Msg) (due []item) {
	h := a.look(m)
	if h == nil || h.p.ExpiresAt.After(a.d.Now()) {
		return nil
	}
	m.Data = nil
	for i := range h.p.Messages {
		it := item{h, int32(i)}
		if s := a.j.State(it.key()); s.State == idempotency.Free && !s.Released {
			due = append(due, it)
		}
	}
	return due
}
