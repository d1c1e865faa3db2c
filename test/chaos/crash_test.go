package chaos

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/test/rig"
)

// place is a row of the table of crashes.
type place struct {
	name  string
	scene scene
	types string // that it is tried with; empty: it does not depend on the gateway
	hold  bool   // tried with this policy
	retry bool   // and with this
	small bool   // tried at the small size, with the first type and retry, or hold if that is all
	nth   int    // passage at which to die; 0: the first
}

// scene makes a place be reached. It submits what it wants, with the process that
// is to die already running, and may say what to do once that has died.
type scene func(t *testing.T, w *crashed) (after func())

const anyType = "cloudrebue,smsbox,bulksmsrates,digitalservices,smsscheduler"

// table is the table: every call of crash.At and crash.Soon has its row.
func table() []place {
	return []place{
		{name: "ingest.after-claim", scene: plain, hold: true, small: true, nth: 2},
		{name: "ingest.after-store", scene: plain, hold: true},
		{name: "ingest.after-keyed-store", scene: plain, hold: true, small: true},
		{name: "ingest.before-answer", scene: plain, hold: true, nth: 2},
		{name: "ingest.amid-pieces", scene: plain, hold: true, small: true},
		{name: "ingest.before-ack", scene: plain, hold: true},
		{name: "ingest.after-schedule", scene: scheduled, hold: true},
		{name: "ingest.due-before-ack", scene: scheduled, hold: true, small: true},
		{name: "ingest.after-supersede", scene: superseded, hold: true, small: true},
		{name: "ingest.after-cancel", scene: canceled, hold: true, small: true},

		{name: "dispatch.after-fetch", scene: plain, hold: true, nth: 3},
		{name: "dispatch.after-slot", scene: plain, hold: true},
		{name: "dispatch.before-intent", scene: plain, hold: true, nth: 2},
		{name: "dispatch.after-intent", scene: plain, types: anyType, hold: true, retry: true, small: true},
		{name: "dispatch.before-first-byte", scene: plain, types: anyType, hold: true, retry: true},
		{name: "dispatch.before-last-byte", scene: plain, types: anyType, hold: true, retry: true},
		{name: "dispatch.after-last-byte", scene: slow, types: anyType, hold: true, retry: true, small: true},
		{name: "dispatch.after-answer", scene: plain, types: anyType, hold: true, retry: true, nth: 2},
		{name: "dispatch.after-outcome", scene: plain, types: anyType, hold: true, retry: true, small: true},
		{name: "dispatch.after-events", scene: plain, types: anyType, hold: true, retry: true},
		{name: "dispatch.before-ack", scene: plain, hold: true, retry: true, small: true, nth: 3},
		{name: "dispatch.after-renew", scene: unanswered, types: anyType, retry: true},
		{name: "dispatch.due-before-ack", scene: unreported, retry: true, small: true},
		{name: "dispatch.after-release", scene: unanswered, types: anyType, retry: true, small: true},
		{name: "dispatch.after-bury", scene: unanswered, types: anyType, hold: true},
		{name: "dispatch.after-takeover", scene: widowed, hold: true, retry: true, small: true},
		{name: "dispatch.after-move", scene: moved, hold: true, small: true},
		{name: "dispatch.after-mode", scene: alone, hold: true},
		{name: "dispatch.after-sweep", scene: swept, hold: true},

		{name: "dlr.before-answer", scene: plain, types: "cloudrebue,bulksmsrates,digitalservices,smsbox", hold: true, small: true, nth: 2},
		{name: "dlr.after-match", scene: plain, types: anyType, hold: true},
		{name: "dlr.after-events", scene: plain, types: anyType, hold: true, small: true},
		{name: "dlr.before-ack", scene: plain, hold: true},
	}
}

// Every place in the code has a row in the table, and every row a place.
func TestTableOfCrashesIsWhole(t *testing.T) {
	named := regexp.MustCompile(`crash\.(?:At|Soon)\("([^"]+)"\)`)
	places, rows := map[string]bool{}, map[string]bool{}
	for _, stage := range []string{"ingest", "dispatch", "dlr"} {
		files, err := filepath.Glob("../../internal/" + stage + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			source, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range named.FindAllStringSubmatch(string(source), -1) {
				if places[found[1]] {
					t.Errorf("there are two places %s", found[1])
				}
				places[found[1]] = true
			}
		}
	}
	for _, p := range table() {
		rows[p.name] = true
	}
	if diff := cmp.Diff(places, rows); diff != "" {
		t.Errorf("places in the code (-), rows of the table (+):\n%s", diff)
	}
}

// Every named place kills its process once, for each policy and each gateway that
// make a difference; the process comes back, everything drains, and the ledger
// judges.
func TestCrashes(t *testing.T) {
	programs := built(t, "-tags", "crash")
	for _, p := range table() {
		for _, typ := range types(p.types) {
			for _, retry := range []bool{true, false} {
				if retry && !p.retry || !retry && !p.hold {
					continue
				}
				if !*full && (!p.small || typ != types(p.types)[0] || !retry && p.retry) {
					continue
				}
				policy := map[bool]string{true: "retry", false: "hold"}[retry]
				t.Run(strings.Join([]string{p.name, typ, policy}, "/"), func(t *testing.T) {
					t.Parallel()
					p.try(t, programs, typ, retry)
				})
			}
		}
	}
}

// crashed is a world in which one process is going to die.
type crashed struct {
	*world
	typ    string
	place  place
	victim *rig.Node // the process that dies
	env    []string  // its environment
	others []*rig.Node
	group  sync.WaitGroup // of submissions
}

const crashBatch = 5

func (p place) try(t *testing.T, programs *rig.Rig, typ string, retry bool) {
	s := rig.Settings{Types: typ, Batch: crashBatch, Timeout: "1s", More: "    breaker: {failures: 50, open_for: 1s}\n"}
	if p.name == "dispatch.after-move" {
		s.Types += ",bulksmsrates"
		s.Routes = "  - {prefix: \"+254\", providers: [cloudrebue-main, bulksmsrates-main]}\n"
	}
	w := &crashed{world: newWorld(t, programs, s), typ: typ, place: p}
	w.l.retry = retry
	w.env = w.at(p.name, "", max(1, p.nth))
	whose := map[string]string{"ingest": "ingest", "dispatch": "dispatcher", "dlr": "dlr-collector"}
	dying := whose[strings.Split(p.name, ".")[0]]
	for _, name := range []string{"ingest", "dlr-collector", "dispatcher"} {
		if name == dying {
			w.victim = w.Launch(name, w.env...)
		} else {
			w.others = append(w.others, w.Launch(name))
		}
	}
	w.Ready(append(slices.Clone(w.others), w.victim)...)
	after := p.scene(t, w)
	select {
	case <-w.victim.Done():
	case <-time.After(90 * time.Second):
		t.Fatalf("%s was not reached: nothing is proved", p.name)
	}
	if !w.victim.Killed() {
		t.Fatalf("%s has ended, not by its own hand\n%s", w.victim.Name, rig.Tail(w.victim.Log, 20))
	}
	w.victim = w.Again(w.victim)
	w.Ready(w.victim)
	if after != nil {
		after()
	}
	w.settle(t)
}

// settle waits for the end of everything and judges.
func (w *crashed) settle(t *testing.T) {
	t.Helper()
	w.group.Wait()
	j := w.judge(w.drain(t, 3*time.Minute)) // a look-up that died is taken over after two
	for _, b := range j.broken {
		t.Error(b)
	}
	t.Logf("%d messages, %d unknown, %d uncertain, %d sent again, %v", j.messages, j.unknown, j.uncertain, j.retried, j.statuses)
	if j.messages == 0 {
		t.Error("nothing was accepted: nothing is proved")
	}
}

// send submits in the background, under a key or (empty) without one.
func (w *crashed) send(t *testing.T, key, priority string, n int, more map[string]any) {
	e, ms := w.l.envelope(w.typ, priority, n, more)
	w.group.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		if _, err := w.l.submit(ctx, key, e, ms); err != nil {
			t.Errorf("submit: %v", err)
		}
	})
}

// sent submits and returns the id.
func (w *crashed) sent(t *testing.T, key string, n int, more map[string]any) string {
	t.Helper()
	e, ms := w.l.envelope(w.typ, "high", n, more)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	id, err := w.l.submit(ctx, key, e, ms)
	if err != nil || id == "" {
		t.Fatalf("submit: %q %v", id, err)
	}
	return id
}

// plain submits one of each kind. All of it is urgent, as what is retried then
// waits for seconds.
func plain(t *testing.T, w *crashed) func() {
	for i := range 3 {
		w.send(t, fmt.Sprint("one-", i), "high", 1, nil)
	}
	w.send(t, "few", "high", crashBatch, nil)
	w.send(t, "whole", "high", 3*crashBatch, nil)
	w.send(t, "", "high", 2, nil)
	return nil
}

// slow has a gateway that takes its time after it took the messages.
func slow(t *testing.T, w *crashed) func() {
	w.fault(t, simulator.Fault{Kind: "latency", Delay: simulator.Duration(400 * time.Millisecond), After: true})
	return plain(t, w)
}

// unanswered has a gateway that reads a request and drops the connection, once.
func unanswered(t *testing.T, w *crashed) func() {
	w.fault(t, simulator.Fault{Kind: "reset", Next: 1})
	return plain(t, w)
}

// unreported has one that does so after it took the messages, and loses reports.
func unreported(t *testing.T, w *crashed) func() {
	w.fault(t, simulator.Fault{Kind: "reset", After: true, Next: 1}, simulator.Fault{Kind: "report_lost", Next: crashBatch})
	return plain(t, w)
}

func (w *crashed) fault(t *testing.T, f ...simulator.Fault) {
	t.Helper()
	if err := w.sim.SetFaults(f...); err != nil {
		t.Fatal(err)
	}
}

// scheduled submits for a time to come.
func scheduled(t *testing.T, w *crashed) func() {
	w.send(t, "later", "high", 2*crashBatch, map[string]any{"send_at": time.Now().Add(1500 * time.Millisecond)})
	return func() { plain(t, w) }
}

// operate pauses or resumes the account.
func (w *crashed) operate(t *testing.T, what string) {
	t.Helper()
	rig.Eventually(t, 20*time.Second, what, func() (bool, string) {
		code, body, err := w.Request(http.MethodPost, "/v1/providers/"+w.typ+"-main/"+what, nil, "", nil)
		return err == nil && code < 300, fmt.Sprint(code, string(body), err)
	})
}

// superseded submits twice under one supersede key while nothing is sent.
func superseded(t *testing.T, w *crashed) func() {
	w.operate(t, "pause")
	key := map[string]any{"supersede_key": "otp"}
	w.sent(t, "older", 2, key)
	w.send(t, "newer", "high", 1, key)
	return func() { w.operate(t, "resume"); plain(t, w) }
}

// canceled cancels while nothing is sent; the client repeats that.
func canceled(t *testing.T, w *crashed) func() {
	w.operate(t, "pause")
	id := w.sent(t, "gone", crashBatch, nil)
	w.sent(t, "kept", crashBatch, nil)
	done := make(chan struct{})
	go func() { defer close(done); w.l.cancel(t.Context(), id) }()
	return func() {
		<-done
		w.operate(t, "resume")
		w.l.mu.Lock() // the answer that was lost had counted them
		w.l.canceled[id] = crashBatch
		w.l.mu.Unlock()
	}
}

// widowed kills another dispatcher whose requests hang, so that ours takes over.
func widowed(t *testing.T, w *crashed) func() {
	w.fault(t, simulator.Fault{Kind: "hang", After: true, Next: 2})
	before := w.victim // the only one so far, and not to die yet: it takes over
	before.Signal(syscall.SIGSTOP)
	first := w.Launch("dispatcher")
	w.Ready(first)
	plain(t, w)
	rig.Eventually(t, 20*time.Second, "requests hang", func() (bool, string) {
		n := w.sim.Ledger().Messages("")
		return n > 0, fmt.Sprint(n)
	})
	first.Kill()
	before.Signal(syscall.SIGCONT)
	return nil
}

// moved has an account whose credentials are refused, and a route that goes on.
func moved(t *testing.T, w *crashed) func() {
	w.fault(t, simulator.Fault{Kind: "status", Status: 401, Type: "cloudrebue"})
	return plain(t, w)
}

// alone has no Redis, so that one dispatcher sends alone.
func alone(t *testing.T, w *crashed) func() {
	rig.Stop(w.RedisServer, syscall.SIGKILL)
	plain(t, w)
	return func() { w.StartRedis() }
}

// swept lets messages expire while the account is paused.
func swept(t *testing.T, w *crashed) func() {
	w.operate(t, "pause")
	w.sent(t, "old", crashBatch, map[string]any{"expires_at": time.Now().Add(2 * time.Second)})
	w.sent(t, "new", crashBatch, nil)
	return func() { w.operate(t, "resume") }
}
