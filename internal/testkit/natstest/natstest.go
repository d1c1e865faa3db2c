// Package natstest starts real NATS servers for tests, and changes on them by hand
// what operators may.
package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
)

// Server starts a server on a free loopback port with a store that ends with the test.
func Server(t testing.TB) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(context.Background(), embedded.Options{Listen: "127.0.0.1:0", StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Start starts a server and returns a connected Bus with all streams for the
// given tenants and accounts.
func Start(t testing.TB, tenants, accounts []string) *bus.Bus {
	t.Helper()
	return Connect(t, Server(t), tenants, accounts)
}

// Connect returns one more Bus on a server.
func Connect(t testing.TB, s *embedded.Server, tenants, accounts []string) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(bus.Options{URL: s.ClientURL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureStreams(ctx, tenants, accounts); err != nil {
		t.Fatal(err)
	}
	return b
}

// ByHand returns what an operator has: the server's own JetStream, past the bus. Its
// connection ends with the test.
func ByHand(t testing.TB, s *embedded.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Change changes a stream's settings by hand.
func Change(t testing.TB, s *embedded.Server, stream string, set func(*jetstream.StreamConfig)) {
	t.Helper()
	js := ByHand(t, s)
	have, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := have.CachedInfo().Config
	set(&cfg)
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}
