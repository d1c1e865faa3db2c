package app

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// Check looks at the config, at what it names, and at whether the promises can
// be kept with it.
func Check(ctx context.Context, p cli.Params) ([]cli.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c := &checking{kit: &kit{p: p, cfg: p.Config}}
	c.add(cli.Fine, "config", "read")
	c.file()
	c.nats(ctx)
	c.redis(ctx)
	c.tenants()
	c.accounts(ctx)
	return c.found, nil
}

type checking struct {
	*kit
	found []cli.Finding
}

func (c *checking) add(l cli.Level, what, detail string) {
	c.found = append(c.found, cli.Finding{Level: l, What: what, Detail: detail})
}

// file warns of secrets that stand in a file that everybody on the machine may read.
func (c *checking) file() {
	secrets := []config.Secret{c.cfg.NATS.Password, c.cfg.Redis.Password}
	for _, a := range c.cfg.Accounts {
		secrets = append(slices.AppendSeq(secrets, maps.Values(a.Credentials)), a.CallbackToken...)
	}
	if !slices.ContainsFunc(secrets, config.Secret.Inline) {
		return
	}
	if info, err := os.Stat(c.cfg.File); err == nil && info.Mode().Perm()&0o004 != 0 {
		c.add(cli.Warning, "config", c.cfg.File+" holds secrets and everybody on this machine may read it: chmod o-r, or name them as ${NAME} or file:/path")
	}
}

func (c *checking) nats(ctx context.Context) {
	if c.cfg.NATS.URL.Embedded() {
		if c.cfg.NATS.Sync != "always" {
			level := cli.Broken
			if c.cfg.File == "" { // the demo, which sends nothing to anyone
				level = cli.Warning
			}
			c.add(level, "nats", "embedded without sync: always: \"nothing is lost\" and \"nothing is sent twice\" do not hold when the machine loses power")
			return
		}
		c.add(cli.Fine, "nats", "embedded, sync: always")
		return
	}
	b, err := connectBus(c.p, nil, nil)
	if err != nil {
		c.add(cli.Broken, "nats", err.Error())
		return
	}
	defer b.Close()
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if b.WaitConnected(wait) != nil {
		c.add(cli.Broken, "nats", "out of reach")
		return
	}
	info, err := b.Server(wait)
	if err != nil {
		c.add(cli.Broken, "nats", "JetStream does not answer: "+err.Error())
		return
	}
	c.add(cli.Fine, "nats", "server "+info.Version)
	if info.MaxPayload < 4<<20 {
		c.add(cli.Warning, "nats.max_payload", fmt.Sprintf("%d bytes: envelopes with many long texts may not fit; set max_payload: 8MB", info.MaxPayload))
	}
	if c.cfg.NATS.Replicas < 3 {
		c.add(cli.Warning, "nats.replicas", "1 replica: \"nothing is lost\" and \"nothing is sent twice\" hold only if the server runs with sync_interval: always, "+
			"which a client cannot see, and its disk is kept")
	}
	c.streams(wait, b)
}

// streams compares them with what this version makes them.
func (c *checking) streams(ctx context.Context, b *bus.Bus) {
	found, err := b.Inspect(ctx, c.kit.tenants(), c.cfg.AccountNames())
	if err != nil {
		c.add(cli.Broken, "nats.streams", err.Error())
		return
	}
	missing := 0
	for _, d := range found {
		switch {
		case d.Missing:
			missing++
		case len(d.Settings) > 0:
			c.add(cli.Broken, "nats.streams."+d.Stream, strings.Join(d.Settings, ", ")+": changed by hand or of another version; the programs put it right when they start")
		}
		if d.Offline > 0 {
			c.add(cli.Broken, "nats.streams."+d.Stream, fmt.Sprintf("%d of its replicas are away or behind: \"nothing is lost\" does not survive one more", d.Offline))
		}
	}
	if missing > 0 {
		c.add(cli.Fine, "nats.streams", fmt.Sprintf("%d are not made yet: the programs make them when they start", missing))
	} else if len(found) == 0 {
		c.add(cli.Fine, "nats.streams", "as this version makes them")
	}
	if s, err := b.State(ctx, bus.JournalStream); err == nil && s.MaxBytes > 0 && s.Bytes > uint64(s.MaxBytes)*3/4 {
		c.add(cli.Warning, "nats.journal_gib", fmt.Sprintf("the journal has used %d%% of its room; at 90%% nothing is sent any more", s.Bytes*100/uint64(s.MaxBytes)))
	}
}

func (c *checking) redis(ctx context.Context) {
	if c.cfg.Redis.URL.Embedded() {
		c.add(cli.Fine, "redis", "embedded")
		return
	}
	r, err := connectRedis(c.cfg, "")
	if err != nil {
		c.add(cli.Broken, "redis", err.Error())
		return
	}
	defer func() { _ = r.Close() }() // nothing was written
	if err := r.Ping(ctx).Err(); err != nil {
		c.add(cli.Broken, "redis", redisTrouble(err)+": of each account one dispatcher sends alone, and idempotency keys hold for minutes only")
		return
	}
	c.add(cli.Fine, "redis", "answers")
	if got, err := r.ConfigGet(ctx, "maxmemory-policy").Result(); err == nil && got["maxmemory-policy"] != "noeviction" {
		c.add(cli.Warning, "redis.maxmemory-policy", got["maxmemory-policy"]+": idempotency keys may be evicted; use noeviction")
	}
}

func (c *checking) tenants() {
	if len(c.cfg.Ingest.Tenants) < 2 {
		return
	}
	for _, t := range c.cfg.Ingest.Tenants {
		if len(t.Accounts) == 0 {
			c.add(cli.Warning, "ingest.tenants."+t.Name, "may use every account; say accounts: where tenants differ")
		}
		if len(t.Senders) == 0 {
			c.add(cli.Warning, "ingest.tenants."+t.Name, "may use every sender id; say senders: where tenants differ")
		}
	}
}

func (c *checking) accounts(ctx context.Context) {
	adapters, err := c.adapters(none)
	if err != nil {
		c.add(cli.Broken, "providers", err.Error())
		return
	}
	for _, name := range c.cfg.AccountNames() {
		a := c.cfg.Accounts[name]
		base, err := a.BaseURL.Resolve()
		if err != nil {
			c.add(cli.Broken, "providers."+name, err.Error())
			continue
		}
		if err := dial(ctx, base); err != nil {
			c.add(cli.Broken, "providers."+name, err.Error())
			continue
		}
		detail := "reachable"
		if b, ok := adapters[name].(providers.Balancer); ok {
			balance, err := b.Balance(ctx, nil)
			if err != nil {
				c.add(cli.Broken, "providers."+name, "does not accept the credentials: "+err.Error())
				continue
			}
			detail = "accepts the credentials, balance " + balance
		}
		c.add(cli.Fine, "providers."+name, detail)
		if adapters[name].Limits().CallbackURL && len(a.CallbackToken) == 0 {
			c.add(cli.Warning, "providers."+name, "no callback_token: its messages will have no delivery reports")
		}
	}
}

// dial opens and closes a connection: nothing is sent.
func dial(ctx context.Context, base string) error {
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return fmt.Errorf("out of reach: %w", err)
	}
	return conn.Close()
}
