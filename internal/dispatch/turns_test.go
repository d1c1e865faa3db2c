package dispatch_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

func TestUrgentOvertakesBulk(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1)
	for i := range 400 {
		r.queue(r.piece(fmt.Sprintf("b%d", i), i, 1, func(p *envelope.Piece) { p.Priority = envelope.Bulk }))
	}
	slow := func(a *dispatch.Account) {
		s, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", Limits: []ratelimit.Limit{{Requests: 50, Per: time.Second}}, MaxLate: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		a.Slots = s
	}
	r.dispatcher("d1", r.account("a", g, slow))
	r.until("bulk is on its way", func() bool { return g.requests() >= 5 })
	r.queue(r.piece("otp", 900, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	before := g.requests() // the promise runs from when the bus has it
	r.until("the urgent one left", func() bool { return g.times()[number(900)] == 1 })
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, b := range g.sent {
		if b[0].To == number(900) && i > before+8 {
			t.Errorf("left as request %d, submitted after %d", i, before)
		}
	}
}

func TestOneTenantDoesNotWaitBehindAnother(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1)
	for i := range 200 {
		r.queue(r.piece(fmt.Sprintf("a%d", i), i, 1))
	}
	for i := range 10 {
		r.queue(r.piece(fmt.Sprintf("o%d", i), 500+i, 1, func(p *envelope.Piece) { p.Tenant = "other" }))
	}
	acct := r.account("a", g, func(a *dispatch.Account) { // those without messages must not take turns
		a.Tenants = []string{"acme", "other", "idle-1", "idle-2", "idle-3", "idle-4"}
	})
	closed := r.gated(&acct)
	r.dispatcher("d1", acct)
	r.until("both tenants' messages are held", func() bool {
		_, a, _ := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-acme")
		_, o, err := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-other")
		return err == nil && a >= 2 && o >= 2
	})
	close(closed.open)
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 210 })
	g.mu.Lock()
	defer g.mu.Unlock()
	last := 0
	for i, b := range g.sent {
		if b[0].To >= number(500) {
			last = i
		}
	}
	if last > 30 {
		t.Errorf("the other tenant's ten left only by request %d of 210", last)
	}
}

// selfish is a limiter whose next slots belong to others for as long as somebody
// asks with a backlog.
type selfish struct {
	dispatch.Slots
	asked chan int
}

func (s *selfish) Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error) {
	s.asked <- backlog
	if backlog > 1 {
		<-ctx.Done()
		return ratelimit.Slot{}, context.Cause(ctx)
	}
	return s.Slots.Next(ctx, messages, backlog)
}

// With several dispatchers each leases slots for its backlog in turn. Who waits for
// its turn when something urgent comes asks anew, for one slot, and gets it at once.
func TestUrgentDoesNotWaitForATurn(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1)
	for i := range 20 {
		r.queue(r.piece(fmt.Sprintf("b%d", i), i, 1, func(p *envelope.Piece) { p.Priority = envelope.Bulk }))
	}
	acct := r.account("a", g)
	slots := &selfish{Slots: acct.Slots, asked: make(chan int, 1000)}
	acct.Slots = slots
	r.dispatcher("d1", acct)
	for backlog := range slots.asked {
		if backlog > 1 {
			break
		}
	}
	r.queue(r.piece("otp", 900, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	r.until("the urgent one left", func() bool { return g.times()[number(900)] == 1 })
}
