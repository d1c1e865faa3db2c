// Package natstest starts real NATS servers for tests.
package natstest

import (
	"context"
	"testing"
	"time"

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
