package strength

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/simulator"
)

// keyHash is of the API key that every tenant shares a form of: "demo" and the
// tenant's name.
const operatorKey = "2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea" // of "demo"

// acct is one account and the gateway behind it, a simulator of its own.
type acct struct {
	name, typ string
	prefix    string // numbers routed to it
	rate      string // YAML; empty: limit a second
	limit     int    // requests a second that the gateway enforces; 0: none
	batch     int    // 0: the type's own
	more      string // further YAML lines

	sim   *simulator.Simulator
	socks *stamped
}

func (a *acct) messages() int { return a.sim.Ledger().Messages(a.typ) }
func (a *acct) requests() int { return a.sim.Ledger().Requests(a.typ) }

// cluster is one installation at work.
type cluster struct {
	t           *testing.T
	dir         string
	nats, redis string
	api         string
	tenants     []string
	accounts    []*acct
	client      *http.Client
	bus         *bus.Bus

	redisServer *process
	nodes       int
}

// up starts everything but dispatchers.
func up(t *testing.T, tenants []string, accounts ...*acct) *cluster {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("SKIPPED: no redis-server on PATH, so nothing here was tried (install the package redis-server)")
	}
	c := &cluster{
		t: t, dir: folder(t), nats: addr(t), redis: addr(t), api: addr(t), tenants: tenants, accounts: accounts,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	t.Cleanup(c.client.CloseIdleConnections)
	c.startNATS()
	c.startRedis()
	for _, a := range accounts {
		a.serve(t)
	}
	node := c.launch("ingest", c.redis)
	c.ready(node)
	b, err := bus.Connect(bus.Options{URL: "nats://" + c.nats, Name: "strength"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.WaitConnected(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.bus = b
	return c
}

// credentials of the simulators, by type.
func credentials(typ string) string {
	var b strings.Builder
	for k, v := range simulator.DemoCredentials()[typ] {
		fmt.Fprintf(&b, "%s: %q, ", k, v)
	}
	return "{" + strings.TrimSuffix(b.String(), ", ") + "}"
}

// serve starts the account's gateway.
func (a *acct) serve(t *testing.T) {
	t.Helper()
	a.sim = simulator.New(simulator.Options{Rates: map[string]int{a.typ: a.limit}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: a.sim.Handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	a.socks = &stamped{Listener: l}
	go func() { defer close(served); _ = s.Serve(a.socks) }()
	t.Cleanup(func() { _ = s.Close(); <-served })
	a.more += fmt.Sprintf("    base_url: %s\n", a.sim.BaseURL("http://"+l.Addr().String(), a.typ))
}

func (c *cluster) yaml(redis string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "nats: {url: \"nats://%s\"}\nredis: {url: \"redis://%s/0\"}\ningest:\n  listen: %s\n  tenants:\n", c.nats, redis, c.api)
	for i, t := range c.tenants {
		if i == 0 {
			fmt.Fprintf(&b, "    - {name: %s, keys_sha256: [%s], operator: true}\n", t, operatorKey)
			continue
		}
		fmt.Fprintf(&b, "    - {name: %s}\n", t)
	}
	b.WriteString("telemetry: {sample: 0}\nadmin: {listen: \"127.0.0.1:1\"}\nproviders:\n")
	for _, a := range c.accounts {
		rate := a.rate
		if rate == "" {
			rate = fmt.Sprintf("{requests: %d, per: 1s}", a.limit)
		}
		fmt.Fprintf(&b, "  %s:\n    type: %s\n    credentials: %s\n    rate: %s\n%s", a.name, a.typ, credentials(a.typ), rate, a.more)
		if a.batch > 0 {
			fmt.Fprintf(&b, "    batch: {size: %d}\n", a.batch)
		}
	}
	b.WriteString("routes:\n")
	for _, a := range c.accounts {
		fmt.Fprintf(&b, "  - {prefix: %q, providers: [%s]}\n", a.prefix, a.name)
	}
	return b.String()
}

// startNATS starts a server with the settings of a production node but for its
// fsync: these tests are about what happens between machines' failures.
func (c *cluster) startNATS() {
	c.t.Helper()
	conf := filepath.Join(c.dir, "nats.conf")
	text := fmt.Sprintf("host: 127.0.0.1\nport: %s\nmax_payload: 8MB\njetstream { store_dir: %q }\n", port(c.nats), filepath.Join(c.dir, "nats"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.answers(start(c.t, c.dir, "nats-server", program("nats-server"), "-c", conf), c.nats)
}

// startRedis starts a server that keeps nothing on disk, as the worst case.
func (c *cluster) startRedis() {
	c.t.Helper()
	c.redisServer = start(c.t, c.dir, "redis-server", "redis-server", "--port", port(c.redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	c.answers(c.redisServer, c.redis)
}

func (c *cluster) answers(p *process, addr string) {
	c.t.Helper()
	eventually(c.t, 10*time.Second, p.name+" takes connections", func() (bool, any) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false, err
		}
		return conn.Close() == nil, nil
	})
}

// node is one of our programs.
type node struct {
	*process
	admin string
}

// launch starts one of our programs, which finds Redis at the given address.
func (c *cluster) launch(name, redis string) *node {
	c.t.Helper()
	c.nodes++
	conf := filepath.Join(c.dir, fmt.Sprintf("tuma-%d.yaml", c.nodes))
	if err := os.WriteFile(conf, []byte(c.yaml(redis)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	n := &node{admin: addr(c.t)}
	n.process = start(c.t, c.dir, name, program(name), "--config", conf, "--admin", n.admin)
	return n
}

func (c *cluster) ready(nodes ...*node) {
	c.t.Helper()
	for _, n := range nodes {
		eventually(c.t, 20*time.Second, n.name+" ready", func() (bool, any) {
			if !n.alive() {
				c.t.Fatalf("%s has ended\n%s", n.name, tail(n.log, 20))
			}
			resp, err := c.client.Get("http://" + n.admin + "/readyz")
			if err != nil {
				return false, err
			}
			return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK, resp.Status
		})
	}
}

// dispatchers starts so many and waits until they are ready and a Redis that is
// new to them has granted its first slots.
func (c *cluster) dispatchers(n int) []*node {
	c.t.Helper()
	var out []*node
	for range n {
		out = append(out, c.launch("dispatcher", c.redis))
	}
	c.ready(out...)
	return out
}

// settle waits until a Redis that was new to the dispatchers grants slots.
func (c *cluster) settle() { c.t.Helper(); pass(c.t, 3500*time.Millisecond) }

// redisCalls counts the scripts that Redis has run.
func (c *cluster) redisCalls() int {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.redis)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("INFO commandstats\r\nQUIT\r\n")); err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		c.t.Fatal(err)
	}
	calls := 0
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			n, _, _ := strings.Cut(rest, ",")
			calls, _ = strconv.Atoi(n)
		}
	}
	return calls
}
