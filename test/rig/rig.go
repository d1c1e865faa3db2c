// Package rig runs the real programs for tests: it builds them and the NATS server
// of go.mod, starts them with a nats-server, a redis-server and the simulated
// gateways on loopback ports, waits until they are ready, submits as clients do,
// and holds what was accepted against what the gateways took.
//
//	TUMA_RIG_BIN=DIR     take the programs from DIR instead of building them
//	TUMA_RIG_KEEP=DIR    keep configs, stores and logs below DIR
//
// A test owns every process it starts: each is ended by its id, and ends with the
// test program whatever becomes of that. Logs are shown when a test fails.
package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Rig is what the tests of one test program share: the programs, and the ports
// that were given out. It may be used from many goroutines.
type Rig struct {
	bin string

	mu    sync.Mutex
	taken map[string]bool
}

// Open builds the programs, with further flags of go build. Close removes them.
func Open(flags ...string) (r *Rig, closing func(), err error) {
	if built := os.Getenv("TUMA_RIG_BIN"); built != "" && len(flags) == 0 {
		return &Rig{bin: built, taken: map[string]bool{}}, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "tuma-rig-")
	if err != nil {
		return nil, nil, err
	}
	closing = func() { _ = os.RemoveAll(dir) } // of no use to anybody, and in the system's temporary folder
	const ours = "github.com/tuma-sms/tuma/cmd/"
	args := append([]string{"build", "-ldflags", "-s -w", "-o", dir}, flags...)
	args = append(args, ours+"ingest", ours+"dispatcher", ours+"dlr-collector", ours+"tuma", "github.com/nats-io/nats-server/v2")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		closing()
		return nil, nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return &Rig{bin: dir, taken: map[string]bool{}}, closing, nil
}

// Program is the path of one of the programs, or of nats-server.
func (r *Rig) Program(name string) string { return filepath.Join(r.bin, name) }

// Addr gives out a free loopback address, none twice.
func (r *Rig) Addr(t testing.TB) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 1000 {
		if a := FreeAddr(t); !r.taken[a] {
			r.taken[a] = true
			return a
		}
	}
	t.Fatal("no free port")
	return ""
}

// FreeAddr returns a free loopback address. Its port lies below the range that the
// kernel takes for outgoing connections, so that nobody gets it by chance while the
// test that chose it has its server down.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		a := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		l, err := net.Listen("tcp", a)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return a
	}
	t.Fatal("no free port")
	return ""
}

// folder is where a test keeps its configs, stores and logs.
func folder(t testing.TB) string {
	t.Helper()
	keep := os.Getenv("TUMA_RIG_KEEP")
	if keep == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(keep, strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Write writes a file and returns its path.
func Write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
