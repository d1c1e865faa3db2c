package chaos

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/test/rig"
)

// What `go test ./test/chaos -args` takes.
var (
	duration = flag.Duration("duration", 12*time.Second, "how long the nemesis is at work")
	seed     = flag.Uint64("seed", 5, "of the nemesis; 0: a new one. This one has much in its first seconds")
	only     = flag.String("only", "", "the nemesis does only these, by name (\"NATS full,ingest killed\")")
	disk     = flag.String("disk", "", "a small file system that NATS keeps its streams on, for the deed \"disk full\"")
	nodes    = flag.Int("nodes", 1, "of NATS: 1, or 3 with replicas 3")
	rate     = flag.Int("rate", 60, "submissions a second")
	full     = flag.Bool("full", false, "every row of the table of crashes, and all mutations")
)

// builds are the programs by the flags that they were built with.
var builds struct {
	sync.Mutex
	made    map[string]*rig.Rig
	closing []func()
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen && flag.Set("test.parallel", "10") != nil { // the processes wait more than they work
		return 2
	}
	builds.made = map[string]*rig.Rig{}
	code := m.Run()
	for _, c := range builds.closing {
		c()
	}
	return code
}

// built returns the programs as these flags make them.
func built(t *testing.T, flags ...string) *rig.Rig {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	name := strings.Join(flags, " ")
	if r := builds.made[name]; r != nil {
		return r
	}
	r, closing, err := rig.Open(flags...)
	if err != nil {
		t.Fatal(err)
	}
	builds.made[name], builds.closing = r, append(builds.closing, closing)
	return r
}

// world is one installation under test, with the gateways inside this program.
type world struct {
	*rig.Cluster
	sim *simulator.Simulator
	l   *load
	js  jetstream.JetStream // of publisher
}

// newWorld starts NATS, Redis and the gateways.
func newWorld(t *testing.T, r *rig.Rig, s rig.Settings) *world {
	t.Helper()
	rig.RedisPath(t)
	c := r.NewCluster(t, s)
	c.StartNATS()
	c.StartRedis()
	w := &world{Cluster: c, sim: c.Host(t, simulator.Options{ReportDelay: 200 * time.Millisecond, RetryScale: 0.1})}
	w.l = newLoad(w)
	return w
}

// at is the environment of a process that dies at the nth passage of a place, or
// stops there if how is ":stop".
func (w *world) at(place, how string, nth int) []string {
	return []string{"TUMA_CRASH=" + place + how, "TUMA_CRASH_FILE=" + filepath.Join(w.Dir, "passages-"+place), fmt.Sprint("TUMA_CRASH_NTH=", nth)}
}
