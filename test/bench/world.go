package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Names in the config of every world.
const (
	tenant = "acme"
	apiKey = "bench-key"
	bulk   = "bulk"    // BulkSMSRates, batches of 10,000
	single = "hundred" // CloudRebue, batches of 100
)

// world is one run's NATS and gateway, both empty.
type world struct {
	o       *options
	dir     string
	running []*process
	bus     *bus.Bus

	nats, gateway    string // addresses
	ingest, callback string
}

// newWorld starts the servers. record makes the gateway remember what it was
// sent, to report on it.
func newWorld(ctx context.Context, o *options, record bool) (w *world, err error) {
	w = &world{o: o}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp(o.tools.dir, "run-"); err != nil {
		return nil, err
	}
	for _, addr := range []*string{&w.nats, &w.gateway, &w.ingest, &w.callback} {
		if *addr, err = freeAddr(ctx); err != nil {
			return nil, err
		}
	}
	_, port, _ := net.SplitHostPort(w.nats)
	if _, err = w.start(ctx, "nats", o.tools.nats, "-a", "127.0.0.1", "-p", port, "-js", "-sd", filepath.Join(w.dir, "js")); err != nil {
		return nil, err
	}
	if _, err = w.child(ctx, "gateway", order{Listen: w.gateway, Record: record, Delay: o.delay}); err != nil {
		return nil, err
	}
	if w.bus, err = bus.Connect(bus.Options{URL: "nats://" + w.nats, Name: "bench"}); err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err = w.bus.WaitConnected(ready); err != nil {
		return nil, err
	}
	if err = w.bus.EnsureStreams(ready, []string{tenant}, []string{bulk, single}); err != nil {
		return nil, err
	}
	return w, w.configure()
}

func (w *world) close() {
	if w.bus != nil {
		w.bus.Close()
	}
	for i := len(w.running) - 1; i >= 0; i-- {
		w.running[i].stop()
	}
	if w.dir != "" {
		_ = os.RemoveAll(w.dir) // the tools' folder goes as a whole at the end
	}
}

// configure writes the config that Tuma's programs read.
func (w *world) configure() error {
	text := fmt.Sprintf(`
nats: {url: "nats://%[1]s"}
redis: {url: "redis://%[2]s/0"}
ingest:
  listen: %[3]s
  tenants: [{name: %[4]s, keys_sha256: ["%[5]x"]}]
dlr_collector: {listen: %[6]s, public_url: "http://%[6]s"}
telemetry: {otlp: "http://%[7]s", sample: 0.01}
providers:
  %[8]s:
    type: bulksmsrates
    base_url: http://%[7]s/v1
    credentials: {api_key: k, api_secret: s, webhook_secret: w}
    rate: {requests: 500, per: 1s}
    batch: {size: 10000}
    concurrency: 4
  %[9]s:
    type: cloudrebue
    base_url: http://%[7]s/api/v1
    credentials: {token: t}
    rate: {requests: 5000, per: 1s}
    batch: {size: 100}
    concurrency: 64
    callback_token: a-secret-of-the-bench
routes:
  - {prefix: "+", providers: [%[8]s]}
`, w.nats, w.o.tools.redis, w.ingest, tenant, sha256.Sum256([]byte(apiKey)), w.callback, w.gateway, bulk, single)
	return os.WriteFile(w.config(), []byte(text), 0o600)
}

func (w *world) config() string { return filepath.Join(w.dir, "tuma.yaml") }

// tuma starts one of Tuma's programs and waits until it is ready.
func (w *world) tuma(ctx context.Context, name string) (*process, error) {
	profile := ""
	if w.o.profile != "" {
		profile = filepath.Join(w.o.profile, fmt.Sprintf("%s-%d.pprof", name, time.Now().UnixMilli()))
	}
	admin, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	p, err := w.start(ctx, name, w.o.tools.self, childFlag, name, w.config(), admin, profile)
	if err != nil {
		return nil, err
	}
	p.admin = admin
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(within, http.MethodGet, "http://"+admin+"/readyz", nil)
		if err != nil {
			return nil, err
		}
		resp, err := caller().Do(req)
		if err == nil {
			drain(resp.Body)
			_ = resp.Body.Close() // read to its end
			if resp.StatusCode == http.StatusOK {
				return p, nil
			}
		}
		if !service.Sleep(within, 20*time.Millisecond) {
			return nil, p.failed(errors.New("is not ready"))
		}
	}
}

// caller returns a client for a single call.
func caller() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
}

// paused stops an account for all dispatchers, or lets it go on, as
// POST /v1/providers/NAME/pause does.
func (w *world) paused(ctx context.Context, account string, yes bool) error {
	data, err := json.Marshal(idempotency.Record{Kind: idempotency.Mode, Account: account, Paused: yes})
	if err != nil {
		return err
	}
	_, err = w.bus.Publish(ctx, bus.Out{Subject: bus.JournalSubject(string(idempotency.Mode), account), Data: data})
	return err
}

// drained waits until a consumer has had everything and everything is settled.
func (w *world) drained(ctx context.Context, account, consumer string) error {
	for {
		waiting, unsettled, err := w.bus.Backlog(ctx, bus.QueueStream(account), consumer)
		if err == nil && waiting == 0 && unsettled == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			return err
		}
		if !service.Sleep(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// arrived asks the gateway how many messages it was sent.
func (w *world) arrived(ctx context.Context) (n int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.gateway+"/count", nil)
	if err != nil {
		return 0, err
	}
	resp, err := caller().Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = fmt.Fscan(resp.Body, &n)
	return n, err
}
