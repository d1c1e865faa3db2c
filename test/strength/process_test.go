package strength

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is one program that a test runs; it ends with the test at the latest.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func start(t *testing.T, dir, name, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(path, args...), done: make(chan struct{})}
	for n := 1; ; n++ { // a program may be started again
		p.log = filepath.Join(dir, name+"."+strconv.Itoa(n)+".log")
		if _, err := os.Stat(p.log); err != nil {
			break
		}
	}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir, p.cmd.SysProcAttr = log, log, dir, withParent()
	p.cmd.Env = append(os.Environ(), "TUMA_LOG="+cmp.Or(os.Getenv("TUMA_LOG"), "warn"))
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	usual(p.cmd.Process.Pid)
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && len(args) > 0 && args[0] == "--config" { // ours
			t.Logf("%s\n%s", filepath.Base(p.log), tail(p.log, 15))
		}
	})
	return p
}

// kill ends the process with SIGKILL and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // fails only if it has ended already
	<-p.done
}

// terminate ends the process as an operator does, and waits for its end.
func (p *process) terminate() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended already
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%s does not end\n%s", p.name, tail(p.log, 20))
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

func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// addr names a loopback address that nobody listens on, below the ports that the
// kernel takes for outgoing connections: nobody gets it by chance while its server
// is down.
func addr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		a := net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		if l, err := net.Listen("tcp", a); err == nil {
			_ = l.Close()
			return a
		}
	}
	t.Fatal("no free port")
	return ""
}

func port(a string) string { return a[strings.LastIndexByte(a, ':')+1:] }

// folder is where a test keeps its configs, stores and logs.
func folder(t *testing.T) string {
	t.Helper()
	keep := os.Getenv("TUMA_STRENGTH_KEEP")
	if keep == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(keep, strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// eventually asks until the answer is yes: other processes offer no event to wait
// on. look also says what it saw, for the failure.
func eventually(t *testing.T, within time.Duration, what string, look func() (ok bool, saw any)) {
	t.Helper()
	deadline, pause := time.Now().Add(within), time.NewTicker(20*time.Millisecond)
	defer pause.Stop()
	for {
		ok, saw := look()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s\nlast seen: %+v", within, what, saw)
		}
		<-pause.C
	}
}

// pass lets time go by while the processes work: what is tested is what they do
// in that time.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
