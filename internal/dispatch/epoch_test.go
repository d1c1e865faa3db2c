package dispatch_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
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
	nc, err := nats.Connect(r.server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), bus.QueueStream(account)); err != nil {
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
	r.setStream(stream, func(c *jetstream.StreamConfig) { c.MaxMsgs = messages })
}

// setStream changes a stream's settings by hand.
func (r *rig) setStream(stream string, set func(*jetstream.StreamConfig)) {
	r.t.Helper()
	nc, err := nats.Connect(r.server.ClientURL())
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	set(&cfg)
	if _, err := js.UpdateStream(r.t.Context(), cfg); err != nil {
		r.t.Fatal(err)
	}
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
	r.until("tried three times", func() bool { return g.requests() >= 3 })
	g.mu.Lock()
	first, second := g.at[1].Sub(g.at[0]), g.at[2].Sub(g.at[1])
	g.mu.Unlock()
	if second < first*3/2 {
		t.Errorf("tried again after %v, and after %v", first, second)
	}
	r.limit(bus.QueueStream("b"), -1)
	r.until("moved", func() bool {
		s, err := r.bus.State(t.Context(), bus.QueueStream("b"))
		return err == nil && s.Messages == 2
	})
}
