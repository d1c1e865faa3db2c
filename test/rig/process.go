package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Process is one program that a test runs.
type Process struct {
	Name string
	PID  int
	At   time.Time // of its start
	Log  string    // path of standard error

	t    testing.TB
	cmd  *exec.Cmd
	out  string // path of standard output
	done chan struct{}
}

// Command says what to start, and where its output goes.
type Command struct {
	Name  string // of its log
	Path  string
	Dir   string
	Env   []string // besides our own
	Args  []string
	Quiet bool // do not show the log when the test fails
}

// Start runs a program until the test ends, at the latest.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	p := &Process{t: t, Name: c.Name, cmd: exec.Command(c.Path, c.Args...), done: make(chan struct{})}
	stem := filepath.Join(c.Dir, c.Name)
	for n := 2; exists(stem + ".log"); n++ { // a program may be started again
		stem = filepath.Join(c.Dir, c.Name+"."+strconv.Itoa(n))
	}
	p.out, p.Log = stem+".out", stem+".log"
	out, err := os.Create(p.out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	log, err := os.Create(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = out, log, c.Dir
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.SysProcAttr = withParent()
	p.At = time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.PID = p.cmd.Process.Pid
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() && !c.Quiet {
			t.Logf("%s (%s)\n%s", c.Name, filepath.Base(p.Log), Tail(p.Log, 40))
		}
	})
	return p
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // fails only if it has ended already
	<-p.done
}

// Signal sends a signal to a process that is alive.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%s: %v\n%s", p.Name, err, Tail(p.Log, 40))
	}
}

// Terminate sends SIGTERM and returns the exit code and how long the end took.
func (p *Process) Terminate(within time.Duration) (code int, took time.Duration) {
	p.t.Helper()
	began := time.Now()
	p.Signal(syscall.SIGTERM)
	return p.Wait(within), time.Since(began)
}

// Wait returns the exit code of a process that ends by itself; -1: by a signal.
func (p *Process) Wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("%s has not ended within %s\n%s", p.Name, within, Tail(p.Log, 40))
		return 0
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Alive reports whether the process has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Killed reports whether a process that has ended was ended by SIGKILL.
func (p *Process) Killed() bool {
	s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && s.Signaled() && s.Signal() == syscall.SIGKILL
}

// Stdout is what the process has printed so far.
func (p *Process) Stdout() string { return read(p.out) }

// Stderr is what the process has logged so far.
func (p *Process) Stderr() string { return read(p.Log) }

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Tail returns a file's last lines.
func Tail(path string, lines int) string {
	b := bytes.TrimRight([]byte(read(path)), "\n")
	all := bytes.Split(b, []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// Eventually asks until the answer is yes. Other processes offer no event to wait
// on, so it asks every now and then; look also says what it saw, for the failure.
func Eventually(t testing.TB, within time.Duration, what string, look func() (ok bool, saw string)) {
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

// Pass lets time go by while the processes work: what is tested is what they do in
// that time.
func Pass(t testing.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// Sprint formats what was seen.
func Sprint(v any) string { return fmt.Sprintf("%+v", v) }
