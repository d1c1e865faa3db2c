package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/internal/simulator"
)

// Default is the config of `tuma up` without a file.
func Default(env config.Lookup) (*config.Config, error) {
	var demos []config.Demo
	sim, creds := simulator.New(simulator.Options{}), simulator.DemoCredentials()
	for _, typ := range simulator.Types() {
		demo := config.Demo{Type: typ, BaseURL: sim.BaseURL("http://127.0.0.1:8090", typ), Credentials: creds[typ]}
		switch typ {
		case simulator.SMSScheduler:
			demo.Options = map[string]any{"senders": map[string]any{"ACME": 1, "TUMA": 2}}
		case simulator.BulkSMSRates:
			demo.Options = map[string]any{"webhooks": true}
		}
		demos = append(demos, demo)
	}
	return config.Default(demos, TypeDefaults(), env)
}

// RunUp runs everything in one process.
func RunUp(ctx context.Context, p cli.Params) error {
	p.Name = "tuma"
	server, err := embeddedNATS(ctx, p.Config)
	if err != nil {
		return err
	}
	if server != nil {
		defer server.Stop()
	}
	redisAddr, stopRedis, err := embeddedRedis(p.Config)
	if err != nil {
		return err
	}
	defer stopRedis()
	k, err := newKit(ctx, p, server, redisAddr, true)
	if err != nil {
		return err
	}
	defer k.bus.Close() // before the server stops: its going is no news then
	if err := k.simulators(ctx); err != nil {
		return err
	}
	if err := k.stages(ctx); err != nil {
		return err
	}
	k.add("welcome", func(ctx context.Context) error { return k.welcome(ctx, p.Stdout, server) }, nil)
	return k.run(ctx)
}

// stages adds the parts of all programs.
func (k *kit) stages(ctx context.Context) error {
	k.statuses(k.tenants(), k.cfg.AccountNames())
	for _, stage := range []func(context.Context) error{k.collector, func(context.Context) error { return k.dispatcher() }, k.ingest} {
		if err := stage(ctx); err != nil { // the first says it all: two stages build the same accounts
			return err
		}
	}
	return nil
}

// embeddedNATS starts the server inside the process if the config asks for it.
func embeddedNATS(ctx context.Context, cfg *config.Config) (*embedded.Server, error) {
	if !cfg.NATS.URL.Embedded() {
		return nil, nil
	}
	listen, err := cfg.NATS.Listen.Resolve()
	if err != nil {
		return nil, err
	}
	dir, err := cfg.NATS.StoreDir.Resolve()
	if err != nil {
		return nil, err
	}
	every, _ := time.ParseDuration(cfg.NATS.Sync) // checked with the config; "" and always are none
	s, err := embedded.Start(ctx, embedded.Options{Listen: listen, StoreDir: dir, Sync: cfg.NATS.Sync == "always", SyncEvery: every})
	if err != nil {
		return nil, &service.SetupError{Err: err}
	}
	return s, nil
}

// embeddedRedis starts an in-process Redis, which forgets everything when the
// process ends: limits and idempotency keys start anew, nothing else.
func embeddedRedis(cfg *config.Config) (addr string, stop func(), err error) {
	if !cfg.Redis.URL.Embedded() {
		return "", func() {}, nil
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return "", nil, &service.SetupError{Err: err}
	}
	m.ClockTTL(true)
	return m.Addr(), m.Close, nil
}

// simulators adds the gateways' stand-ins, if the config has an address for them.
func (k *kit) simulators(ctx context.Context) error {
	addr, err := k.cfg.Simulator.Listen.Resolve()
	if err != nil || addr == "" {
		return err
	}
	callbacks := map[string]string{}
	public, err := k.cfg.DLRCollector.PublicURL.Resolve()
	if err != nil {
		return err
	}
	for name, a := range k.cfg.Accounts {
		tokens, err := callbackTokens(a)
		if err != nil || len(tokens) == 0 {
			continue
		}
		switch a.Type {
		case simulator.BulkSMSRates:
			callbacks[a.Type] = public + "/dlr/" + name + "/" + tokens[0]
		case simulator.SMSBox:
			callbacks[a.Type] = public + "/dlr/" + name + "/" + tokens[0]
			callbacks[simulator.SMSBoxInbound] = public + "/inbound/" + name + "/" + tokens[0]
		}
	}
	return k.simulate(ctx, addr, simulator.Options{Callbacks: callbacks, Log: k.log})
}

func (k *kit) simulate(ctx context.Context, addr string, o simulator.Options) error {
	ln, err := service.Listen(ctx, "simulator.listen", addr)
	if err != nil {
		return err
	}
	s := simulator.New(o)
	k.add("simulator callbacks", s.Run, nil)
	k.add("simulator", server(ln, s.Handler()).Run, nil)
	return nil
}

func server(ln net.Listener, h http.Handler) service.Part {
	return service.Server("simulator", ln, h, service.ServerOptions{})
}

// RunSimulate runs the gateways' stand-ins alone.
func RunSimulate(ctx context.Context, p cli.Params, listen string) error {
	ln, err := service.Listen(ctx, "--listen", listen)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(p.Stderr, nil))
	s := simulator.New(simulator.Options{Log: log, Callbacks: simulatorCallbacks(p.Env)})
	fmt.Fprintf(p.Stdout, "simulators of %s\n", strings.Join(simulator.Types(), ", "))
	for _, typ := range simulator.Types() {
		fmt.Fprintf(p.Stdout, "  %-16s %s\n", typ, s.BaseURL("http://"+ln.Addr().String(), typ))
	}
	return service.Run(ctx, 5*time.Second, service.Part{Name: "callbacks", Run: s.Run}, server(ln, s.Handler()))
}

// simulatorCallbacks reads the URLs that a customer would set in a gateway's
// portal from TUMA_SIM_WEBHOOK (BulkSMSRates), TUMA_SIM_SMSBOX_REPORTS and
// TUMA_SIM_SMSBOX_INBOUND.
func simulatorCallbacks(env config.Lookup) map[string]string {
	out := map[string]string{}
	for typ, name := range map[string]string{
		simulator.BulkSMSRates: "TUMA_SIM_WEBHOOK", simulator.SMSBox: "TUMA_SIM_SMSBOX_REPORTS", simulator.SMSBoxInbound: "TUMA_SIM_SMSBOX_INBOUND",
	} {
		if v, ok := env(name); ok && v != "" {
			out[typ] = v
		}
	}
	return out
}

// welcome prints where everything is, and what to try, once it is ready.
func (k *kit) welcome(ctx context.Context, w io.Writer, nats *embedded.Server) error {
	for !k.health.State().Ready() {
		if !service.Sleep(ctx, 10*time.Millisecond) {
			return nil
		}
	}
	text := func(t config.Text) string { v, _ := t.Resolve(); return v } // resolved before; only shown
	fmt.Fprintf(w, "\nTuma is ready.\n\n")
	row := func(what, where string) { fmt.Fprintf(w, "  %-22s %s\n", what, where) }
	row("HTTP API", "http://"+text(k.cfg.Ingest.Listen)+"/v1/messages")
	row("delivery reports", "http://"+text(k.cfg.DLRCollector.Listen)+"/dlr/ACCOUNT/TOKEN")
	row("health and metrics", "http://"+text(k.cfg.Admin.Listen)+"/readyz  /metrics")
	if nats != nil {
		row("NATS", nats.ClientURL()+"   publish to sms.submit.TENANT.PRIORITY")
		row("streams are kept in", text(k.cfg.NATS.StoreDir))
	}
	if sim := text(k.cfg.Simulator.Listen); sim != "" {
		row("simulated gateways", "http://"+sim+"/_sim/summary   (nothing is sent to anyone)")
	}
	row("accounts", strings.Join(k.cfg.AccountNames(), " "))
	fmt.Fprintf(w, "\nSend a message and see it delivered:\n\n  %s send%s --to +254712345678 --from ACME --text \"Habari from Tuma\" --wait\n\n", command(), k.urlFlag())
	<-ctx.Done()
	fmt.Fprintln(w, "\nstopping: what is in flight is finished first")
	return nil
}

// urlFlag is what `tuma send` must be told to find this API.
func (k *kit) urlFlag() string {
	addr, _ := k.cfg.Ingest.Listen.Resolve() // resolved before; only shown
	if addr == "127.0.0.1:8080" {
		return ""
	}
	return " --url http://" + addr
}

// command is how this program was called: `go run` leaves a binary that is gone
// by the time somebody pastes it.
func command() string {
	if exe, err := os.Executable(); err == nil && !strings.Contains(exe, "go-build") {
		return exe
	}
	return "go run ./cmd/tuma"
}
