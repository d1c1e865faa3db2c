package dispatch_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

func retried(p *envelope.Piece) { p.Priority, p.OnUncertain = envelope.High, envelope.Retry }

// lastIntent waits for the journal to have an intent, and returns its sequence.
func (p *past) lastIntent() (seq uint64) {
	p.r.until("an intent", func() bool {
		s := p.j.State(idempotency.Key{Stream: bus.QueueStream("a"), Epoch: p.epoch, Seq: 1})
		seq = s.Intent
		return s.State == idempotency.Taken
	})
	return seq
}

// An owner that was given up comes back with the news that its request was taken:
// the message, freed for its second try meanwhile, is not sent again.
func TestLateAcceptedStopsTheSecondTry(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 1, retried))
	p := r.past()
	g := newGateway(10)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		if g.requests() == 1 {
			intent := p.lastIntent()
			p.outcome(intent, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
			p.write(idempotency.Record{Kind: idempotency.Release, Intent: intent, Spans: p.of(0, 1)})
		}
		return accepted(b), nil
	}
	r.dispatcher("d1", r.account("a", g))
	r.until("submitted", func() bool { return r.count(envelope.Submitted) == 1 })
	r.queue(r.piece("last", 9, 1))
	r.until("the next one submitted", func() bool { return len(r.status["last-0"]) == 1 })
	eachOnce(t, g, 2)
	if s := p.j.State(idempotency.Key{Stream: bus.QueueStream("a"), Epoch: p.epoch, Seq: 1}); s.State != idempotency.Closed {
		t.Errorf("the journal has it as %+v", s)
	}
}

// The same news while the second try is on its way: its last byte stays here.
func TestLateAcceptedStopsARequestAtItsEnd(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 1, retried))
	p := r.past()
	intent := p.intent(0, 1)
	p.outcome(intent, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
	p.write(idempotency.Record{Kind: idempotency.Release, Intent: intent, Spans: p.of(0, 1)})
	g := &slowEnd{gateway: newGateway(10), begun: make(chan struct{}, 1)}
	acct := r.account("a", g.gateway)
	acct.Provider = g
	r.dispatcher("d1", acct)
	<-g.begun
	p.write(idempotency.Record{Kind: idempotency.Close, Reason: journal.Reported, Spans: p.of(0, 1)})
	r.until("given up", func() bool {
		return p.j.State(idempotency.Key{Stream: bus.QueueStream("a"), Epoch: p.epoch, Seq: 1}).State == idempotency.Closed
	})
	if n := g.requests(); n != 0 {
		t.Errorf("%d requests left", n)
	}
}

// slowEnd is a gateway whose requests take a second and a half to write, or until
// the fence says no.
type slowEnd struct {
	*gateway
	begun chan struct{}
}

func (g *slowEnd) Send(ctx context.Context, b *providers.Batch) ([]providers.Result, error) {
	if err := b.Start(); err != nil {
		return nil, &providers.Error{Class: providers.Unavailable, Err: err}
	}
	g.begun <- struct{}{}
	end := time.After(1500 * time.Millisecond)
	for waiting := true; waiting; {
		if err := b.Fence(); err != nil {
			return nil, &providers.Error{Class: providers.Unavailable, Err: err}
		}
		select {
		case <-end:
			waiting = false
		case <-time.After(time.Millisecond):
		}
	}
	return g.gateway.Send(ctx, &providers.Batch{ID: b.ID, Messages: b.Messages})
}

// A late outcome other than taken says nothing of what others have made of the
// message since.
func TestLateRefusalIsNotTold(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 1, retried))
	p := r.past()
	g := newGateway(10)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		if g.requests() > 1 {
			return accepted(b), nil
		}
		intent := p.lastIntent()
		p.outcome(intent, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
		p.write(idempotency.Record{Kind: idempotency.Release, Intent: intent, Spans: p.of(0, 1)})
		return []providers.Result{{Class: providers.Rejected}}, nil
	}
	r.dispatcher("d1", r.account("a", g))
	r.until("submitted", func() bool { return r.count(envelope.Submitted) == 1 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if told := r.status["e-0"]; slices.Contains(told, envelope.Failed) || len(r.dead) > 0 {
		t.Errorf("told %v, %d letters", told, len(r.dead))
	}
}

// What may have been sent never expires: it is held.
func TestUncertainDoesNotExpire(t *testing.T) {
	soon := func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(2 * time.Second) }
	over := func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(-time.Second) }
	held := func(r *rig) {
		r.t.Helper()
		r.until("held", func() bool { return len(r.dead) == 1 })
		r.queue(r.piece("last", 9, 1))
		r.until("the next one submitted", func() bool { return len(r.status["last-0"]) == 1 })
		r.mu.Lock()
		defer r.mu.Unlock()
		if told := r.status["e-0"]; slices.Contains(told, envelope.Expired) || r.dead[0].Reason != envelope.DeadUncertain {
			r.t.Errorf("told %v, letter %s", told, r.dead[0].Reason)
		}
	}
	t.Run("no time for a second try", func(t *testing.T) {
		r := newRig(t, "a")
		g := newGateway(10)
		g.answer = func(b *providers.Batch) ([]providers.Result, error) {
			if g.requests() > 1 {
				return accepted(b), nil
			}
			return []providers.Result{{Class: providers.Uncertain}}, nil
		}
		r.queue(r.piece("e", 0, 1, retried, soon))
		r.dispatcher("d1", r.account("a", g))
		held(r)
	})
	t.Run("freed, and then its time ran out", func(t *testing.T) {
		r := newRig(t, "a")
		r.queue(r.piece("e", 0, 1, retried, over))
		p := r.past()
		intent := p.intent(0, 1)
		p.outcome(intent, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
		p.write(idempotency.Record{Kind: idempotency.Release, Intent: intent, Spans: p.of(0, 1)})
		r.dispatcher("d1", r.account("a", newGateway(10)))
		held(r)
	})
	t.Run("its time ran out while it waited", func(t *testing.T) {
		r := newRig(t, "a")
		p := r.past()
		intent := p.intent(0, 1)
		p.outcome(intent, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
		r.queue(r.piece("e", 0, 1, retried, over, func(p *envelope.Piece) { p.RetryOf = intent }))
		r.dispatcher("d1", r.account("a", newGateway(10)))
		held(r)
	})
}

// changing slots hand one out, and then the mode changes.
type changing struct {
	dispatch.Slots
	once chan func()
}

func (c *changing) Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error) {
	s, err := c.Slots.Next(ctx, messages, backlog)
	select {
	case change := <-c.once:
		change()
	default:
	}
	return s, err
}

// A slot is good under the mode that granted it: the tail may be late in hearing
// that it is over, and another may send by the new one already.
func TestSlotOfAModeThatIsOverIsNotUsed(t *testing.T) {
	r := newRig(t, "a")
	p := r.past()
	g := newGateway(10)
	acct := r.account("a", g)
	acct.Alone, acct.Hold = acct.Slots, 500*time.Millisecond
	slots := &changing{acct.Slots, make(chan func(), 1)}
	acct.Slots = slots
	changed := make(chan time.Time, 1)
	slots.once <- func() {
		p.write(idempotency.Record{Kind: idempotency.Sender})
		changed <- time.Now()
	}
	r.queue(r.piece("e", 0, 1))
	r.dispatcher("d1", acct)
	r.until("submitted", func() bool { return r.count(envelope.Submitted) == 1 })
	if after := g.at[0].Sub(<-changed); after < acct.Hold-20*time.Millisecond {
		t.Errorf("a request left %v after the mode changed, which is to wait for %v", after, acct.Hold)
	}
}
