// Package app assembles the programs from the config, in one place: each cmd and
// `tuma up` call it. Values are pushed into the stages from here; they know
// nothing of the config or of each other.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/internal/telemetry"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers/all"
)

// drain is how long a program may take to stop: one request's time-out and what
// it takes to record its outcome. deploy/k8s gives pods more than that.
const drain = 25 * time.Second

// TypeDefaults is what the config must know of the provider types.
func TypeDefaults() map[string]config.TypeDefaults {
	out := map[string]config.TypeDefaults{}
	for name, t := range all.Types() {
		out[name] = config.TypeDefaults{BaseURL: t.BaseURL, Batch: t.BatchSize, MaxBatch: t.BatchSize, Rate: t.Rate, Credentials: t.Credentials, LookUp: t.LookUp}
	}
	return out
}

// kit is what the programs of one process share.
type kit struct {
	p       cli.Params
	cfg     *config.Config
	tel     *telemetry.Telemetry
	log     *slog.Logger
	health  *service.Health
	bus     *bus.Bus
	redis   redis.UniversalClient
	journal *journal.Journal
	status  *status.Store
	parts   []service.Part // in start order
	streams chan struct{}  // closed once they are made
	readers []string       // tenants that read their events from the bus; made by who takes submissions
	slack   []byte
}

// slack is memory that nobody touches, so that it takes address space and nothing
// else, but counts as used: that much more garbage may come together before it is
// collected. A program that holds 20 MiB and makes 500 MiB of garbage a second
// would collect it 25 times a second, for an eighth of its CPU.
const slack = 64 << 20

// newKit connects to nothing yet: what it returns can be wired, and works once
// its parts run. server is the embedded NATS server, or nil. whole: somebody in
// this process must see the journal from its beginning.
func newKit(ctx context.Context, p cli.Params, server *embedded.Server, redisAddr string, whole bool) (*kit, error) {
	cfg := p.Config
	k := &kit{p: p, cfg: cfg, health: &service.Health{}, slack: make([]byte, slack)}
	otlp, err := cfg.Telemetry.OTLP.Resolve()
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // only shown
	k.tel, err = telemetry.New(ctx, telemetry.Options{
		Service: p.Name, Version: p.Version, Instance: host, OTLP: otlp, Sample: cfg.Telemetry.Sample, Log: p.Stderr,
		Level: logLevel(p),
	})
	if err != nil {
		return nil, err
	}
	k.log = k.tel.Log
	log.SetOutput(io.Discard) // ours is slog; net/http quotes there what a gateway sends after its answer
	if k.bus, err = connectBus(p, server, k.log); err != nil {
		return nil, err
	}
	if k.redis, err = connectRedis(cfg, redisAddr); err != nil {
		return nil, err
	}
	k.journal = journal.New(k.bus, journal.Options{Owner: ulid.Make().String(), Log: k.log, Whole: whole, Leads: k.leads()})
	k.status = status.New(status.Options{Log: k.log})
	if err := k.base(ctx); err != nil {
		k.bus.Close()
		return nil, err
	}
	return k, nil
}

// leads are the streams that this program stores messages in: it leads them on if
// they have lost their end.
func (k *kit) leads() (out []journal.Lead) {
	if k.p.Name == "dlr-collector" {
		return nil
	}
	for _, a := range k.cfg.AccountNames() {
		out = append(out, journal.Lead{Stream: bus.QueueStream(a), Subject: bus.SkipSubject(a)})
	}
	if k.p.Name == "dispatcher" {
		return out
	}
	for _, t := range k.tenants() {
		out = append(out, journal.Lead{Stream: bus.SubmitStream(t), Subject: bus.AcceptedSubject(t, string(envelope.Bulk))})
	}
	return out
}

// logLevel is TUMA_LOG (debug, info, warn, error). Without it programs log from
// info on, and `tuma up`, which a person watches, from warn on.
func logLevel(p cli.Params) slog.Level {
	level := slog.LevelInfo
	if p.Name == "tuma" {
		level = slog.LevelWarn
	}
	if v, ok := p.Env("TUMA_LOG"); ok {
		if err := level.UnmarshalText([]byte(v)); err != nil {
			fmt.Fprintf(p.Stderr, "TUMA_LOG: %q is not a level\n", v)
		}
	}
	return level
}

func connectBus(p cli.Params, server *embedded.Server, log *slog.Logger) (*bus.Bus, error) {
	o := bus.Options{Name: p.Name, Replicas: p.Config.NATS.Replicas, Journal: int64(p.Config.NATS.JournalGiB) << 30, Log: log}
	if server != nil {
		o.InProcess = server
		return bus.Connect(o)
	}
	if err := natsLogin(p.Config, p.Name, &o); err != nil {
		return nil, err
	}
	b, err := bus.Connect(o)
	if errors.Is(err, bus.ErrCredentials) {
		return nil, &config.Error{File: p.Config.File, Key: "nats.credentials", Reason: err.Error()}
	}
	return b, err
}

// connectRedis returns a client with the bounds of a hot path: Redis is asked
// for slots and keys, and whoever asks must know soon that it is away.
func connectRedis(cfg *config.Config, embedded string) (redis.UniversalClient, error) {
	o := &redis.Options{Addr: embedded}
	if embedded == "" {
		url, err := cfg.Redis.URL.Resolve()
		if err != nil {
			return nil, err
		}
		if o, err = redis.ParseURL(url); err != nil {
			return nil, &config.Error{File: cfg.File, Key: "redis.url", Reason: "not a redis:// or rediss:// URL"}
		}
		if err := redisLogin(cfg, o); err != nil {
			return nil, err
		}
	}
	redis.SetLogger(quiet{}) // /readyz and the log of who asked tell that Redis is away
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Second, 250*time.Millisecond, 250*time.Millisecond, 300*time.Millisecond
	o.MaxRetries = 1
	return redis.NewClient(o), nil
}

// quiet keeps the Redis client's plain lines out of the JSON log.
type quiet struct{}

// Printf implements the client's logger.
func (quiet) Printf(context.Context, string, ...any) {}

// base adds what every program has: health, metrics, the bus with its streams,
// Redis looked at, and the journal.
func (k *kit) base(ctx context.Context) error {
	addr, err := k.p.AdminListen()
	if err != nil {
		return err
	}
	ln, err := service.Listen(ctx, "admin.listen", addr)
	if err != nil {
		return err
	}
	k.streams = make(chan struct{})
	k.add("admin", service.Admin(ln, k.health, k.tel.Handler).Run, nil)
	k.add("redis", k.watchRedis, nil)
	k.add("streams", func(ctx context.Context) error { return k.ensureStreams(ctx, k.streams) }, k.streams)
	k.health.RequireFunc("nats", k.bus.Trouble)
	k.add("journal", k.journal.Run, nil)
	k.health.RequireFunc("journal", waiting(k.journal.Ready(), "being read"))
	k.health.PreferFunc("journal_room", k.journal.Full)
	return nil
}

func (k *kit) add(name string, run func(ctx context.Context) error, ready <-chan struct{}) {
	k.parts = append(k.parts, service.Part{Name: name, Run: run, Ready: ready})
}

// serve adds a door to the outside. It is open from the start, and says 503 until
// there are streams to store in.
func (k *kit) serve(name string, ln net.Listener, h http.Handler, o service.ServerOptions) {
	o.Log = k.log
	p := service.Server(name, ln, service.After(k.streams, h), o)
	p.Early = true
	k.parts = append(k.parts, p)
}

// waiting is a health check that is well once ready is closed.
func waiting(ready <-chan struct{}, reason string) func() string {
	return func() string {
		select {
		case <-ready:
			return ""
		default:
			return reason
		}
	}
}

// ensureStreams makes the streams, as soon as there is a server to make them on.
func (k *kit) ensureStreams(ctx context.Context, ready chan<- struct{}) error {
	set := k.health.Require("streams")
	for {
		err := k.bus.WaitConnected(ctx)
		if err == nil {
			err = k.bus.EnsureStreams(ctx, k.tenants(), k.cfg.AccountNames())
		}
		if err == nil {
			err = k.bus.EnsureReaders(ctx, k.readers)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			break
		}
		set(err.Error())
		k.log.Warn("streams not ready", "error", err)
		if !service.Sleep(ctx, time.Second) {
			return nil
		}
	}
	set("")
	close(ready)
	<-ctx.Done()
	return nil
}

func (k *kit) watchRedis(ctx context.Context) error {
	set := k.health.Prefer("redis")
	for {
		reason := ""
		if err := k.redis.Ping(ctx).Err(); err != nil && ctx.Err() == nil {
			reason = redisTrouble(err)
		}
		set(reason)
		if !service.Sleep(ctx, time.Second) {
			return nil
		}
	}
}

func (k *kit) tenants() []string {
	var names []string
	for _, t := range k.cfg.Ingest.Tenants {
		names = append(names, t.Name)
	}
	return names
}

// run runs all parts until ctx is done, and closes the connections after them.
func (k *kit) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, k.health.Stop)() // no new work is sent here while it drains
	err := service.Run(ctx, drain, k.parts...)
	runtime.KeepAlive(k.slack)
	k.bus.Close()
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if terr := k.tel.Shutdown(flush); terr != nil {
		k.log.Warn("telemetry not flushed", "error", terr)
	}
	return errors.Join(err, k.redis.Close())
}

// accountError says which account of the config is wrong.
func (k *kit) accountError(name string, err error) error {
	return &config.Error{File: k.cfg.File, Key: "providers." + name, Reason: fmt.Sprint(err)}
}
