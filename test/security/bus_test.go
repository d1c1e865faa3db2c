package security

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
)

// client is a connection of somebody with a seed, and what the server told it.
type client struct {
	*nats.Conn
	t    *testing.T
	name string

	mu     sync.Mutex
	errors []string
}

// connect connects as a user; its answers come to _INBOX_ and its own name.
func (w *world) connect(user string) *client {
	w.t.Helper()
	opt, err := nats.NkeyOptionFromSeed(w.seed(user))
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, name: user}
	if user == "operator" {
		user = "tuma" // the program's name
	}
	c.Conn, err = nats.Connect(w.url, opt, nats.CustomInboxPrefix("_INBOX_"+user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.errors = append(c.errors, strings.ToLower(err.Error()))
	}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// told returns what the server complained of since the last call. A flush is
// answered after every complaint about what came before it.
func (c *client) told() string {
	c.t.Helper()
	if err := c.Flush(); err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond) // the client tells of errors in a goroutine of its own, after the flush's answer
	c.mu.Lock()
	defer c.mu.Unlock()
	out := strings.Join(c.errors, "; ")
	c.errors = nil
	return out
}

// streams are only started: who tries to get in needs no program that runs.
func (w *world) streams() *bus.Bus {
	w.t.Helper()
	b, err := bus.Connect(bus.Options{URL: w.url, Name: "ingest", Credentials: w.seed("ingest"), Inbox: "_INBOX_ingest"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(b.Close)
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	if err := errors.Join(b.WaitConnected(ctx), b.EnsureStreams(ctx, []string{"acme", "globex"}, []string{"cr"}), b.EnsureReaders(ctx, []string{"acme", "globex"})); err != nil {
		w.t.Fatal(err)
	}
	for _, tenant := range []string{"acme", "globex"} { // each has an event to be read
		if _, err := b.Publish(ctx, bus.Out{Subject: bus.EventSubject(tenant, "delivered"), Data: []byte(`{"tenant":"` + tenant + `"}`)}); err != nil {
			w.t.Fatal(err)
		}
	}
	return b
}

// state is everything that is kept: how many messages in which stream, under which
// subjects, and which consumers there are and how far they have come.
func (w *world) state() map[string]any {
	w.t.Helper()
	o := w.connect("operator")
	defer o.Close()
	js, err := jetstream.New(o.Conn)
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]any{}
	streams := js.ListStreams(w.t.Context())
	for s := range streams.Info() {
		consumers := map[string]any{}
		stream, err := js.Stream(w.t.Context(), s.Config.Name)
		if err != nil {
			w.t.Fatal(err)
		}
		list := stream.ListConsumers(w.t.Context())
		for c := range list.Info() {
			consumers[c.Name] = []uint64{c.AckFloor.Stream, uint64(c.NumAckPending), c.NumPending}
		}
		if err := list.Err(); err != nil {
			w.t.Fatal(err)
		}
		info, err := stream.Info(w.t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			w.t.Fatal(err)
		}
		out[s.Config.Name] = []any{info.State.Msgs, info.State.FirstSeq, info.State.LastSeq, info.State.Subjects, info.Config.Subjects, consumers}
	}
	if err := streams.Err(); err != nil || len(out) < 8 {
		w.t.Fatalf("%d streams: %v", len(out), err)
	}
	return out
}
