package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/test/rig"
)

// member is one of our programs, with links of its own to everything.
type member struct {
	kind  string
	node  *rig.Node
	place rig.Places
	links map[string][]*proxy // nats, redis, gateway
	busy  bool                // something was done to it that is not undone yet
	gone  bool                // ended, and not to come back
}

// fleet is the installation that the nemesis works on.
type fleet struct {
	*world
	t        *testing.T
	natsAt   []string
	natsConf []rig.NATS
	natsUp   []*rig.Process

	mu      sync.Mutex // the proxies of the public address ask for the members
	members []*member
}

const (
	chaosTypes = "cloudrebue,digitalservices,bulksmsrates"
	chaosLimit = 30 // requests a second, of each account
	chaosBatch = 20
	chaosRoom  = 400 << 20 // for files, of each NATS server: the journal sets 256 MiB of it aside
)

// newFleet starts servers, gateways, two ingests, two collectors and three
// dispatchers.
func newFleet(t *testing.T, r *rig.Rig) *fleet {
	t.Helper()
	rig.RedisPath(t)
	c := r.NewCluster(t, rig.Settings{
		Types: chaosTypes, Requests: chaosLimit, Batch: chaosBatch, Concurrency: 8, Timeout: "2s", Replicas: *nodes,
		More: "    breaker: {failures: 5, open_for: 2s}\n",
	})
	f := &fleet{world: &world{Cluster: c}, t: t}
	f.l = newLoad(f.world)
	f.l.apis = f.apis
	f.startNATS(r)
	c.StartRedis()
	c.Public = newProxy(t, r.Addr(t), f.collectors).addr
	limits := map[string]int{}
	for _, typ := range types(chaosTypes) {
		limits[typ] = 0 // the judge counts; a gateway that reads late must not refuse
	}
	f.sim = c.Host(t, simulator.Options{ReportDelay: 300 * time.Millisecond, RetryScale: 0.2, Rates: limits, Seed: int64(*seed)})
	for _, kind := range []string{"ingest", "ingest", "dlr-collector", "dlr-collector", "dispatcher", "dispatcher", "dispatcher"} {
		f.join(kind)
	}
	for _, m := range f.members {
		f.Ready(m.node)
	}
	return f
}

// startNATS starts one server, or three that form a cluster.
func (f *fleet) startNATS(r *rig.Rig) {
	f.natsAt = []string{f.NATS}
	var routes []string
	for len(f.natsAt) < *nodes {
		f.natsAt = append(f.natsAt, r.Addr(f.t))
	}
	clusterAt := make([]string, *nodes)
	for i := range clusterAt {
		clusterAt[i] = r.Addr(f.t)
		routes = append(routes, "nats://"+clusterAt[i])
	}
	f.NATS = strings.Join(f.natsAt, ",")
	stores := f.Dir
	if *disk != "" {
		stores = *disk
	}
	for i, at := range f.natsAt {
		n := rig.NATS{Dir: stores, Addr: at, Room: fmt.Sprint(chaosRoom), Name: fmt.Sprint("n", i+1)}
		if *nodes > 1 { // not told to clients: they would go around their proxies
			n.More = []string{fmt.Sprintf("cluster { name: chaos, listen: %q, no_advertise: true, routes: [%s] }", clusterAt[i], strings.Join(routes, ", "))}
		}
		f.natsConf = append(f.natsConf, n)
		f.natsUp = append(f.natsUp, r.StartNATS(f.t, n))
	}
	rig.Eventually(f.t, 30*time.Second, "JetStream is there", func() (bool, string) {
		_, err := f.publisher().AccountInfo(rig.Timeout(f.t, 2*time.Second))
		return err == nil, fmt.Sprint(err)
	})
}

// join starts one more program.
func (f *fleet) join(kind string) *member {
	m := &member{kind: kind, place: f.Places, links: map[string][]*proxy{}}
	link := func(name, target string) string {
		p := newProxy(f.t, f.Rig.Addr(f.t), func() []string { return []string{target} })
		m.links[name] = append(m.links[name], p)
		return p.addr
	}
	var servers []string
	for _, at := range f.natsAt {
		servers = append(servers, link("nats", at))
	}
	m.place.NATS, m.place.Redis = strings.Join(servers, ","), link("redis", f.Redis)
	switch kind {
	case "ingest":
		m.place.API = f.Rig.Addr(f.t)
	case "dlr-collector":
		m.place.Reports = f.Rig.Addr(f.t)
	case "dispatcher":
		m.place.Gateway = link("gateway", f.Gateway)
	}
	f.mu.Lock()
	n := len(f.members)
	f.members = append(f.members, m)
	f.mu.Unlock()
	config := rig.Write(f.t, filepath.Join(f.Dir, fmt.Sprintf("tuma-%d.yaml", n)), f.Settings.YAML(m.place))
	m.node = f.LaunchWith(kind, config, "TUMA_LOG=info")
	return m
}

// some returns the members of a kind that nothing is being done to.
func (f *fleet) some(kind string) []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*member
	for _, m := range f.members {
		if m.kind == kind && !m.busy && !m.gone {
			out = append(out, m)
		}
	}
	return out
}

// apis are where clients find ingest, whether it is well or not.
func (f *fleet) apis() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, m := range f.members {
		if m.kind == "ingest" {
			out = append(out, m.place.API)
		}
	}
	return out
}

// collectors are behind the public address, in turn.
func (f *fleet) collectors() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, m := range f.members {
		if m.kind == "dlr-collector" {
			out = append(out, m.place.Reports)
		}
	}
	if time.Now().UnixNano()&1024 > 0 {
		out[0], out[1] = out[1], out[0]
	}
	return out
}

// arrived are the instants at which requests of a type reached the gateways'
// side of the dispatchers.
func (f *fleet) arrived(typ string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []time.Time
	for _, m := range f.members {
		for _, p := range m.links["gateway"] {
			all = append(all, p.stamps.Arrived(typ)...)
		}
	}
	return sorted(all)
}

// streams lists the streams and their consumers.
func (f *fleet) consumers(prefix string) [][2]string {
	var out [][2]string
	ctx := rig.Timeout(f.t, 3*time.Second)
	names := f.publisher().StreamNames(ctx)
	for stream := range names.Name() {
		if !strings.HasPrefix(stream, prefix) {
			continue
		}
		s, err := f.publisher().Stream(ctx, stream)
		if err != nil {
			continue
		}
		list := s.ConsumerNames(ctx)
		for c := range list.Name() {
			out = append(out, [2]string{stream, c})
		}
	}
	return out
}

const filler = "CHAOS_FILLER"

// fill takes the room that NATS has for files; it returns how to give it back.
func (f *fleet) fill() func() {
	ctx := rig.Timeout(f.t, 30*time.Second)
	js := f.publisher()
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: filler, Subjects: []string{"chaos.filler"}, Replicas: *nodes}); err != nil {
		return nil
	}
	chunk := make([]byte, 4<<20)
	for range 2 * chaosRoom / len(chunk) {
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := js.Publish(within, "chaos.filler", chunk)
		cancel()
		if err != nil {
			break
		}
	}
	return func() {
		rig.Eventually(f.t, 20*time.Second, "room again", func() (bool, string) {
			err := js.DeleteStream(rig.Timeout(f.t, 3*time.Second), filler)
			return err == nil || strings.Contains(err.Error(), "not found"), fmt.Sprint(err)
		})
	}
}

// fillDisk leaves nothing of the disk that NATS keeps its streams on; it returns
// how to give it back.
func (f *fleet) fillDisk() (undo func(), err error) {
	file, err := os.Create(filepath.Join(*disk, "filler"))
	if err != nil {
		return nil, err
	}
	for chunk := make([]byte, 1<<20); len(chunk) > 0; chunk = chunk[:len(chunk)/2] {
		for err = nil; err == nil; {
			_, err = file.Write(chunk)
		}
	}
	return func() { _ = os.Remove(file.Name()) }, errors.Join(file.Close())
}

// revive ends whatever is done to a member that has ended or will.
func (f *fleet) revive(m *member) {
	m.node = f.Again(m.node, "TUMA_LOG=info")
	m.busy = false
}

func signal(p *rig.Process, sig syscall.Signal) { _ = syscall.Kill(p.PID, sig) } // fails only if it has ended
