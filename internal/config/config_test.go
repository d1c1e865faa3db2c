package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testTypes() map[string]TypeDefaults {
	return map[string]TypeDefaults{
		"cloudrebue":      {"https://bulk.cloudrebue.co.ke/api/v1", 100, 100, 120, []string{"token"}, 0},
		"smsbox":          {"https://smsbox.devotek.africa/api/sms/v1", 1000, 1000, 10, []string{"api_key", "api_secret"}, 0},
		"bulksmsrates":    {"https://app.bulksmsrates.com/v1", 10000, 10000, 100, []string{"api_key", "api_secret", "webhook_secret"}, 0},
		"digitalservices": {"https://bulksms.schooldream.co.rw/api/v2", 500, 500, 10, []string{"api_key", "username", "password", "dlr_username", "dlr_password"}, 0},
		"smsscheduler":    {"http://test.sms-scheduler.com/api/v1", 500, 500, 10, []string{"token"}, 0},
	}
}

func noEnv(string) (string, bool) { return "", false }

func envOf(kv ...string) Lookup {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

func parse(t *testing.T, text string, env Lookup) *Config {
	t.Helper()
	c, err := Parse("tuma.yaml", []byte(text), testTypes(), env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExampleLoads(t *testing.T) {
	t.Parallel()
	c, err := Load("../../config.example.yaml", testTypes(), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"bulksmsrates-main", "cloudrebue-ke", "digitalservices-rw", "smsbox-bf", "smsscheduler-fr"}
	if d := cmp.Diff(want, c.AccountNames()); d != "" {
		t.Error(d)
	}
	if err := c.Distributed(); err != nil {
		t.Error(err)
	}
	rates := c.Accounts["bulksmsrates-main"].Rate
	if len(rates) != 2 || !rates[1].Per.Day || rates[1].Location.String() != "Africa/Nairobi" || rates[1].Messages != 50000 {
		t.Errorf("rates %+v", rates)
	}
	if got := c.Accounts["smsbox-bf"].Inbound["15000"]; got != "acme" {
		t.Errorf("inbound tenant %q", got)
	}
	for _, r := range c.Routes {
		if len(r.Accounts) == 0 && !r.Refuse {
			t.Errorf("route %s has no account", r.Prefix)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# only a comment\n", "{}"} {
		c := parse(t, text, noEnv)
		got := []string{c.NATS.URL.String(), c.Redis.URL.String(), c.Ingest.Listen.String(), c.DLRCollector.Listen.String(),
			c.DLRCollector.PublicURL.String(), c.Admin.Listen.String(), c.Telemetry.OTLP.String()}
		want := []string{"nats://127.0.0.1:4222", "redis://127.0.0.1:6379/0", "127.0.0.1:8080", "127.0.0.1:8081",
			"http://127.0.0.1:8081", "127.0.0.1:9090", ""}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if c.NATS.Replicas != 1 || c.Telemetry.Sample != 1 {
			t.Errorf("replicas %d, sample %v", c.NATS.Replicas, c.Telemetry.Sample)
		}
	}
	if c := parse(t, "telemetry: {sample: 0}", noEnv); c.Telemetry.Sample != 0 {
		t.Error("sample: 0 was taken for nothing")
	}
}

func TestAccountDefaults(t *testing.T) {
	t.Parallel()
	c := parse(t, `
providers:
  cr: {type: cloudrebue}
  box: {type: smsbox, timeout: 2s, batch: {linger: 0s}}
  ds: {type: digitalservices, rate: {messages: 15, per: day}}
`, noEnv)
	for name, want := range map[string]struct {
		size, flight int
		rate         int
		linger       time.Duration
	}{
		"cr":  {100, 256, 120, 20 * time.Millisecond},
		"box": {1000, 20, 10, 0},
		"ds":  {500, 100, 0, 20 * time.Millisecond},
	} {
		a := c.Accounts[name]
		if a.Batch.Size != want.size || a.Concurrency != want.flight || a.Rate[0].Requests != want.rate || a.Batch.Linger.Duration != want.linger {
			t.Errorf("%s: batch %+v, concurrency %d, rate %+v", name, a.Batch, a.Concurrency, a.Rate)
		}
		if a.Name != name || a.Login != name || a.Breaker.Failures != 5 || a.Poll.Every.Duration != 5*time.Minute {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if loc := c.Accounts["ds"].Rate[0].Location; loc != time.UTC {
		t.Errorf("a day without a zone is one of %v", loc)
	}
}

func TestErrorsNameFileLineKeyAndReason(t *testing.T) {
	t.Parallel()
	const cr = "providers: {cr: {type: cloudrebue, %}}"
	in := func(rest string) string { return strings.Replace(cr, "%", rest, 1) }
	tests := []struct{ name, text, want string }{
		{"unknown section", "nat: {}", "tuma.yaml:1: nat: unknown key"},
		{"unknown key", "providers:\n  cr:\n    type: cloudrebue\n    ratte: 1\n", "tuma.yaml:4: providers.cr.ratte: unknown key"},
		{"unknown key in a rate", in("rate: {request: 1}"), "tuma.yaml:1: providers.cr.rate.request: unknown key"},
		{"unknown key in a list", in("rate: [{requests: 1, per: 1s}, {foo: 1}]"), "providers.cr.rate[1].foo: unknown key"},
		{"syntax", "nats: [1", "tuma.yaml:1:"},
		{"duplicate key", "admin: {}\nadmin: {}", "tuma.yaml:2:"},
		{"two documents", "{}\n---\n{}\n", "more than one YAML document"},
		{"fraction", "nats: {replicas: 1.5}", "nats.replicas: must be a whole number"},
		{"wrong type", "nats: {replicas: many}", "nats.replicas: must be a whole number"},
		{"mapping for text", "admin: {listen: {a: 1}}", "admin.listen: must be a text"},
		{"journal", "nats: {journal_gib: -1}", "nats.journal_gib: must be 0 to"},
		{"replicas", "nats: {replicas: 2}", "nats.replicas: must be 1, 3 or 5"},
		{"duration without unit", in("timeout: 10"), `providers.cr.timeout: "10" is not a duration`},
		{"negative timeout", in("timeout: -1s"), "providers.cr.timeout: must be more than 0s"},
		{"no window", in("rate: {requests: 5}"), "providers.cr.rate.per: is missing"},
		{"window", in("rate: {requests: 5, per: fortnight}"), "providers.cr.rate.per: \"fortnight\""},
		{"requests and messages", in("rate: {requests: 5, messages: 5, per: 1s}"), "providers.cr.rate: must have either"},
		{"rate zero", in("rate: {requests: 0, per: 1s}"), "providers.cr.rate: must have either"},
		{"empty rates", in("rate: []"), "providers.cr.rate: is an empty list"},
		{"zone without day", in("rate: {requests: 5, per: 1s, zone: UTC}"), "providers.cr.rate.zone"},
		{"rate of nothing", in("rate: {requests: .nan, per: 1s}"), "providers.cr.rate.requests: is too large"},
		{"rate without end", in("rate: {requests: 99999999999999999999, per: 1s}"), "providers.cr.rate.requests: is too large"},
		{"rate below zero", in("rate: {requests: -1, per: 1s}"), "providers.cr.rate: must have either"},
		{"in flight", in("concurrency: 1000000000"), "providers.cr.concurrency: must be 1 to 4096"},
		{"anchors that grow", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "unknown key"},
		{"model", in("rate: {requests: 5, per: 1s, model: leaky}"), "providers.cr.rate.model"},
		{"model of messages", in("rate: {messages: 5, per: 1s, model: paced}"), "providers.cr.rate.model"},
		{"zone", in("rate: {requests: 5, per: day, zone: Mars/Base}"), "Mars/Base"},
		{"batch above cap", in("batch: {size: 101}"), "providers.cr.batch.size: must be 1 to 100"},
		{"type", "providers: {x: {type: twilio}}", `providers.x.type: "twilio" is not one of bulksmsrates, cloudrebue`},
		{"account name", "providers: {Big_One: {type: cloudrebue}}", "providers.Big_One: an account's name"},
		{"account none", "providers: {none: {type: cloudrebue}}", "providers.none: the name none is taken"},
		{"empty account", "providers:\n  cr:\n", "tuma.yaml:2: providers.cr: is empty"},
		{"credential key", in("credentials: {tokn: a}"), "providers.cr.credentials.tokn: unknown key; type cloudrebue takes token"},
		{"plain http", in("base_url: http://sms.example.com/v1"), "providers.cr.base_url: is plain http to sms.example.com"},
		{"plain http by default", "providers: {x: {type: smsscheduler}}", "allow_http: true permits it"},
		{"not http", in("base_url: ftp://x"), "providers.cr.base_url: must be an http or https URL"},
		{"policy", in("on_uncertain: maybe"), "providers.cr.on_uncertain: must be hold or retry"},
		{"inbound tenant", in("inbound: {15000: acme}"), "providers.cr.inbound.15000: there is no tenant \"acme\""},
		{"reference", in("credentials: {token: '${MY TOKEN}'}"), "providers.cr.credentials.token: a reference is written ${NAME}"},
		{"route to nowhere", in("") + "\nroutes: [{prefix: '+254', providers: [cr, other]}]", `tuma.yaml:2: routes[0].providers[1]: there is no account "other"`},
		{"route prefix", "routes: [{prefix: '254', providers: []}]", "routes[0].prefix"},
		{"route without accounts", "routes: [{prefix: '+881'}]", "routes[0].providers: names no account"},
		{"refused and not", in("") + "\nroutes: [{prefix: '+', providers: [cr], refuse: true}]", "routes[0].refuse: goes not with providers"},
		{"two routes", in("") + "\nroutes: [{prefix: '+', providers: [cr]}, {prefix: '+', providers: [cr]}]", "routes[1].prefix: there are two"},
		{"tenant name", "ingest: {tenants: [{name: ACME}]}", "ingest.tenants[0].name"},
		{"two tenants", "ingest: {tenants: [{name: a}, {name: a}]}", "ingest.tenants[1].name: there are two tenants a"},
		{"key hash", "ingest: {tenants: [{name: a, keys_sha256: [demo]}]}", "ingest.tenants[0].keys_sha256[0]: must be 64"},
		{"tenant requests", "ingest: {tenants: [{name: a, rate: {requests: 5, per: 1s}}]}", "ingest.tenants[0].rate.requests"},
		{"tenant account", "ingest: {tenants: [{name: a, accounts: [x]}]}", "ingest.tenants[0].accounts[0]: there is no account"},
		{"region", "ingest: {tenants: [{name: a, default_region: Kenya}]}", "default_region: must be two letters"},
		{"listen", "ingest: {listen: 8080}", "ingest.listen: must be host:port"},
		{"sample", "telemetry: {sample: 1.5}", "telemetry.sample: must be between"},
		{"embedded only", "nats: {store_dir: /x}", "nats.store_dir: goes only with nats.url: embedded"},
		{"sync", "nats: {url: embedded, sync: often}", "nats.sync: must be always or"},
		{"password without user", "nats: {password: x}", "nats.password: and nats.user go together"},
		{"two ways to say who", "nats: {credentials: /c, user: x, password: y}", "nats.user: goes not with nats.credentials"},
		{"certificate without key", "nats: {tls: {cert: /c}}", "nats.tls.key: and nats.tls.cert go together"},
		{"key without certificate", "redis: {url: 'rediss://x/0', tls: {key: /c}}", "redis.tls.key: and redis.tls.cert go together"},
		{"tls of nothing", "nats: {url: embedded, tls: {ca: /c}}", "nats.tls: goes not with url: embedded"},
		{"tls in the clear", "redis: {url: 'redis://x/0', tls: {ca: /c}}", "redis.tls: goes only with a rediss:// URL"},
		{"redis user alone", "redis: {user: x}", "redis.password: is missing"},
		{"unknown file", "redis: {tls: {insecure: true}}", "redis.tls.insecure: unknown key"},
		{"nats scheme", "nats: {url: 'http://x'}", "nats.url: must begin with nats://"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("tuma.yaml", []byte(tt.text), testTypes(), noEnv)
			if err == nil {
				t.Fatal("was accepted")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "tuma.yaml:") {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("a %T, not an *Error", err)
			}
		})
	}
}

// A password of digits stays as typed, and is not shown.
func TestPasswordsOfServers(t *testing.T) {
	t.Parallel()
	c := parse(t, "nats: {user: 007, password: 1.50}\nredis: {password: '${R}'}", envOf("R", "secret-of-redis"))
	n, err := c.NATS.Password.Resolve()
	r, rerr := c.Redis.Password.Resolve()
	if n != "1.50" || c.NATS.User.String() != "007" || r != "secret-of-redis" || err != nil || rerr != nil {
		t.Errorf("%q %q %q %v %v", n, c.NATS.User, r, err, rerr)
	}
	var out bytes.Buffer
	if err := c.WriteEffective(&out); err != nil || strings.Contains(out.String(), "1.50") || strings.Contains(out.String(), "secret-of-redis") {
		t.Errorf("%s %v", &out, err)
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), testTypes(), noEnv)
	if err == nil || !strings.HasSuffix(err.Error(), "none.yaml: no such file or directory") {
		t.Errorf("got %v", err)
	}
}

func TestAccountsOfOneLogin(t *testing.T) {
	t.Parallel()
	const two = "providers:\n  a: {type: cloudrebue, credentials: {token: x}}\n  b: {type: cloudrebue, credentials: {token: x}, rate: {requests: RATE, per: 1s}}\n"
	c := parse(t, strings.ReplaceAll(two, "RATE", "120"), noEnv)
	if c.Accounts["b"].Login != "a" || c.Accounts["a"].Login != "a" {
		t.Errorf("logins %q, %q", c.Accounts["a"].Login, c.Accounts["b"].Login)
	}
	_, err := Parse("f", []byte(strings.ReplaceAll(two, "RATE", "60")), testTypes(), noEnv)
	if err == nil || !strings.Contains(err.Error(), "f:3: providers.b.rate: differs from that of a") {
		t.Errorf("got %v", err)
	}
}

func TestDistributed(t *testing.T) {
	t.Parallel()
	for text, key := range map[string]string{"nats: {url: embedded}": "nats.url", "redis: {url: embedded}": "redis.url"} {
		if err := parse(t, text, noEnv).Distributed(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestDefault(t *testing.T) {
	t.Parallel()
	var demos []Demo
	for typ, d := range testTypes() {
		creds := map[string]string{}
		for _, k := range d.Credentials {
			creds[k] = "demo"
		}
		demos = append(demos, Demo{Type: typ, BaseURL: "http://127.0.0.1:8090/" + typ, Credentials: creds})
	}
	dir := t.TempDir()
	c, err := Default(demos, testTypes(), envOf("XDG_DATA_HOME", dir))
	if err != nil {
		t.Fatal(err)
	}
	if !c.NATS.URL.Embedded() || !c.Redis.URL.Embedded() || c.NATS.StoreDir.String() != filepath.Join(dir, "tuma", "nats") {
		t.Errorf("nats %+v redis %+v", c.NATS, c.Redis)
	}
	if len(c.Accounts) != 5 || len(c.Routes) != 5 || c.Accounts["smsbox-sim"].Batch.Size != 1000 {
		t.Errorf("accounts %v routes %v", c.AccountNames(), c.Routes)
	}
	tok, err := c.Accounts["cloudrebue-sim"].Credentials["token"].Resolve()
	if err != nil || tok != "demo" {
		t.Errorf("token %q, %v", tok, err)
	}
	var b bytes.Buffer
	if err := c.WriteEffective(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tuma")); err == nil {
		t.Error("reading a config made a folder")
	}
}
