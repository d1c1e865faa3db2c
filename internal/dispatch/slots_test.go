package dispatch_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// gate is a limiter that grants nothing until it is opened.
type gate struct {
	dispatch.Slots
	open  chan struct{}
	asked chan struct{}
	most  atomic.Int64 // backlog that was told
}

func (r *rig) gated(a *dispatch.Account) *gate {
	g := &gate{Slots: a.Slots, open: make(chan struct{}), asked: make(chan struct{}, 1000)}
	a.Slots = g
	return g
}

func (g *gate) Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error) {
	g.asked <- struct{}{}
	g.most.Store(max(g.most.Load(), int64(backlog)))
	select {
	case <-g.open:
	case <-ctx.Done():
		return ratelimit.Slot{}, ctx.Err()
	}
	return g.Slots.Next(ctx, messages, backlog)
}

// A backlog in the queue, not only what is held here, decides how many slots are
// leased in one call: a pool holds two requests' worth at most.
func TestBacklogInTheQueueLeasesSlotsAhead(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	for i := range 400 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i, 1))
	}
	acct := r.account("a", g)
	closed := r.gated(&acct)
	r.dispatcher("d1", acct)
	<-closed.asked
	r.until("the pool is full", func() bool {
		_, unsettled, err := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-acme")
		return err == nil && unsettled >= 20
	})
	close(closed.open)
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 400 })
	if most := closed.most.Load(); most < 10 {
		t.Errorf("asked for %d slots at once with a backlog of 40 requests", most)
	}
}

// giving counts what is given back to a limiter.
type giving struct {
	dispatch.Slots
	unused, left atomic.Int32
}

func (g *giving) Unused(ctx context.Context, sl ratelimit.Slot) {
	g.unused.Add(1)
	g.Slots.Unused(ctx, sl)
}

func (g *giving) Leave(ctx context.Context) error {
	g.left.Add(1)
	return g.Slots.Leave(ctx)
}

// A connection that takes its time makes the request miss its slot: nothing
// leaves in it, it is given up for others, and the next slot is used for the
// request as it is, at once and without blame. A dispatcher that ends gives up
// what it leased ahead.
func TestSlotMissedAtTheSocketIsGivenUp(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	var dials atomic.Int32
	g.dial = func() {
		if dials.Add(1) == 1 {
			late := time.After(60 * time.Millisecond) // three times as late as a slot may be used
			<-late
		}
	}
	r.queue(r.piece("e", 0, 5))
	acct := r.account("a", g)
	slots := &giving{Slots: acct.Slots}
	acct.Slots = slots
	stop := r.dispatcher("d1", acct)
	r.until("submitted", func() bool { return r.count(envelope.Submitted) == 5 })
	eachOnce(t, g, 5)
	if n := dials.Load(); n != 1 {
		t.Errorf("%d tries, want one that waits for another slot", n)
	}
	stop()
	if unused, left := slots.unused.Load(), slots.left.Load(); unused != 1 || left != 1 {
		t.Errorf("%d slots given up, left %d times, want one each", unused, left)
	}
	if got := r.reasons(); len(got) != 0 {
		t.Errorf("the gateway was blamed: %q", got)
	}
}
