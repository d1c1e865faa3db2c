package strength

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/simulator"
)

// messagesWithin is the same for messages.
func (a *acct) messagesWithin(t *testing.T, limit int, window time.Duration) int {
	t.Helper()
	var entries []simulator.Entry
	for e := range a.sim.Ledger().Each(a.typ) {
		e.Recipients = nil
		entries = append(entries, e)
	}
	most, sum, from := 0, 0, 0
	for _, e := range entries {
		sum += e.Size
		for e.MonoNS-entries[from].MonoNS >= window.Nanoseconds() {
			sum -= entries[from].Size
			from++
		}
		most = max(most, sum)
	}
	if most > limit {
		t.Errorf("%s: %d messages within %s, the limit is %d", a.name, most, window, limit)
	}
	return most
}

// obeys checks every request: no more recipients than the limit, none twice.
func (a *acct) obeys(t *testing.T, most int) (requests int) {
	t.Helper()
	for e := range a.sim.Ledger().Each(a.typ) {
		requests++
		if e.Size > most {
			t.Errorf("%s: a request with %d recipients, the limit is %d", a.name, e.Size, most)
		}
		seen := make(map[string]bool, len(e.Recipients))
		for _, r := range e.Recipients {
			if seen[r.To] {
				t.Errorf("%s: request %d has a number twice", a.name, e.Seq)
			}
			seen[r.To] = true
		}
	}
	return requests
}

// firstSeen says when each number's first request was read.
func (a *acct) firstSeen() map[string]time.Time {
	out := map[string]time.Time{}
	for e := range a.sim.Ledger().Each(a.typ) {
		for _, r := range e.Recipients {
			if _, ok := out[r.To]; !ok && r.Refused == "" {
				out[r.To] = e.Time
			}
		}
	}
	return out
}

// calm says from what share of late timers on the machine was too busy with
// something else for a judgement of speed.
const calm = 0.003

// excuse says why a figure of speed was not judged.
func excuse(late float64) string {
	if late > calm {
		return fmt.Sprintf(" (not judged: %s of plain timers were late)", percent(late))
	}
	return ""
}

// timers watches whether plain timers keep their time, in a process of its own
// that has no more rights to the processors than the dispatchers.
type timers struct {
	t    *testing.T
	stop io.Closer
	said *bufio.Reader
	cmd  *exec.Cmd
}

const timersEnv = "TUMA_STRENGTH_TIMERS"

func watchTimers(t *testing.T) *timers {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), timersEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	usual(cmd.Process.Pid)
	return &timers{t, in, bufio.NewReader(out), cmd}
}

// share stops the watch and returns the share of timers that were late by 5 ms or
// more, or of the time that passed in being late, whichever is more.
func (w *timers) share() float64 {
	w.t.Helper()
	_ = w.stop.Close() // the child ends when it reads no more
	line, err := w.said.ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	_ = w.cmd.Wait()
	late, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return late
}

// keepTime is the child: it watches its timers until its input ends.
func keepTime() {
	stop := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(stop) }()
	n, late, lost, began := 0, 0, time.Duration(0), time.Now()
	for {
		due := time.Now().Add(5 * time.Millisecond)
		select {
		case <-stop:
			// One stall of a quarter of a second is one late timer, and costs as much as fifty.
			fmt.Println(max(float64(late)/float64(max(n, 1)), lost.Seconds()/time.Since(began).Seconds()))
			return
		case <-time.After(time.Until(due)):
		}
		n++
		if by := time.Since(due); by > 5*time.Millisecond {
			late, lost = late+1, lost+by
		}
	}
}

// queue collects what goroutines return.
type queue[T any] struct {
	work sync.WaitGroup
	out  chan T
}

func newQueue[T any](n int) *queue[T] { return &queue[T]{out: make(chan T, n)} }

// Go runs one; n at most.
func (q *queue[T]) Go(fn func() T) { q.work.Go(func() { q.out <- fn() }) }

func (q *queue[T]) wait() []T {
	q.work.Wait()
	close(q.out)
	var all []T
	for v := range q.out {
		all = append(all, v)
	}
	return all
}

// percentile of durations; they are sorted.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(p*float64(len(d))))]
}

func ms(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + " ms"
}

func percent(f float64) string { return fmt.Sprintf("%.1f%%", 100*f) }
