package bus_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

// resized makes the delay stream refuse what is larger, as a server refuses all
// when it has no room; -1 lifts that.
func resized(t *testing.T, js jetstream.JetStream, size int32) {
	t.Helper()
	s, err := js.Stream(within(t), bus.DelayStream)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxMsgSize = size
	if _, err := js.UpdateStream(within(t), c); err != nil {
		t.Fatal(err)
	}
}

// The server tries once to fire a schedule. What it could not store then must not
// wait for the server's next start.
func TestStuckSchedulesAreFired(t *testing.T) {
	t.Parallel()
	server := natstest.Server(t)
	b := natstest.Connect(t, server, nil, nil)
	nc, err := nats.Connect(server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(3 * time.Second) // by when the stream refuses it, on a busy machine, too
	sent := map[string][]byte{"small": []byte("small"), "large": []byte(strings.Repeat("large ", 100_000)), "later": []byte("later")}
	for id, data := range sent {
		o := bus.Out{Subject: bus.DueQueueSubject("a", "high", "acme"), Data: data, SchedID: "b." + id, At: at, Header: bus.Header{"traceparent": {id}}}
		if id == "later" {
			o.At = at.Add(time.Hour)
		}
		o.Pack()
		for range 2 { // as if its owner had died before the next step
			if _, err := b.Publish(within(t), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	resized(t, js, 1)
	p, err := b.Pull(within(t), bus.Consumer{Stream: bus.DelayStream, Name: "due", Filters: []string{"sms.due.queue.>"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	none := func(wait time.Duration, why string) {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		if m, err := p.Next(ctx); err == nil {
			t.Fatalf("%q fired %s", m.Get("traceparent"), why)
		}
	}
	none(time.Until(at)+2*time.Second, "into a stream that refuses it")
	resized(t, js, -1)
	none(time.Second, "by itself: the server has learned it, and FireStuck can go")

	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 2 { // several processes look
		running.Go(func() {
			b.FireStuck(ctx, bus.DelayQueue, func() time.Time { return time.Now().Add(time.Minute) })
		})
	}
	defer running.Wait()
	defer stop()
	got := map[string]bool{}
	for len(got) < 2 {
		m, err := p.Next(within(t))
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		id := m.Get("traceparent")
		if !bytes.Equal(m.Data, sent[id]) || m.Subject != bus.DueQueueSubject("a", "high", "acme") || id == "later" {
			t.Errorf("%q fired as %s, %d bytes", id, m.Subject, len(m.Data))
		}
		got[id] = true
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := b.Subjects(within(t), bus.DelayStream, "sms.delay.>"); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
