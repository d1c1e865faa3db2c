package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// bind gives every reference its key and the environment.
func (c *Config) bind(env Lookup) error {
	var first error
	bind := func(r *ref, key string, args ...any) {
		if err := r.bind(fmt.Sprintf(key, args...), c.File, env); err != nil && first == nil {
			first = err
		}
	}
	bind(c.NATS.URL.r, "nats.url")
	bind(c.NATS.Credentials.r, "nats.credentials")
	bind(c.NATS.User.r, "nats.user")
	bind(c.NATS.Password.r, "nats.password")
	bind(c.Redis.User.r, "redis.user")
	bind(c.Redis.Password.r, "redis.password")
	for section, t := range map[string]TLS{"nats": c.NATS.TLS, "redis": c.Redis.TLS} {
		bind(t.CA.r, "%s.tls.ca", section)
		bind(t.Cert.r, "%s.tls.cert", section)
		bind(t.Key.r, "%s.tls.key", section)
	}
	bind(c.NATS.Listen.r, "nats.listen")
	bind(c.NATS.StoreDir.r, "nats.store_dir")
	bind(c.Redis.URL.r, "redis.url")
	bind(c.Ingest.Listen.r, "ingest.listen")
	for i := range c.Ingest.Tenants {
		for j, k := range c.Ingest.Tenants[i].KeysSHA256 {
			bind(k.r, "ingest.tenants[%d].keys_sha256[%d]", i, j)
		}
	}
	bind(c.DLRCollector.Listen.r, "dlr_collector.listen")
	bind(c.DLRCollector.PublicURL.r, "dlr_collector.public_url")
	bind(c.Admin.Listen.r, "admin.listen")
	bind(c.Simulator.Listen.r, "simulator.listen")
	bind(c.Telemetry.OTLP.r, "telemetry.otlp")
	for _, name := range c.AccountNames() {
		a := c.Accounts[name]
		if a == nil {
			continue
		}
		bind(a.BaseURL.r, "providers.%s.base_url", name)
		for _, k := range slices.Sorted(maps.Keys(a.Credentials)) {
			bind(a.Credentials[k].r, "providers.%s.credentials.%s", name, k)
		}
		for i, s := range a.CallbackToken {
			bind(s.r, "providers.%s.callback_token[%d]", name, i)
		}
	}
	return first
}

// fill puts defaults where nothing was written.
func (c *Config) fill(types map[string]TypeDefaults) {
	if c.NATS.URL.IsZero() {
		c.NATS.URL = NewURL("nats://127.0.0.1:4222")
	}
	fallback(&c.NATS.Replicas, 1)
	if c.NATS.URL.Embedded() {
		fallbackText(&c.NATS.Listen, "127.0.0.1:4222")
		fallbackText(&c.NATS.StoreDir, "tuma-data")
	}
	if c.Redis.URL.IsZero() {
		c.Redis.URL = NewURL("redis://127.0.0.1:6379/0")
	}
	fallbackText(&c.Ingest.Listen, "127.0.0.1:8080")
	fallbackText(&c.DLRCollector.Listen, "127.0.0.1:8081")
	fallbackText(&c.DLRCollector.PublicURL, "http://"+c.DLRCollector.Listen.String())
	fallbackText(&c.Admin.Listen, "127.0.0.1:9090")
	for i := range c.Ingest.Tenants {
		t := &c.Ingest.Tenants[i]
		t.DefaultRegion = strings.ToUpper(t.DefaultRegion)
	}
	names := c.AccountNames()
	for _, name := range names {
		if a := c.Accounts[name]; a != nil {
			a.Name, a.Login = name, name
			a.fill(types[a.Type])
		}
	}
	for _, name := range names {
		first := slices.IndexFunc(names, func(other string) bool { return sameLogin(c.Accounts[name], c.Accounts[other]) })
		if first >= 0 {
			c.Accounts[name].Login = names[first]
		}
	}
}

func (a *Account) fill(d TypeDefaults) {
	fallbackText(&a.BaseURL, d.BaseURL)
	if a.Rate == nil {
		a.Rate = Rates{{Requests: d.Rate, Per: Window{Duration: time.Second}}}
	}
	fallback(&a.Batch.Size, d.Batch)
	a.Batch.Linger.fallback(20 * time.Millisecond)
	a.Timeout.fallback(10 * time.Second)
	fallback(&a.Breaker.Failures, 5)
	a.Breaker.OpenFor.fallback(30 * time.Second)
	if d.LookUp > 0 {
		a.Poll.After.fallback(d.LookUp)
	}
	a.Poll.After.fallback(time.Minute)
	a.Poll.Every.fallback(5 * time.Minute)
	fallback(&a.Concurrency, a.inFlight(d.Rate))
}

// inFlight is what keeps the rate busy while each request takes its timeout.
// Limits over long windows say nothing of the pace.
func (a *Account) inFlight(typeRate int) int {
	perSecond := 0.0
	for _, r := range a.Rate {
		n := float64(r.Requests)
		if r.Messages > 0 {
			n = float64(r.Messages) / float64(max(a.Batch.Size, 1))
		}
		if s := r.Per.Seconds(); s > 0 && s <= 60 && (perSecond == 0 || n/s < perSecond) {
			perSecond = n / s
		}
	}
	if perSecond == 0 {
		perSecond = float64(typeRate)
	}
	return int(min(max(perSecond*a.Timeout.Seconds(), 8), 256))
}

func sameLogin(a, b *Account) bool {
	if a == nil || b == nil || len(a.Credentials) == 0 {
		return false
	}
	same := func(x, y Secret) bool { return x.r != nil && y.r != nil && x.r.raw == y.r.raw }
	return a.Type == b.Type && a.BaseURL.String() == b.BaseURL.String() && maps.EqualFunc(a.Credentials, b.Credentials, same)
}

func fallback(n *int, v int) {
	if *n == 0 {
		*n = v
	}
}

func fallbackText(t *Text, v string) {
	if t.IsZero() {
		*t = NewText(v)
	}
}
