package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	tenant  = "demo"
	key     = "demo"
	keyHash = "2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea"
)

// settings are what stories want differently. The zero value is a config with one
// CloudRebue account, as real installations have it but for short time-outs.
type settings struct {
	requests    int    // a second, of every account; 0: the type's own
	batch       int    // 0: the type's own
	concurrency int    // 0: the default
	types       string // provider types, separated by commas; default cloudrebue
	more        string // lines of each account
}

// cluster is one installation: where everything is, and the processes that run.
type cluster struct {
	t        *testing.T
	dir      string
	config   string
	natsAddr string
	redis    string
	api      string // of ingest
	reports  string // of dlr-collector
	sim      *gateways
	client   *http.Client

	nats, redisServer *process
}

const callbackToken = "e2e-callback-secret"

// newCluster writes the config and starts nothing.
func newCluster(t *testing.T, s settings) *cluster {
	t.Helper()
	c := &cluster{
		t: t, dir: folder(t), natsAddr: addr(t), redis: addr(t), api: addr(t), reports: addr(t),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
	}
	t.Cleanup(c.client.CloseIdleConnections)
	c.sim = &gateways{t: t, addr: addr(t), client: c.client}
	c.config = write(t, filepath.Join(c.dir, "tuma.yaml"), c.yaml(s))
	return c
}

func (c *cluster) yaml(s settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, `nats: {url: "nats://%s"}
redis: {url: "redis://%s/0"}
ingest:
  listen: %s
  tenants:
    - {name: %s, keys_sha256: [%s], default_region: KE, operator: true}
dlr_collector: {listen: %s, public_url: "http://%s"}
admin: {listen: "127.0.0.1:1"}   # each process has its own: --admin
telemetry: {sample: 0}
providers:
`, c.natsAddr, c.redis, c.api, tenant, keyHash, c.reports, c.reports)
	b.WriteString(accounts(s, c.sim.addr))
	b.WriteString(routes(s))
	return b.String()
}

// gatewayTypes says what each type's account looks like, with the simulators' credentials,
// and which numbers are routed to it.
var gatewayTypes = []struct{ typ, base, credentials, more, prefix string }{
	{"cloudrebue", "/cloudrebue/api/v1", "token: demo-cloudrebue-token", "", "+254"},
	{"digitalservices", "/digitalservices/api/v2", "api_key: demo-dsc-key, username: demo, password: demo-dsc-password, dlr_username: demo-dlr, dlr_password: demo-dlr-password", "", "+250"},
	{"smsbox", "/smsbox/api/sms/v1", "api_key: demo-smsbox-key, api_secret: demo-smsbox-secret", "    inbound: {\"15000\": demo}\n", "+226"},
	{"smsscheduler", "/smsscheduler/api/v1", "token: demo-smsscheduler-token", "    options: {senders: {ACME: 1}}\n    poll: {after: 1s, every: 1s}\n", "+33"},
	{"bulksmsrates", "/bulksmsrates/v1", "api_key: bsms_live_demo, api_secret: sk_live_demo, webhook_secret: demo-webhook-secret", "", "+"},
}

func wanted(s settings, typ string) bool {
	types := s.types
	if types == "" {
		types = "cloudrebue"
	}
	return strings.Contains(","+types+",", ","+typ+",")
}

func accounts(s settings, sim string) string {
	var b strings.Builder
	for _, g := range gatewayTypes {
		if !wanted(s, g.typ) {
			continue
		}
		fmt.Fprintf(&b, "  %s-main:\n    type: %s\n    base_url: http://%s%s\n    credentials: {%s}\n    timeout: 3s\n    on_uncertain: hold\n    callback_token: %s\n%s%s",
			g.typ, g.typ, sim, g.base, g.credentials, callbackToken, g.more, s.more)
		if s.requests > 0 {
			fmt.Fprintf(&b, "    rate: {requests: %d, per: 1s}\n", s.requests)
		}
		if s.batch > 0 {
			fmt.Fprintf(&b, "    batch: {size: %d, linger: 20ms}\n", s.batch)
		}
		if s.concurrency > 0 {
			fmt.Fprintf(&b, "    concurrency: %d\n", s.concurrency)
		}
	}
	return b.String()
}

func routes(s settings) string {
	var b strings.Builder
	b.WriteString("routes:\n")
	for _, g := range gatewayTypes {
		if wanted(s, g.typ) {
			fmt.Fprintf(&b, "  - {prefix: %q, providers: [%s-main]}\n", g.prefix, g.typ)
		}
	}
	return b.String()
}

// startNATS starts the server; its store outlives it.
func (c *cluster) startNATS() *process {
	c.t.Helper()
	_, port, _ := net.SplitHostPort(c.natsAddr)
	conf := write(c.t, filepath.Join(c.dir, "nats.conf"), fmt.Sprintf(`host: 127.0.0.1
port: %s
max_payload: 8MB
jetstream { store_dir: %q, sync_interval: always }
`, port, filepath.Join(c.dir, "nats")))
	c.nats = start(c.t, c.dir, "nats-server", program("nats-server"), nil, "-c", conf)
	c.answers(c.nats, c.natsAddr)
	return c.nats
}

// startRedis starts a server that keeps nothing on disk, as the worst case.
func (c *cluster) startRedis() *process {
	c.t.Helper()
	_, port, _ := net.SplitHostPort(c.redis)
	c.redisServer = start(c.t, c.dir, "redis-server", redisPath(c.t), nil,
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no")
	c.answers(c.redisServer, c.redis)
	return c.redisServer
}

func redisPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on PATH, so this story was not tried at all (install the package redis-server)")
	}
	return path
}

// answers waits until a process takes connections.
func (c *cluster) answers(p *process, addr string) {
	c.t.Helper()
	eventually(c.t, 10*time.Second, p.name+" takes connections", func() (bool, string) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false, err.Error()
		}
		return conn.Close() == nil, ""
	})
}

// startSimulator starts the gateways, with the URLs that a customer would have
// set in their portals.
func (c *cluster) startSimulator() *process {
	c.t.Helper()
	hook := "http://" + c.reports
	p := start(c.t, c.dir, "simulator", program("tuma"), []string{
		"TUMA_SIM_WEBHOOK=" + hook + "/dlr/bulksmsrates-main/" + callbackToken,
		"TUMA_SIM_SMSBOX_REPORTS=" + hook + "/dlr/smsbox-main/" + callbackToken,
		"TUMA_SIM_SMSBOX_INBOUND=" + hook + "/inbound/smsbox-main/" + callbackToken,
	}, "simulate", "--listen", c.sim.addr)
	c.answers(p, c.sim.addr)
	return p
}

// node is one of our programs, with its own address for health and metrics.
type node struct {
	*process
	c     *cluster
	admin string
}

// launch starts one of our programs with the cluster's config.
func (c *cluster) launch(name string) *node {
	c.t.Helper()
	n := &node{c: c, admin: addr(c.t)}
	n.process = start(c.t, c.dir, name, program(name), nil, "--config", c.config, "--admin", n.admin)
	return n
}

// health is what /readyz answers.
type health struct {
	Waiting  []string
	Degraded []string
	Reasons  map[string]string
}

// readyz returns the status code, 0 while nobody answers.
func (n *node) readyz() (int, health) {
	var h health
	resp, err := n.c.client.Get("http://" + n.admin + "/readyz")
	if err != nil {
		return 0, h
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		n.t.Fatalf("%s: /readyz: %v", n.name, err)
	}
	return resp.StatusCode, h
}

// ready waits until the programs are ready.
func (c *cluster) ready(nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		eventually(c.t, 20*time.Second, n.name+" ready", func() (bool, string) {
			if !n.alive() {
				c.t.Fatalf("%s has ended\n%s", n.name, tail(n.log, 20))
			}
			code, h := n.readyz()
			return code == http.StatusOK, fmt.Sprintf("%d %+v", code, h)
		})
	}
}

// running is a whole cluster at work.
type running struct {
	*cluster
	ingest, collector *node
	dispatchers       []*node
	simulator         *process
}

// up starts everything, with so many dispatchers, and waits until all is ready.
func up(t *testing.T, s settings, dispatchers int) *running {
	t.Helper()
	redisPath(t)
	c := newCluster(t, s)
	c.startNATS()
	c.startRedis()
	r := &running{cluster: c, simulator: c.startSimulator()}
	r.ingest, r.collector = c.launch("ingest"), c.launch("dlr-collector")
	for range dispatchers {
		r.dispatchers = append(r.dispatchers, c.launch("dispatcher"))
	}
	c.ready(append(r.dispatchers, r.ingest, r.collector)...)
	return r
}

// stop ends a server of somebody else's with a signal.
func stop(p *process, sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	p.wait(15 * time.Second)
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
