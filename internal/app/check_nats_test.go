package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

// What of NATS does not keep the promises is said: replicas, and streams that
// somebody changed.
func TestCheckSaysWhatOfNATSDoesNotHold(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	path := filepath.Join(t.TempDir(), "tuma.yaml")
	text := fmt.Sprintf("nats: {url: %q}\ningest: {tenants: [{name: acme}]}\n", s.ClientURL())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, TypeDefaults(), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	check := func() map[string]cli.Finding {
		c := &checking{kit: &kit{cfg: cfg, p: cli.Params{Name: "tuma", Config: cfg}}}
		c.nats(t.Context())
		out := map[string]cli.Finding{}
		for _, f := range c.found {
			out[f.What] = f
		}
		return out
	}
	got := check()
	if f := got["nats.replicas"]; f.Level != cli.Warning || !strings.Contains(f.Detail, "sync_interval") {
		t.Errorf("%+v", f)
	}
	if f := got["nats.streams"]; f.Level != cli.Fine || !strings.Contains(f.Detail, "not made yet") {
		t.Errorf("%+v", f)
	}
	natstest.Connect(t, s, []string{"acme"}, nil)
	if f := check()["nats.streams"]; f.Level != cli.Fine || !strings.HasPrefix(f.Detail, "as this") {
		t.Errorf("%+v", f)
	}
	natstest.Change(t, s, bus.JournalStream, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld })
	if f := check()["nats.streams."+bus.JournalStream]; f.Level != cli.Broken || !strings.Contains(f.Detail, "discard is DiscardOld, not DiscardNew") {
		t.Errorf("%+v", f)
	}
}
