package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

func TestManyPublishesAtOnce(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, nil)
	const n = 20_000 // more than may be under way
	pending := make([]bus.Pending, n)
	for i := range n {
		var err error
		if pending[i], err = b.PublishAsync(bus.Out{Subject: bus.EventSubject("acme", "submitted"), Data: []byte("x"), MsgID: fmt.Sprint(i / 2)}); err != nil {
			t.Fatal(err)
		}
	}
	seqs, twice := map[uint64]bool{}, 0
	for i, p := range pending {
		a, err := p.Wait(t.Context())
		if err != nil || a.Stream != bus.EventStream {
			t.Fatalf("%d: %+v, %v", i, a, err)
		}
		if seqs[a.Seq] = true; a.Duplicate {
			twice++
		}
	}
	if len(seqs) != n/2 || twice != n/2 {
		t.Errorf("stored %d, told %d that they were there", len(seqs), twice)
	}
	if _, err := b.PublishAsync(bus.Out{Subject: bus.EventSubject("acme", "submitted"), Data: make([]byte, b.MaxPayload()+1)}); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("more than the server takes: %v", err)
	}
}

// What no stream answers is tried again, for a stream may be choosing its leader,
// and then given up.
func TestPublishWaitsForAStream(t *testing.T) {
	t.Parallel()
	server := natstest.Server(t)
	b, js := natstest.Connect(t, server, nil, nil), natstest.ByHand(t, server)
	subject := bus.QueueSubject("later", "normal", "acme")
	nobody, err := b.PublishAsync(bus.Out{Subject: "sms.queue.never.normal.acme", Data: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.PublishAsync(bus.Out{Subject: subject, Data: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	// By one request: it has to be there within half a second.
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: bus.QueueStream("later"), Subjects: []string{subject}}); err != nil {
		t.Fatal(err)
	}
	if a, err := p.Wait(t.Context()); err != nil || a.Stream != bus.QueueStream("later") {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := nobody.Wait(t.Context()); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("stored nowhere: %v", err)
	}
}

// silent returns a subject on which messages are taken and never answered.
func silent(t *testing.T, url string) string {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("silence.>", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return "silence.x"
}

// Whose server goes away need not wait for the end of an ack's time.
func TestPublishEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	server := natstest.Server(t)
	b := natstest.Connect(t, server, nil, nil)
	p, err := b.PublishAsync(bus.Out{Subject: silent(t, server.ClientURL()), Data: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	server.Stop()
	if _, err := p.Wait(t.Context()); !errors.Is(err, bus.ErrUnavailable) || time.Since(began) > 4*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

func TestPublishEndsWithItsTime(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for five seconds")
	}
	server := natstest.Server(t)
	b := natstest.Connect(t, server, nil, nil)
	p, err := b.PublishAsync(bus.Out{Subject: silent(t, server.ClientURL()), Data: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); !errors.Is(err, bus.ErrUnavailable) {
		t.Error(err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, nil)
	p, err := b.PublishAsync(bus.Out{Subject: "sms.queue.never.normal.acme", Data: []byte("x")}) // answered after some time
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
