package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is one program that a story runs.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	out  string // path of standard output
	log  string // path of standard error
	done chan struct{}
	at   time.Time // of its start
}

// start runs a program until the test ends, at the latest.
func start(t *testing.T, dir, name, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(path, args...), done: make(chan struct{})}
	stem := filepath.Join(dir, name)
	for n := 2; exists(stem + ".log"); n++ { // a program may be started again
		stem = filepath.Join(dir, name+"."+strconv.Itoa(n))
	}
	p.out, p.log = stem+".out", stem+".log"
	out, err := os.Create(p.out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = out, log, dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = withParent()
	p.at = time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s (%s)\n%s", name, filepath.Base(p.log), tail(p.log, 40))
		}
	})
	return p
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// kill ends the process with SIGKILL and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // fails only if it has ended already
	<-p.done
}

// terminate sends SIGTERM and returns the exit code and how long the end took.
func (p *process) terminate(within time.Duration) (code int, took time.Duration) {
	p.t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name, err, tail(p.log, 40))
	}
	return p.wait(within), time.Since(began)
}

// wait returns the exit code of a process that ends by itself; -1: by a signal.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("%s has not ended within %s\n%s", p.name, within, tail(p.log, 40))
		return 0
	}
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) stdout() string { return read(p.out) }
func (p *process) stderr() string { return read(p.log) }

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func tail(path string, lines int) string {
	b := bytes.TrimRight([]byte(read(path)), "\n")
	all := bytes.Split(b, []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// ports hands out free loopback ports, none twice. They lie below the range that
// the kernel takes for outgoing connections, so that nobody gets one by chance
// while the story that chose it has its server down.
type ports struct {
	mu    sync.Mutex
	taken map[int]bool
}

var freePorts = ports{taken: map[int]bool{}}

func addr(t *testing.T) string {
	t.Helper()
	freePorts.mu.Lock()
	defer freePorts.mu.Unlock()
	for range 1000 {
		port := 10_000 + rand.IntN(20_000)
		if freePorts.taken[port] {
			continue
		}
		a := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", a)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		freePorts.taken[port] = true
		return a
	}
	t.Fatal("no free port")
	return ""
}

// folder is where a story keeps its configs, stores and logs.
func folder(t *testing.T) string {
	t.Helper()
	keep := os.Getenv("TUMA_E2E_KEEP")
	if keep == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(keep, strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// eventually asks until the answer is yes. Other processes offer no event to wait
// on, so it asks every now and then; look also says what it saw, for the failure.
func eventually(t *testing.T, within time.Duration, what string, look func() (ok bool, saw string)) {
	t.Helper()
	deadline, pause := time.Now().Add(within), time.NewTicker(20*time.Millisecond)
	defer pause.Stop()
	for {
		ok, saw := look()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s\nlast seen: %s", within, what, saw)
		}
		<-pause.C
	}
}

func sprint(v any) string { return fmt.Sprintf("%+v", v) }
