package config

import (
	"path/filepath"
	"time"
)

// Demo is one account of the built-in config, answered by a simulator.
type Demo struct {
	Type        string
	BaseURL     string
	Credentials map[string]string
	Options     map[string]any
}

// What tuma up serves without a config: the tenant demo, whose API key is the
// word demo, on loopback only.
const (
	DemoTenant    = "demo"
	DemoKey       = "demo"
	demoKeySHA256 = "2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea"

	demoNATS      = "127.0.0.1:4222"
	demoSimulator = "127.0.0.1:8090"
)

// demoRoutes is one prefix for each type, with a fallback each. A demo whose
// type is not named here is reached by naming it as provider.
func demoRoutes() []Route {
	return []Route{
		{Prefix: "+254", Accounts: []string{"cloudrebue", "bulksmsrates"}},
		{Prefix: "+250", Accounts: []string{"digitalservices", "bulksmsrates"}},
		{Prefix: "+226", Accounts: []string{"smsbox", "bulksmsrates"}},
		{Prefix: "+33", Accounts: []string{"smsscheduler", "bulksmsrates"}},
		{Prefix: "+", Accounts: []string{"bulksmsrates", "cloudrebue"}},
	}
}

// DemoAccount returns the name of the built-in account of a provider type.
func DemoAccount(typ string) string { return typ + "-sim" }

// Default is the built-in config of tuma up: NATS and Redis inside the process,
// every demo answered by the simulators, and one operator tenant. The streams
// live in DataDir(env) and survive a restart.
func Default(demos []Demo, types map[string]TypeDefaults, env Lookup) (*Config, error) {
	c := &Config{
		NATS: NATS{
			URL:      NewURL("embedded"),
			Listen:   NewText(demoNATS),
			StoreDir: NewText(filepath.Join(DataDir(env), "nats")),
		},
		Redis:     Redis{URL: NewURL("embedded")},
		Simulator: Simulator{Listen: NewText(demoSimulator)},
		Telemetry: Telemetry{Sample: 1},
		Ingest: Ingest{Tenants: []Tenant{{
			Name: DemoTenant, KeysSHA256: []Text{NewText(demoKeySHA256)}, DefaultRegion: "KE", Operator: true,
		}}},
		Accounts: map[string]*Account{},
	}
	for _, d := range demos {
		a := &Account{
			Type: d.Type, BaseURL: NewText(d.BaseURL), Options: d.Options,
			Credentials:   map[string]Secret{},
			CallbackToken: Secrets{NewSecret("demo-callbacks-" + d.Type)},
			Poll:          Poll{After: Duration{2 * time.Second, true}, Every: Duration{2 * time.Second, true}}, // whoever tries it out does not wait
		}
		for k, v := range d.Credentials {
			a.Credentials[k] = NewSecret(v)
		}
		c.Accounts[DemoAccount(d.Type)] = a
	}
	for _, r := range demoRoutes() {
		var names []string
		for _, typ := range r.Accounts {
			if name := DemoAccount(typ); c.Accounts[name] != nil {
				names = append(names, name)
			}
		}
		if names != nil {
			c.Routes = append(c.Routes, Route{Prefix: r.Prefix, Accounts: names})
		}
	}
	c.fill(types)
	if err := c.check(types); err != nil {
		return nil, err
	}
	return c, nil
}

// DataDir is where tuma up keeps its streams: $XDG_DATA_HOME/tuma, else
// ~/.local/share/tuma, else tuma-data in the working directory.
func DataDir(env Lookup) string {
	if dir, ok := env("XDG_DATA_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "tuma")
	}
	if home, ok := env("HOME"); ok && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "tuma")
	}
	return "tuma-data"
}
