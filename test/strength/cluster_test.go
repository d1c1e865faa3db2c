package strength

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/test/rig"
)

// acct is one account and the gateway behind it, a simulator of its own.
type acct struct {
	name, typ string
	prefix    string // numbers routed to it
	rate      string // YAML; empty: limit a second
	limit     int    // requests a second that the gateway enforces; 0: none
	batch     int    // 0: the type's own
	more      string // further YAML lines
	then      string // the account that the route tries after this one

	sim   *simulator.Simulator
	socks *rig.Stamped
}

func (a *acct) messages() int { return a.sim.Ledger().Messages(a.typ) }
func (a *acct) requests() int { return a.sim.Ledger().Requests(a.typ) }

// cluster is one installation at work.
type cluster struct {
	*rig.Cluster
	tenants  []string
	accounts []*acct
	bus      *bus.Bus
	nodes    int
}

// up starts everything but dispatchers.
func up(t *testing.T, tenants []string, accounts ...*acct) *cluster {
	t.Helper()
	c := &cluster{Cluster: programs.NewCluster(t, rig.Settings{}), tenants: tenants, accounts: accounts}
	c.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}} // a body of 500,000 lines takes its time
	t.Cleanup(c.Client.CloseIdleConnections)
	c.startNATS()
	c.startRedis()
	for _, a := range accounts {
		a.serve(t)
	}
	c.Ready(c.launch("ingest", c.Redis))
	b, err := bus.Connect(bus.Options{URL: "nats://" + c.NATS, Name: "strength"})
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
	a.socks = &rig.Stamped{Listener: l}
	go func() { defer close(served); _ = s.Serve(a.socks) }()
	t.Cleanup(func() { _ = s.Close(); <-served })
	a.more += fmt.Sprintf("    base_url: %s\n", a.sim.BaseURL("http://"+l.Addr().String(), a.typ))
}

func (c *cluster) yaml(redis string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "nats: {url: \"nats://%s\"}\nredis: {url: \"redis://%s/0\"}\ningest:\n  listen: %s\n  tenants:\n", c.NATS, redis, c.API)
	for i, t := range c.tenants {
		if i == 0 {
			fmt.Fprintf(&b, "    - {name: %s, keys_sha256: [%s], operator: true}\n", t, rig.KeyHash)
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
		if a.prefix != "" {
			fmt.Fprintf(&b, "  - {prefix: %q, providers: [%s]}\n", a.prefix, strings.TrimSuffix(a.name+","+a.then, ","))
		}
	}
	return b.String()
}

// startNATS starts a server with the settings of a production node but for its
// fsync: these tests are about what happens between machines' failures.
func (c *cluster) startNATS() {
	c.T.Helper()
	_, port, _ := net.SplitHostPort(c.NATS)
	conf := rig.Write(c.T, filepath.Join(c.Dir, "nats.conf"), fmt.Sprintf(
		"host: 127.0.0.1\nport: %s\nmax_payload: 8MB\njetstream { store_dir: %q }\n", port, filepath.Join(c.Dir, "nats")))
	c.NATSServer = rig.Start(c.T, rig.Command{Name: "nats-server", Path: programs.Program("nats-server"), Dir: c.Dir, Args: []string{"-c", conf}, Quiet: true})
	usual(c.NATSServer.PID)
	rig.Answers(c.T, c.NATSServer, c.NATS)
}

// startRedis starts Redis, empty.
func (c *cluster) startRedis() {
	c.T.Helper()
	usual(c.StartRedis().PID)
}

// launch starts one of our programs, which finds Redis at the given address.
func (c *cluster) launch(name, redis string) *rig.Node {
	c.T.Helper()
	c.nodes++
	conf := rig.Write(c.T, filepath.Join(c.Dir, fmt.Sprintf("tuma-%d.yaml", c.nodes)), c.yaml(redis))
	n := c.LaunchWith(name, conf, "TUMA_LOG="+cmp.Or(os.Getenv("TUMA_LOG"), "warn"))
	usual(n.PID)
	return n
}

// dispatchers starts so many and waits until they are ready and a Redis that is
// new to them has granted its first slots.
func (c *cluster) dispatchers(n int) []*rig.Node {
	c.T.Helper()
	var out []*rig.Node
	for range n {
		out = append(out, c.launch("dispatcher", c.Redis))
	}
	c.Ready(out...)
	return out
}

// settle waits until a Redis that was new to the dispatchers grants slots.
func (c *cluster) settle() { c.T.Helper(); rig.Pass(c.T, 3500*time.Millisecond) }

// redisCalls counts the scripts that Redis has run.
func (c *cluster) redisCalls() int {
	c.T.Helper()
	conn, err := net.Dial("tcp", c.Redis)
	if err != nil {
		c.T.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("INFO commandstats\r\nQUIT\r\n")); err != nil {
		c.T.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		c.T.Fatal(err)
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
