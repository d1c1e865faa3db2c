package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/test/rig"
)

// nemesis does one thing after another to a fleet, and undoes each after a while.
// Several may be under way at once.
type nemesis struct {
	f     *fleet
	rand  *rand.Rand
	did   map[string]int
	heals []heal
	busy  map[string]bool // servers that something was done to
}

// heal undoes something when it is due.
type heal struct {
	at   time.Time
	what string
	do   func()
}

// deed is one kind of harm. It says how to undo it, and returns nil if there was
// nothing to do it to.
type deed struct {
	name   string
	weight int
	do     func(n *nemesis) (undo func())
	least  time.Duration // until it is undone
	most   time.Duration
}

func deeds() []deed {
	const s = time.Second
	return []deed{
		{"dispatcher killed", 6, func(n *nemesis) func() { return n.kill("dispatcher") }, 0, 3 * s},
		{"ingest killed", 2, func(n *nemesis) func() { return n.kill("ingest") }, 0, 3 * s},
		{"collector killed", 2, func(n *nemesis) func() { return n.kill("dlr-collector") }, 0, 3 * s},
		{"dispatcher terminated", 2, func(n *nemesis) func() { return n.terminate("dispatcher") }, 2 * s, 4 * s},
		{"ingest terminated", 1, func(n *nemesis) func() { return n.terminate("ingest") }, 2 * s, 4 * s},
		{"collector terminated", 1, func(n *nemesis) func() { return n.terminate("dlr-collector") }, 2 * s, 4 * s},
		{"dispatcher stopped", 5, func(n *nemesis) func() { return n.stop("dispatcher") }, s / 10, 9 * s},
		{"ingest stopped", 1, func(n *nemesis) func() { return n.stop("ingest") }, s / 10, 9 * s},
		{"collector stopped", 1, func(n *nemesis) func() { return n.stop("dlr-collector") }, s / 10, 9 * s},
		{"dispatchers scaled", 3, (*nemesis).scale, 0, 0},
		{"NATS killed", 2, func(n *nemesis) func() { return n.nats(syscall.SIGKILL) }, s / 5, 3 * s},
		{"NATS restarted", 1, func(n *nemesis) func() { return n.nats(syscall.SIGTERM) }, s / 5, 3 * s},
		{"NATS full", 1, (*nemesis).full, s, 4 * s},
		{"consumers lost", 2, (*nemesis).forget, 0, 0},
		{"Redis killed", 2, (*nemesis).redisKilled, s / 5, 6 * s},
		{"Redis flushed", 2, (*nemesis).redisFlushed, 0, 0},
		{"Redis stopped", 2, (*nemesis).redisStopped, s / 2, 5 * s},
		{"link to nats", 3, func(n *nemesis) func() { return n.link("nats") }, s / 5, 6 * s},
		{"link to redis", 3, func(n *nemesis) func() { return n.link("redis") }, s / 5, 6 * s},
		{"link to gateway", 4, func(n *nemesis) func() { return n.link("gateway") }, s / 5, 4 * s},
		{"gateway faults", 6, (*nemesis).gateway, s, 5 * s},
	}
}

// work harms until the end, then undoes everything.
func (n *nemesis) work(t *testing.T, until time.Time) {
	all, sum := deeds(), 0
	if *disk != "" {
		all = append(all, deed{"disk full", 2, (*nemesis).diskFull, time.Second, 5 * time.Second})
	}
	if *only != "" {
		names := strings.Split(*only, ",")
		all = slices.DeleteFunc(all, func(d deed) bool { return !slices.Contains(names, d.name) })
	}
	for _, d := range all {
		sum += d.weight
	}
	for time.Now().Before(until) {
		rig.Pass(t, time.Duration(300+n.rand.IntN(1500))*time.Millisecond)
		n.heal(time.Now())
		if len(n.heals) > 3 {
			continue
		}
		at := n.rand.IntN(sum)
		i := slices.IndexFunc(all, func(d deed) bool { at -= d.weight; return at < 0 })
		d := all[i]
		undo := d.do(n)
		after := d.least
		if d.most > d.least {
			after += time.Duration(n.rand.Int64N(int64(d.most - d.least)))
		}
		if undo != nil {
			n.did[d.name]++
			t.Logf("%s %s, for %s", time.Now().Format("15:04:05.000"), d.name, after.Round(time.Millisecond))
			n.heals = append(n.heals, heal{time.Now().Add(after), d.name, undo})
		}
	}
	n.heal(time.Now().Add(time.Hour))
}

// heal undoes what is due.
func (n *nemesis) heal(now time.Time) {
	var rest []heal
	due := n.heals
	n.heals = nil
	for _, h := range due {
		if h.at.After(now) {
			rest = append(rest, h)
			continue
		}
		h.do()
	}
	n.heals = append(rest, n.heals...)
}

func (n *nemesis) pick(kind string) *member {
	some := n.f.some(kind)
	if len(some) == 0 {
		return nil
	}
	m := some[n.rand.IntN(len(some))]
	m.busy = true
	return m
}

func (n *nemesis) kill(kind string) func() {
	m := n.pick(kind)
	if m == nil {
		return nil
	}
	m.node.Kill()
	return func() { n.f.revive(m) }
}

func (n *nemesis) terminate(kind string) func() {
	m := n.pick(kind)
	if m == nil {
		return nil
	}
	signal(m.node.Process, syscall.SIGTERM)
	return func() {
		n.ended(m)
		n.f.revive(m)
	}
}

// ended waits for the end of a process that was asked to stop.
func (n *nemesis) ended(m *member) {
	select {
	case <-m.node.Done():
		if code := m.node.Wait(time.Second); code != 0 {
			n.did[fmt.Sprintf("%s: exit code %d", m.kind, code)]++
		}
	case <-time.After(30 * time.Second):
		n.f.t.Errorf("%s does not end within 30 s of SIGTERM\n%s", m.kind, rig.Tail(m.node.Log, 5))
		m.node.Kill()
	}
}

func (n *nemesis) stop(kind string) func() {
	m := n.pick(kind)
	if m == nil {
		return nil
	}
	signal(m.node.Process, syscall.SIGSTOP)
	return func() { signal(m.node.Process, syscall.SIGCONT); m.busy = false }
}

// scale starts dispatchers, or stops some, so that one to six are there.
func (n *nemesis) scale() func() {
	n.f.mu.Lock()
	have := 0
	for _, m := range n.f.members {
		if m.kind == "dispatcher" && !m.gone {
			have++
		}
	}
	n.f.mu.Unlock()
	for want := 1 + n.rand.IntN(6); have != want; {
		if have < want {
			n.f.join("dispatcher")
			have++
			continue
		}
		m := n.pick("dispatcher")
		if m == nil {
			break
		}
		m.gone = true
		have--
		signal(m.node.Process, syscall.SIGTERM)
		n.heals = append(n.heals, heal{time.Now().Add(5 * time.Second), "leaves", func() { n.ended(m) }})
	}
	return func() {}
}

// claim notes that something is done to a server; false if something is already.
func (n *nemesis) claim(server string) bool {
	if n.busy[server] {
		return false
	}
	n.busy[server] = true
	return true
}

// nats ends one server; of three never a second one meanwhile.
func (n *nemesis) nats(sig syscall.Signal) func() {
	if !n.claim("nats") {
		return nil
	}
	i := n.rand.IntN(len(n.f.natsUp))
	rig.Stop(n.f.natsUp[i], sig)
	return func() {
		n.f.natsUp[i] = n.f.Rig.StartNATS(n.f.t, n.f.natsConf[i])
		delete(n.busy, "nats")
	}
}

func (n *nemesis) full() func() {
	if !n.claim("nats") {
		return nil
	}
	empty := n.f.fill()
	return func() {
		if empty != nil {
			empty()
		}
		delete(n.busy, "nats")
	}
}

// diskFull takes the disk from under NATS. A server that could not write needs a
// restart, once there is room.
func (n *nemesis) diskFull() func() {
	if !n.claim("nats") {
		return nil
	}
	empty, err := n.f.fillDisk()
	if err != nil {
		n.f.t.Error(err)
	}
	return func() {
		empty()
		for i := range n.f.natsUp {
			rig.Stop(n.f.natsUp[i], syscall.SIGTERM)
			n.f.natsUp[i] = n.f.Rig.StartNATS(n.f.t, n.f.natsConf[i])
		}
		delete(n.busy, "nats")
	}
}

// forget deletes consumers of the queues or of the callbacks: everything comes
// again, and nobody told the consumers' owners.
func (n *nemesis) forget() func() {
	if n.busy["nats"] {
		return nil
	}
	prefix := []string{"SMS_QUEUE_", "SMS_QUEUE_", "SMS_CALLBACKS", "SMS_SUBMIT_"}[n.rand.IntN(4)]
	for _, c := range n.f.consumers(prefix) {
		_ = n.f.publisher().DeleteConsumer(rig.Timeout(n.f.t, 2*time.Second), c[0], c[1])
	}
	return func() {}
}

func (n *nemesis) redisKilled() func() {
	if !n.claim("redis") {
		return nil
	}
	rig.Stop(n.f.RedisServer, syscall.SIGKILL)
	return func() { n.f.StartRedis(); delete(n.busy, "redis") }
}

func (n *nemesis) redisFlushed() func() {
	if n.busy["redis"] || rig.Flush(n.f.Redis) != nil {
		return nil
	}
	return func() {}
}

func (n *nemesis) redisStopped() func() {
	if !n.claim("redis") {
		return nil
	}
	signal(n.f.RedisServer, syscall.SIGSTOP)
	return func() { signal(n.f.RedisServer, syscall.SIGCONT); delete(n.busy, "redis") }
}

// link breaks one program's connections to something.
func (n *nemesis) link(to string) func() {
	var all []*proxy
	for _, kind := range []string{"dispatcher", "ingest", "dlr-collector"} {
		for _, m := range n.f.some(kind) {
			all = append(all, m.links[to]...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	p := all[n.rand.IntN(len(all))]
	if !n.claim("link " + p.addr) {
		return nil
	}
	m := []mood{cut, hold, deaf, lag}[n.rand.IntN(4)]
	p.set(m)
	n.did["links: "+m.String()]++
	return func() {
		if m == hold { // what it held is lost: a gateway that got it late would seem to have been sent it late
			p.set(cut)
		}
		p.set(carry)
		delete(n.busy, "link "+p.addr)
	}
}

// gateway makes the gateways misbehave.
func (n *nemesis) gateway() func() {
	if !n.claim("gateway") {
		return nil
	}
	p := 0.1 + 0.5*n.rand.Float64()
	kinds := []simulator.Fault{
		{Kind: "reset", Probability: p}, {Kind: "reset", After: true, Probability: p}, {Kind: "reset", Bytes: 40, Probability: p},
		{Kind: "hang", Probability: p / 2}, {Kind: "hang", After: true, Probability: p / 2}, {Kind: "cut", Probability: p}, {Kind: "html", Probability: p},
		{Kind: "throttle", Probability: p / 4}, {Kind: "status", Status: 500, Probability: p}, {Kind: "status", Status: 502, After: true, Probability: p},
		{Kind: "status", Status: 503, Probability: p / 2}, {Kind: "latency", Delay: simulator.Duration(time.Second), Jitter: simulator.Duration(2 * time.Second), After: true, Probability: p},
		{Kind: "report_early", Probability: p}, {Kind: "report_twice", Probability: p}, {Kind: "missing", Probability: p / 2}, {Kind: "reorder", Probability: p},
	}
	n.rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = kinds[:1+n.rand.IntN(3)]
	if err := n.f.sim.SetFaults(kinds...); err != nil {
		n.f.t.Error(err)
	}
	for _, k := range kinds {
		n.did["gateways: "+k.Kind]++
	}
	return func() {
		if err := n.f.sim.SetFaults(); err != nil {
			n.f.t.Error(err)
		}
		delete(n.busy, "gateway")
	}
}
