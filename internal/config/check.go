package config

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones of calendar-day limits must load on an image without them
)

var (
	nameShape   = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	regionShape = regexp.MustCompile(`^([A-Z]{2})?$`)
	prefixShape = regexp.MustCompile(`^\+[0-9]{0,15}$`)
)

// maxInFlight is the most requests that one dispatcher may have under way: each
// holds a connection and a batch in memory.
const maxInFlight = 4096

// checker keeps the first thing that is wrong, in the order of the file's sections.
type checker struct{ err error }

func (k *checker) want(ok bool, key, format string, args ...any) bool {
	if !ok && k.err == nil {
		k.err = &Error{Key: key, Reason: fmt.Sprintf(format, args...)}
	}
	return ok
}

func (c *Config) check(types map[string]TypeDefaults) error {
	k := &checker{}
	c.checkBus(k)
	k.address("ingest.listen", c.Ingest.Listen)
	k.address("dlr_collector.listen", c.DLRCollector.Listen)
	k.httpURL("dlr_collector.public_url", c.DLRCollector.PublicURL.r)
	k.address("admin.listen", c.Admin.Listen)
	if !c.Simulator.Listen.IsZero() {
		k.address("simulator.listen", c.Simulator.Listen)
	}
	if !c.Telemetry.OTLP.IsZero() {
		k.httpURL("telemetry.otlp", c.Telemetry.OTLP.r)
	}
	k.want(c.Telemetry.Sample >= 0 && c.Telemetry.Sample <= 1, "telemetry.sample", "must be between 0 and 1")
	c.checkTenants(k)
	for _, name := range c.AccountNames() {
		key := "providers." + name
		a := c.Accounts[name]
		k.want(nameShape.MatchString(name), key, "an account's name is 1 to 32 of a-z, 0-9 and -")
		k.want(name != "none", key, "the name none is taken: dead letters without an account have it")
		if k.want(a != nil, key, "is empty") && k.err == nil {
			c.checkAccount(k, key, a, types)
		}
	}
	c.checkLogins(k)
	c.checkRoutes(k)
	return k.err
}

func (c *Config) checkBus(k *checker) {
	n := c.NATS
	k.want(n.JournalGiB >= 0 && n.JournalGiB <= 1<<20, "nats.journal_gib", "must be 0 to 1048576")
	k.want(n.Replicas == 1 || n.Replicas == 3 || n.Replicas == 5, "nats.replicas", "must be 1, 3 or 5")
	if n.URL.Embedded() {
		k.want(n.Replicas == 1, "nats.replicas", "must be 1 for the embedded server")
		k.address("nats.listen", n.Listen)
		if d, err := time.ParseDuration(n.Sync); n.Sync != "" && n.Sync != "always" {
			k.want(err == nil && d > 0, "nats.sync", "must be always or a duration like 2m")
		}
	} else {
		const only = "goes only with nats.url: embedded"
		k.want(n.Listen.IsZero(), "nats.listen", only)
		k.want(n.StoreDir.IsZero(), "nats.store_dir", only)
		k.want(n.Sync == "", "nats.sync", only)
		k.scheme("nats.url", n.URL.r, "nats", "tls", "ws", "wss")
	}
	k.want(n.Credentials.IsZero() || n.User.IsZero(), "nats.user", "goes not with nats.credentials: who connects is said once")
	k.login("nats", n.User, n.Password, n.TLS, n.URL.Embedded())
	if !c.Redis.URL.Embedded() {
		k.scheme("redis.url", c.Redis.URL.r, "redis", "rediss", "unix")
		k.want(c.Redis.TLS.IsZero() || !c.Redis.URL.r.literal() || strings.HasPrefix(c.Redis.URL.r.raw, "rediss://"), "redis.tls", "goes only with a rediss:// URL")
	}
	// Redis has a user "default", so a password alone is common.
	k.want(c.Redis.User.IsZero() || !c.Redis.Password.IsZero(), "redis.password", "is missing: redis.user is set")
	k.login("redis", Text{}, Secret{}, c.Redis.TLS, c.Redis.URL.Embedded())
}

// login checks how a program proves to a server who it is.
func (k *checker) login(section string, user Text, password Secret, t TLS, embedded bool) {
	k.want(user.IsZero() == password.IsZero(), section+".password", "and %s.user go together", section)
	k.want(t.Cert.IsZero() == t.Key.IsZero(), section+".tls.key", "and %s.tls.cert go together", section)
	k.want(!embedded || user.IsZero() && t.IsZero(), section+".tls", "goes not with url: embedded")
}

const wantKeyHash = "must be 64 hexadecimal digits, as tuma key new prints them"

// KeyHash reads the hash of an API key; ok is false if s is none.
func KeyHash(s string) (sum [32]byte, ok bool) {
	n, err := hex.Decode(sum[:], []byte(s[:min(len(s), 64)]))
	return sum, err == nil && n == 32 && len(s) == 64
}

// ResolveKeys returns the hashes of the tenant's API keys. Its error is an *Error.
func (t *Tenant) ResolveKeys() ([][32]byte, error) {
	var sums [][32]byte
	for _, k := range t.KeysSHA256 {
		text, err := k.Resolve()
		if err != nil {
			return nil, err
		}
		sum, ok := KeyHash(text)
		if !ok {
			return nil, k.r.fail(wantKeyHash)
		}
		sums = append(sums, sum)
	}
	return sums, nil
}

func (c *Config) checkTenants(k *checker) {
	seen, keys := map[string]bool{}, map[[32]byte]string{}
	for i, t := range c.Ingest.Tenants {
		at := fmt.Sprintf("ingest.tenants[%d]", i)
		k.want(nameShape.MatchString(t.Name), at+".name", "a tenant's name is 1 to 32 of a-z, 0-9 and -")
		k.want(!seen[t.Name], at+".name", "there are two tenants %s", t.Name)
		seen[t.Name] = true
		for j, h := range t.KeysSHA256 {
			key := fmt.Sprintf("%s.keys_sha256[%d]", at, j)
			if !h.r.literal() { // ingest looks at it, as it alone needs it
				continue
			}
			sum, ok := KeyHash(h.String())
			k.want(ok, key, wantKeyHash)
			other, taken := keys[sum]
			k.want(!taken || other == t.Name, key, "is a key of tenant %s too", other)
			keys[sum] = t.Name
		}
		k.want(regionShape.MatchString(t.DefaultRegion), at+".default_region", "must be two letters, like KE")
		if t.Rate != nil {
			k.rate(at+".rate", t.Rate)
			k.want(t.Rate.Requests == 0, at+".rate.requests", "a tenant's rate counts messages")
		}
		for j, a := range t.Accounts {
			k.want(c.Accounts[a] != nil, fmt.Sprintf("%s.accounts[%d]", at, j), "there is no account %q under providers", a)
		}
	}
}

// maxTimeout keeps a request well inside its lease and the bus's redelivery.
const maxTimeout = 2 * time.Minute

func (c *Config) checkAccount(k *checker, key string, a *Account, types map[string]TypeDefaults) {
	d, known := types[a.Type]
	if !k.want(known, key+".type", "%q is not one of %s", a.Type, strings.Join(sortedKeys(types), ", ")) {
		return
	}
	for _, name := range sortedKeys(a.Credentials) {
		k.want(slices.Contains(d.Credentials, name), key+".credentials."+name,
			"unknown key; type %s takes %s", a.Type, strings.Join(d.Credentials, ", "))
	}
	if u := k.httpURL(key+".base_url", a.BaseURL.r); u != nil {
		k.want(u.Scheme == "https" || a.AllowHTTP || loopback(u.Hostname()), key+".base_url",
			"is plain http to %s, which is not loopback: texts, numbers and credentials could be read on the way; allow_http: true permits it", u.Host)
	}
	k.want(len(a.Rate) > 0, key+".rate", "is an empty list")
	for i := range a.Rate {
		at := key + ".rate"
		if len(a.Rate) > 1 {
			at = fmt.Sprintf("%s[%d]", at, i)
		}
		k.rate(at, &a.Rate[i])
	}
	k.want(a.Batch.Size >= 1 && (d.MaxBatch == 0 || a.Batch.Size <= d.MaxBatch), key+".batch.size",
		"must be 1 to %d, the most that one request of type %s carries", d.MaxBatch, a.Type)
	k.want(a.Batch.Linger.Duration >= 0 && a.Batch.Linger.Duration <= time.Minute, key+".batch.linger", "must be 0s to 1m")
	k.want(a.Concurrency >= 1 && a.Concurrency <= maxInFlight, key+".concurrency", "must be 1 to %d", maxInFlight)
	k.want(a.Timeout.Duration > 0 && a.Timeout.Duration <= maxTimeout, key+".timeout", "must be more than 0s, at most %s", maxTimeout)
	k.want(a.Breaker.Failures >= 1, key+".breaker.failures", "must be at least 1")
	k.want(a.Breaker.OpenFor.Duration > 0, key+".breaker.open_for", "must be more than 0s")
	k.want(a.Poll.After.Duration > 0, key+".poll.after", "must be more than 0s")
	k.want(a.Poll.Every.Duration > 0, key+".poll.every", "must be more than 0s")
	k.want(slices.Contains([]string{"", "hold", "retry"}, a.OnUncertain), key+".on_uncertain", "must be hold or retry")
	for _, number := range sortedKeys(a.Inbound) {
		isTenant := func(t Tenant) bool { return t.Name == a.Inbound[number] }
		k.want(slices.ContainsFunc(c.Ingest.Tenants, isTenant), key+".inbound."+number,
			"there is no tenant %q under ingest", a.Inbound[number])
	}
}

// checkLogins refuses two opinions on one limit.
func (c *Config) checkLogins(k *checker) {
	for _, name := range c.AccountNames() {
		a := c.Accounts[name]
		if a == nil || a.Login == "" || a.Login == name {
			continue
		}
		same := slices.EqualFunc(a.Rate, c.Accounts[a.Login].Rate, func(x, y Rate) bool {
			return x.Requests == y.Requests && x.Messages == y.Messages && x.Per == y.Per && x.Zone == y.Zone && x.Model == y.Model
		})
		k.want(same, "providers."+name+".rate", "differs from that of %s, which has the same credentials: the provider counts them as one", a.Login)
	}
}

func (c *Config) checkRoutes(k *checker) {
	seen := map[string]bool{}
	for i, r := range c.Routes {
		at := fmt.Sprintf("routes[%d]", i)
		k.want(prefixShape.MatchString(r.Prefix), at+".prefix", "must be + and up to 15 digits")
		k.want(!seen[r.Prefix], at+".prefix", "there are two routes for %s", r.Prefix)
		seen[r.Prefix] = true
		k.want(len(r.Accounts) > 0 || r.Refuse, at+".providers", "names no account (refuse: true refuses the prefix)")
		k.want(len(r.Accounts) == 0 || !r.Refuse, at+".refuse", "goes not with providers")
		k.want(len(r.Weights) == 0 || len(r.Weights) == len(r.Accounts), at+".weights", "needs one for each of the providers")
		for j, w := range r.Weights {
			k.want(w > 0 && w <= 1000, fmt.Sprintf("%s.weights[%d]", at, j), "must be 1 to 1000")
		}
		for j, a := range r.Accounts {
			key := fmt.Sprintf("%s.providers[%d]", at, j)
			k.want(c.Accounts[a] != nil, key, "there is no account %q under providers", a)
			k.want(!slices.Contains(r.Accounts[:j], a), key, "names %s twice", a)
		}
	}
}

// Distributed refuses what only tuma up offers: a bus or a Redis that lives and
// dies with one process. The programs that scale out ask it.
func (c *Config) Distributed() error {
	const reason = "embedded is for tuma up only: the programs must meet at one server"
	if c.NATS.URL.Embedded() {
		return &Error{File: c.File, Key: "nats.url", Reason: reason}
	}
	if c.Redis.URL.Embedded() {
		return &Error{File: c.File, Key: "redis.url", Reason: reason}
	}
	return nil
}

func (k *checker) rate(key string, r *Rate) {
	k.want((r.Requests > 0) != (r.Messages > 0) && r.Requests >= 0 && r.Messages >= 0, key,
		"must have either requests or messages, at least 1 (pause an account to stop it)")
	k.want(r.Per.Duration > 0, key+".per", "is missing: say how long a window is, like 1s or day")
	k.want(r.Zone == "" || r.Per.Day, key+".zone", "goes only with per: day")
	k.want(slices.Contains([]string{"", "sliding", "fixed", "token_bucket", "paced"}, r.Model), key+".model",
		"must be sliding, fixed, token_bucket or paced")
	k.want(r.Model == "" || (r.Requests > 0 && !r.Per.Day), key+".model", "goes only with requests, and not with per: day")
	loc, err := time.LoadLocation(r.Zone)
	k.want(err == nil && r.Zone != "Local", key+".zone", "%q is not a time zone like Africa/Nairobi", r.Zone)
	r.Location = loc
}

func (k *checker) address(key string, t Text) {
	if !t.r.literal() {
		return
	}
	_, port, err := net.SplitHostPort(t.String())
	k.want(err == nil && port != "", key, "must be host:port, like 127.0.0.1:8080")
}

// scheme checks a list of URLs without naming it in the error: it may hold a password.
func (k *checker) scheme(key string, r *ref, schemes ...string) {
	if !r.literal() {
		return
	}
	for one := range strings.SplitSeq(r.raw, ",") {
		s, _, ok := strings.Cut(strings.TrimSpace(one), "://")
		k.want(ok && slices.Contains(schemes, s), key, "must begin with %s://", strings.Join(schemes, ":// or "))
	}
}

// httpURL returns the parsed URL, nil if it is wrong or a reference.
func (k *checker) httpURL(key string, r *ref) *url.URL {
	if r == nil {
		k.want(false, key, "is missing")
		return nil
	}
	if !r.literal() {
		return nil
	}
	u, err := url.Parse(r.raw)
	ok := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
	if !k.want(ok, key, "must be an http or https URL without a query") {
		return nil
	}
	return u
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
