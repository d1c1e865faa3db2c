package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/internal/service"
)

// tools are what all runs share: the programs that the bench starts, a folder for
// what they write, and the Redis. A new Redis grants no slots for some seconds,
// so there is one for all; a run leaves nothing in it that the next one meets.
type tools struct {
	self, nats, dir string
	redis           string // its address
	server          *process
	warm            bool // it has been asked for slots long enough ago
}

// newTools builds the nats-server of go.mod.
func newTools(ctx context.Context) (*tools, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("no redis-server on PATH (install the package redis-server)")
	}
	dir, err := os.MkdirTemp("", "tuma-bench-")
	if err != nil {
		return nil, err
	}
	t := &tools{self: self, dir: dir, nats: filepath.Join(dir, "nats-server")}
	build := exec.CommandContext(ctx, "go", "build", "-o", t.nats, "github.com/nats-io/nats-server/v2")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return t, fmt.Errorf("build nats-server: %w", err)
	}
	if t.redis, err = freeAddr(ctx); err != nil {
		return t, err
	}
	_, port, _ := net.SplitHostPort(t.redis)
	t.server, err = launch(ctx, dir, "redis", redis, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	return t, err
}

func (t *tools) remove() {
	if t.server != nil {
		t.server.stop()
	}
	_ = os.RemoveAll(t.dir) // of no use to anybody, and in the system's temporary folder
}

// granting waits until the Redis may grant slots: longer than it keeps an account
// shut after the first dispatcher's first question.
func (t *tools) granting(ctx context.Context) error {
	if !t.warm && !service.Sleep(ctx, 4*time.Second) {
		return ctx.Err()
	}
	t.warm = true
	return nil
}

// process is a program that the bench has started.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
	log   string
	admin string // of Tuma's programs: where /metrics is
}

// launch runs a program whose messages go to a file.
func launch(ctx context.Context, dir, name, path string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.CommandContext(ctx, path, args...), log: filepath.Join(dir, name+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	p.cmd.Stderr, p.cmd.Dir = log, dir
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	return p, p.cmd.Start()
}

// start runs a program for as long as the world lasts.
func (w *world) start(ctx context.Context, name, path string, args ...string) (*process, error) {
	p, err := launch(ctx, w.dir, name, path, args...)
	if err != nil {
		return nil, err
	}
	w.running = append(w.running, p)
	return p, nil
}

// stop ends a process before the world does.
func (w *world) stop(p *process) {
	w.running = slices.DeleteFunc(w.running, func(q *process) bool { return q == p })
	p.stop()
}

// child starts this binary in a role and waits until it is ready.
func (w *world) child(ctx context.Context, role string, o order) (*process, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	p, err := w.start(ctx, role, w.o.tools.self, childFlag, role, string(data))
	if err != nil {
		return nil, err
	}
	if !p.out.Scan() || p.out.Text() != "ready" {
		return nil, p.failed(errors.New("is not ready"))
	}
	return p, nil
}

// begin lets a child begin.
func (p *process) begin() error {
	_, err := fmt.Fprintln(p.in)
	return err
}

// result waits for what a child measured.
func (p *process) result() (r result, err error) {
	if !p.out.Scan() {
		return r, p.failed(errors.New("ended without a result"))
	}
	if err := json.Unmarshal(p.out.Bytes(), &r); err != nil {
		return r, p.failed(err)
	}
	return r, nil
}

func (p *process) failed(err error) error {
	log, _ := os.ReadFile(p.log) // what there is
	return fmt.Errorf("%s: %w\n%s", p.name, err, log[max(0, len(log)-2000):])
}

// stop ends a process in good order if it listens, within some seconds.
func (p *process) stop() {
	_ = p.in.Close() // the order to end; who does not read it is killed
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }() // how it ends is of no interest
	if p.name == "nats" || p.name == "redis" {
		_ = p.cmd.Process.Kill()
	}
	t := time.NewTimer(10 * time.Second)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// spent returns the CPU seconds of a process until now, of all threads.
func (p *process) spent() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in brackets, may hold spaces; user and system time are fields 14 and 15.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	const ticks = 100 // a second, on every Linux that Go runs on
	return (user + system) / ticks, nil
}

func spent(ps ...*process) (sum float64, err error) {
	for _, p := range ps {
		one, err := p.spent()
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// measured is one measurement: how long it took, and the CPU seconds of who was
// measured and of everyone, the servers and the load included. A machine that
// others use at the time bends the first much more than the others.
type measured struct{ seconds, own, all float64 }

// measure runs something that returns the seconds it took.
func (w *world) measure(ps []*process, run func() (float64, error)) (m measured, err error) {
	everyone := append([]*process{w.o.tools.server}, w.running...)
	own, err := spent(ps...)
	if err != nil {
		return m, err
	}
	all, err := spent(everyone...)
	if err != nil {
		return m, err
	}
	if m.seconds, err = run(); err != nil {
		return m, err
	}
	if m.own, err = spent(ps...); err != nil {
		return m, err
	}
	m.all, err = spent(everyone...)
	m.own, m.all = m.own-own, m.all-all
	return m, err
}

// peak returns the most memory that a process held, in MiB.
func (p *process) peak() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("no VmHWM")
}

// freeAddr names a loopback address that nobody listens on right now.
func freeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
