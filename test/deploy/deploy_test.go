// Package deploy loads what is deployed with the code that will read it. What
// needs Kubernetes' types is tested in the module deploy.
package deploy

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/all"
)

// nothing is set: a config that is deployed as a file must not need more.
func nothing(string) (string, bool) { return "", false }

func load(t *testing.T, path string) *config.Config {
	t.Helper()
	c, err := config.Load("../../deploy/"+path, app.TypeDefaults(), nothing)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigs(t *testing.T) {
	t.Parallel()
	for path, replicas := range map[string]int{"compose/tuma.yaml": 1, "k8s/base/tuma.yaml": 3} {
		c := load(t, path)
		if err := c.Distributed(); err != nil {
			t.Error(err)
		}
		if c.NATS.Replicas != replicas {
			t.Errorf("%s: %d replicas", path, c.NATS.Replicas)
		}
		for _, listen := range []config.Text{c.Ingest.Listen, c.DLRCollector.Listen, c.Admin.Listen} {
			if host, _, err := net.SplitHostPort(listen.String()); err != nil || host != "0.0.0.0" {
				t.Errorf("%s: %s cannot be reached from outside its container", path, listen)
			}
		}
	}
}

// TestBaseNamesNoSecret: the cluster's config is public, secrets are files.
func TestBaseNamesNoSecret(t *testing.T) {
	t.Parallel()
	c := load(t, "k8s/base/tuma.yaml")
	for _, name := range c.AccountNames() {
		a := c.Accounts[name]
		for key, s := range a.Credentials {
			if !strings.HasPrefix(s.String(), "file:/run/secrets/tuma/") {
				t.Errorf("%s.%s is %s, not a mounted file", name, key, s)
			}
		}
		for _, s := range a.CallbackToken {
			if !strings.HasPrefix(s.String(), "file:/run/secrets/tuma/") {
				t.Errorf("%s.callback_token is %s, not a mounted file", name, s)
			}
		}
	}
}

// TestComposeMeetsTheSimulators: every type has an account whose address and
// credentials the simulators take, and the adapter takes its options.
func TestComposeMeetsTheSimulators(t *testing.T) {
	t.Parallel()
	c := load(t, "compose/tuma.yaml")
	sim, demo := simulator.New(simulator.Options{}), simulator.DemoCredentials()
	types := map[string]bool{}
	for _, name := range c.AccountNames() {
		a := c.Accounts[name]
		types[a.Type] = true
		base, err := a.BaseURL.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		if want := sim.BaseURL("http://simulator:8090", a.Type); base != want {
			t.Errorf("%s calls %s, the simulator answers at %s", name, base, want)
		}
		creds := map[string]string{}
		for key, s := range a.Credentials {
			if creds[key], err = s.Resolve(); err != nil {
				t.Fatal(err)
			}
			if creds[key] != demo[a.Type][key] {
				t.Errorf("%s.%s is not what the simulator wants", name, key)
			}
		}
		_, err = all.Types()[a.Type].New(providers.Options{
			Account: name, BaseURL: base, Credentials: creds, Options: a.Options, Timeout: a.Timeout.Duration, BatchSize: a.Batch.Size, AllowHTTP: a.AllowHTTP,
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, typ := range simulator.Types() {
		if !types[typ] {
			t.Errorf("no account of type %s", typ)
		}
	}
}

// TestNATS: the server itself reads its file. An acknowledged message must be on
// the disk of a single node, and the largest message must fit.
func TestNATS(t *testing.T) {
	t.Parallel()
	o, err := server.ProcessConfigFile("../../deploy/nats/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !o.JetStream || !o.SyncAlways || o.MaxPayload != 8<<20 || o.StoreDir != "/data" {
		t.Errorf("jetstream %v, sync_interval always %v, max_payload %d, store_dir %s", o.JetStream, o.SyncAlways, o.MaxPayload, o.StoreDir)
	}
	to, err := load(t, "compose/tuma.yaml").NATS.URL.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if u, err := url.Parse(to); err != nil || u.Port() != "4222" || o.Port != 4222 {
		t.Errorf("the programs call %s, NATS listens on port %d", to, o.Port)
	}
}
