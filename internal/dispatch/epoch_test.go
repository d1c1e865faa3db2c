package dispatch_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// A queue that is deleted and made again counts from 1: what is in it now is not
// what the journal knows by these sequences.
func TestQueueMadeAnewIsNotTakenForTheOldOne(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	r.queue(r.piece("old", 0, 3))
	r.dispatcher("d1", r.account("a", g))
	r.until("the old submitted", func() bool { return r.count(envelope.Submitted) == 3 })
	nc, err := nats.Connect(r.server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), bus.QueueStream("a")); err != nil {
		t.Fatal(err)
	}
	if err := r.bus.EnsureStreams(t.Context(), nil, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	r.queue(r.piece("new", 10, 3))
	r.until("the new submitted", func() bool { return r.count(envelope.Submitted) == 6 })
	eachOnce(t, g, 6)
}
