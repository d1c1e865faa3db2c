package dispatch_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// A queue that is deleted and made again counts from 1: what is in it now is not
// what the journal knows by these sequences.
func TestQueueMadeAnewIsNotTakenForTheOldOne(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	r.queue(r.piece("old", 0, 3))
	r.dispatcher("d1", r.account("a", g))
	r.until("the old submitted", func() bool { return r.count(envelope.Submitted) == 3 })
	r.remake("a")
	r.queue(r.piece("new", 10, 3))
	r.until("the new submitted", func() bool { return r.count(envelope.Submitted) == 6 })
	eachOnce(t, g, 6)
}

// remake deletes an account's queue and makes it again.
func (r *rig) remake(account string) {
	t := r.t
	t.Helper()
	if err := natstest.ByHand(t, r.server).DeleteStream(t.Context(), bus.QueueStream(account)); err != nil {
		t.Fatal(err)
	}
	if err := r.bus.EnsureStreams(t.Context(), nil, []string{account}); err != nil {
		t.Fatal(err)
	}
}

// What follows from a message is named by where it lies, and by when that stream
// was made: the second message in a place is not taken for the first.
func TestMovedOutOfAQueueMadeAnew(t *testing.T) {
	r := newRig(t, "a", "b")
	a, b := newGateway(10), newGateway(10)
	a.answer = func(*providers.Batch) ([]providers.Result, error) {
		return []providers.Result{{Class: providers.RejectedHere}}, nil
	}
	r.dispatcher("d1", r.account("a", a), r.account("b", b))
	onward := func(p *envelope.Piece) { p.Route = []string{"b"} }
	r.queue(r.piece("old", 0, 1, onward))
	r.until("the old submitted", func() bool { return r.count(envelope.Submitted) == 1 })
	r.remake("a")
	r.queue(r.piece("new", 10, 1, onward))
	r.until("the new submitted", func() bool { return r.count(envelope.Submitted) == 2 })
	eachOnce(t, b, 2)
}

// limit sets how many messages a stream takes; -1: any number.
func (r *rig) limit(stream string, messages int64) {
	r.t.Helper()
	natstest.Change(r.t, r.server, stream, func(c *jetstream.StreamConfig) { c.MaxMsgs = messages })
}

// What is to go into a queue that is full comes again later each time, and goes
// once there is room.
func TestFullQueueIsLeftAlone(t *testing.T) {
	r := newRig(t, "a", "b")
	g := newGateway(10)
	g.answer = func(*providers.Batch) ([]providers.Result, error) {
		return []providers.Result{{Class: providers.RejectedHere}}, nil
	}
	r.queue(r.piece("other", 5, 1, func(p *envelope.Piece) { p.Account = "b" }))
	r.limit(bus.QueueStream("b"), 1)
	r.queue(r.piece("e", 0, 1, func(p *envelope.Piece) { p.Route = []string{"b"} }))
	r.dispatcher("d1", r.account("a", g))
	r.until("tried again", func() bool { return g.requests() >= 2 })
	g.mu.Lock()
	first := g.at[1].Sub(g.at[0])
	g.mu.Unlock()
	if first < 1500*time.Millisecond { // what else is handed back comes after a second
		t.Errorf("tried again after %v", first)
	}
	r.limit(bus.QueueStream("b"), -1)
	r.until("moved", func() bool {
		s, err := r.bus.State(t.Context(), bus.QueueStream("b"))
		return err == nil && s.Messages == 2
	})
}

// windowPasses has a queue forget message ids as soon as it can, and waits until it
// has. What it waits with has expired: it is never sent.
func (r *rig) windowPasses(account string) {
	r.t.Helper()
	natstest.Change(r.t, r.server, bus.QueueStream(account), func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond })
	data, err := json.Marshal(r.piece("probe", 99, 1, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(-time.Hour) }))
	if err != nil {
		r.t.Fatal(err)
	}
	for range 3 { // one window, and what the server takes to clean up
		r.until("the window to pass", func() bool {
			ack, err := r.bus.Publish(r.t.Context(), bus.Out{Subject: bus.QueueSubject(account, "normal", "acme"), Data: data, MsgID: "probe"})
			return err == nil && !ack.Duplicate
		})
	}
}

// A dispatcher dies between the copy and the ack of a move, and nobody comes for
// longer than the bus remembers ids: there are two copies in the next queue then,
// and one is sent.
func TestMoveRepeatedAfterTheWindowSendsOnce(t *testing.T) {
	r := newRig(t, "a", "b")
	here, next := newGateway(10), newGateway(10)
	here.answer = func(b *providers.Batch) ([]providers.Result, error) {
		return slices.Repeat([]providers.Result{{Class: providers.RejectedHere}}, len(b.Messages)), nil
	}
	r.queue(r.piece("e", 0, 2, func(p *envelope.Piece) { p.Route = []string{"b"} }))
	stored := func(n uint64) func() bool {
		return func() bool {
			s, err := r.bus.State(t.Context(), bus.QueueStream("b"))
			return err == nil && s.Messages == n
		}
	}
	stop := r.dispatcher("d1", r.account("a", here))
	r.until("moved", stored(1))
	stop()
	if err := r.bus.DeleteConsumer(t.Context(), bus.QueueStream("a"), "normal-acme"); err != nil { // as if the ack was lost
		t.Fatal(err)
	}
	r.windowPasses("b")
	s, err := r.bus.State(t.Context(), bus.QueueStream("b"))
	if err != nil {
		t.Fatal(err)
	}
	stop = r.dispatcher("d2", r.account("a", here))
	r.until("moved again", stored(s.Messages+1))
	stop()
	r.dispatcher("d3", r.account("b", next))
	r.queue(r.piece("last", 50, 1, func(p *envelope.Piece) { p.Account = "b" }))
	r.until("submitted", func() bool { return r.count(envelope.Submitted) == 3 })
	eachOnce(t, next, 3)
}

// The same between a fired schedule's way back into its queue and its ack.
func TestScheduleFiredTwiceSendsOnce(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 1, retried))
	p := r.past()
	intent := p.intent(0, 1)
	p.outcome(intent, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
	origin := envelope.Origin{Stream: bus.QueueStream("a"), Epoch: p.epoch, Seq: 1}
	for _, again := range []*envelope.Piece{
		r.piece("e", 0, 1, retried, func(p *envelope.Piece) { p.Origin, p.RetryOf = &origin, intent }), // its second try
		r.piece("f", 20, 1, func(p *envelope.Piece) {
			p.Origin, p.Tries = &envelope.Origin{Stream: "SMS_SUBMIT_acme", Epoch: 1, Seq: 7}, 1
		}),
	} {
		data, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // each has an id of its own by its place: both come back
			if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: bus.DueQueueSubject("a", string(again.Priority), "acme"), Data: data}); err != nil {
				t.Fatal(err)
			}
		}
	}
	g := newGateway(1)
	r.dispatcher("d1", r.account("a", g))
	r.until("both submitted", func() bool { return r.count(envelope.Submitted) == 2 })
	r.until("all copies are dealt with", func() bool {
		s, err := r.bus.State(t.Context(), bus.QueueStream("a"))
		if err != nil || s.Messages != 5 {
			return false
		}
		for _, lane := range []string{"high-acme", "normal-acme"} {
			if waiting, unsettled, err := r.bus.Backlog(t.Context(), bus.QueueStream("a"), lane); err != nil || waiting > 0 || unsettled > 0 {
				return false
			}
		}
		return true
	})
	eachOnce(t, g, 2)
}
