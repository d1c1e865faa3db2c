package rig

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/simulator"
)

// What every cluster has.
const (
	Tenant        = "demo"
	Key           = "demo"
	KeyHash       = "2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea"
	CallbackToken = "e2e-callback-secret"
)

// Settings are what tests want differently. The zero value is a config with one
// CloudRebue account, as real installations have it but for short time-outs.
type Settings struct {
	Requests    int    // a second, of every account; 0: the type's own
	Batch       int    // 0: the type's own
	Concurrency int    // 0: the default
	Types       string // provider types, separated by commas; default cloudrebue
	Uncertain   string // on_uncertain; default hold
	Timeout     string // of requests; default 3s
	Replicas    int    // of streams; default 1
	More        string // lines of each account
	Routes      string // lines of routes; default: each type has its prefix
}

// Places are the addresses of everything, as one program is told them.
type Places struct {
	NATS    string // or several, separated by commas
	Redis   string
	API     string // of ingest
	Reports string // of dlr-collector
	Public  string // where gateways reach dlr-collector; default Reports
	Gateway string // of the simulated gateways
}

// Cluster is one installation: where everything is, and the processes that run.
type Cluster struct {
	Places
	T        *testing.T
	Rig      *Rig
	Dir      string
	Settings Settings
	Config   string // the path
	Sim      *Gateways
	Client   *http.Client

	NATSServer, RedisServer *Process
}

// NewCluster writes the config and starts nothing.
func (r *Rig) NewCluster(t *testing.T, s Settings) *Cluster {
	t.Helper()
	c := &Cluster{
		Places: Places{NATS: r.Addr(t), Redis: r.Addr(t), API: r.Addr(t), Reports: r.Addr(t), Gateway: r.Addr(t)},
		T:      t, Rig: r, Dir: folder(t), Settings: s,
		Client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
	}
	t.Cleanup(c.Client.CloseIdleConnections)
	c.Sim = &Gateways{Addr: c.Gateway, client: c.Client}
	c.Config = Write(t, filepath.Join(c.Dir, "tuma.yaml"), s.YAML(c.Places))
	return c
}

// YAML is the config of programs that find everything at the given places.
func (s Settings) YAML(p Places) string {
	var b strings.Builder
	fmt.Fprintf(&b, `nats: {url: "nats://%s", replicas: %d}
redis: {url: "redis://%s/0"}
ingest:
  listen: %s
  tenants:
    - {name: %s, keys_sha256: [%s], default_region: KE, operator: true}
dlr_collector: {listen: %s, public_url: "http://%s"}
admin: {listen: "127.0.0.1:1"}   # each process has its own: --admin
telemetry: {sample: 0}
providers:
`, strings.ReplaceAll(p.NATS, ",", ",nats://"), cmp.Or(s.Replicas, 1), p.Redis, p.API, Tenant, KeyHash, p.Reports, cmp.Or(p.Public, p.Reports))
	b.WriteString(s.Accounts(p.Gateway))
	b.WriteString("routes:\n")
	b.WriteString(cmp.Or(s.Routes, s.Routing()))
	return b.String()
}

// gateway says what one type's account looks like, with the simulators'
// credentials, and which numbers are routed to it.
type gateway struct{ typ, base, credentials, more, prefix string }

func gateways() []gateway {
	return []gateway{
		{"cloudrebue", "/cloudrebue/api/v1", "token: demo-cloudrebue-token", "", "+254"},
		{"digitalservices", "/digitalservices/api/v2", "api_key: demo-dsc-key, username: demo, password: demo-dsc-password, dlr_username: demo-dlr, dlr_password: demo-dlr-password", "", "+250"},
		{"smsbox", "/smsbox/api/sms/v1", "api_key: demo-smsbox-key, api_secret: demo-smsbox-secret", "    inbound: {\"15000\": demo}\n", "+226"},
		{"smsscheduler", "/smsscheduler/api/v1", "token: demo-smsscheduler-token", "    options: {senders: {ACME: 1}}\n    poll: {after: 1s, every: 1s}\n", "+33"},
		{"bulksmsrates", "/bulksmsrates/v1", "api_key: bsms_live_demo, api_secret: sk_live_demo, webhook_secret: demo-webhook-secret", "", "+"},
	}
}

func (s Settings) wants(typ string) bool {
	return strings.Contains(","+cmp.Or(s.Types, "cloudrebue")+",", ","+typ+",")
}

// Accounts are the config's lines below providers.
func (s Settings) Accounts(sim string) string {
	var b strings.Builder
	for _, g := range gateways() {
		if !s.wants(g.typ) {
			continue
		}
		fmt.Fprintf(&b, "  %s-main:\n    type: %s\n    base_url: http://%s%s\n    credentials: {%s}\n    timeout: %s\n    on_uncertain: %s\n    callback_token: %s\n%s%s",
			g.typ, g.typ, sim, g.base, g.credentials, cmp.Or(s.Timeout, "3s"), cmp.Or(s.Uncertain, "hold"), CallbackToken, g.more, s.More)
		if s.Requests > 0 {
			fmt.Fprintf(&b, "    rate: {requests: %d, per: 1s}\n", s.Requests)
		}
		if s.Batch > 0 {
			fmt.Fprintf(&b, "    batch: {size: %d, linger: 20ms}\n", s.Batch)
		}
		if s.Concurrency > 0 {
			fmt.Fprintf(&b, "    concurrency: %d\n", s.Concurrency)
		}
	}
	return b.String()
}

// Routing are the lines below routes that give each type its prefix.
func (s Settings) Routing() string {
	var b strings.Builder
	for _, g := range gateways() {
		if s.wants(g.typ) {
			fmt.Fprintf(&b, "  - {prefix: %q, providers: [%s-main]}\n", g.prefix, g.typ)
		}
	}
	return b.String()
}

// StartNATS starts the server; its store outlives it.
func (c *Cluster) StartNATS() *Process {
	c.T.Helper()
	c.NATSServer = c.Rig.StartNATS(c.T, NATS{Dir: c.Dir, Addr: c.NATS})
	return c.NATSServer
}

// StartRedis starts a server that keeps nothing on disk, as the worst case.
func (c *Cluster) StartRedis() *Process {
	c.T.Helper()
	_, port, _ := net.SplitHostPort(c.Redis)
	c.RedisServer = Start(c.T, Command{Name: "redis-server", Path: RedisPath(c.T), Dir: c.Dir, Args: []string{
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no",
	}})
	Answers(c.T, c.RedisServer, c.Redis)
	return c.RedisServer
}

// StartSimulator starts the gateways, with the URLs that a customer would have
// set in their portals.
func (c *Cluster) StartSimulator() *Process {
	c.T.Helper()
	var env []string
	for name, path := range portal() {
		env = append(env, name+"=http://"+c.Reports+path)
	}
	p := Start(c.T, Command{Name: "simulator", Path: c.Rig.Program("tuma"), Dir: c.Dir, Env: env, Args: []string{"simulate", "--listen", c.Gateway}})
	Answers(c.T, p, c.Gateway)
	return p
}

func portal() map[string]string {
	return map[string]string{
		"TUMA_SIM_WEBHOOK":        "/dlr/bulksmsrates-main/" + CallbackToken,
		"TUMA_SIM_SMSBOX_REPORTS": "/dlr/smsbox-main/" + CallbackToken,
		"TUMA_SIM_SMSBOX_INBOUND": "/inbound/smsbox-main/" + CallbackToken,
	}
}

// Running is a whole cluster at work.
type Running struct {
	*Cluster
	Ingest, Collector *Node
	Dispatchers       []*Node
}

// Up starts everything, with so many dispatchers, and waits until all is ready.
func (r *Rig) Up(t *testing.T, s Settings, dispatchers int) *Running {
	t.Helper()
	RedisPath(t)
	c := r.NewCluster(t, s)
	c.StartNATS()
	c.StartRedis()
	c.Host(t, simulator.Options{})
	u := &Running{Cluster: c}
	u.Ingest, u.Collector = c.Launch("ingest"), c.Launch("dlr-collector")
	for range dispatchers {
		u.Dispatchers = append(u.Dispatchers, c.Launch("dispatcher"))
	}
	c.Ready(append(u.Dispatchers, u.Ingest, u.Collector)...)
	return u
}

// Stop ends a server of somebody else's with a signal.
func Stop(p *Process, sig syscall.Signal) {
	p.t.Helper()
	p.Signal(sig)
	p.Wait(15 * time.Second)
}

// Tuma runs a command of the CLI against ingest.
func (c *Cluster) Tuma(args ...string) *Process {
	return Start(c.T, Command{Name: "tuma-" + args[0], Path: c.Rig.Program("tuma"), Dir: c.Dir, Env: []string{"TUMA_URL=http://" + c.API, "TUMA_KEY=" + Key}, Args: args})
}
