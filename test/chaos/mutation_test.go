package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/test/rig"
)

// mutation takes one protection out of the code. Its drama would be harmless with
// the protection, which is tried too.
type mutation struct {
	name  string
	file  string
	was   string // stands in the file exactly once
	is    string
	drama func(t *testing.T, programs *rig.Rig) *judgement
	red   string // what the judge must find
}

func mutations() []mutation {
	return []mutation{
		{
			name: "no fence", file: "internal/dispatch/lease.go",
			was:   "	if !mayEnd(now.Sub(t.asked), now.Round(0).Sub(t.asked.Round(0))) {\n",
			is:    "	if !mayEnd(now.Sub(t.asked), now.Round(0).Sub(t.asked.Round(0))) && t == nil {\n",
			drama: resumedAtTheEnd, red: "sent after it was called uncertain",
		},
		{
			name: "ack before the outcome", file: "internal/dispatch/attempt.go",
			was:   "	vs, detail := t.verdicts(results, failure(err))\n",
			is:    "	for _, it := range t.items {\n		_ = it.h.msg.Ack()\n	}\n	vs, detail := t.verdicts(results, failure(err))\n",
			drama: refusedAndKilled, red: "lost: not at an end",
		},
		{
			name: "uncertain is not sent", file: "pkg/providers/httpapi/httpapi.go",
			was:   "	return &providers.Error{Class: providers.Uncertain, Status: status, Err: err}\n",
			is:    "	return &providers.Error{Class: providers.Unavailable, Status: status, Err: err}\n",
			drama: takenAndReset, red: "sent twice",
		},
		{
			name: "no wait for the own tail", file: "internal/journal/journal.go",
			was:   "		ack, err = j.bus.Publish(ctx, out)\n",
			is:    "		if ack, err = j.bus.Publish(ctx, out); err == nil {\n			return ack.Seq, idempotency.Effect{Acted: 1}, nil\n		}\n",
			drama: resumedBeforeTheIntent, red: "sent twice",
		},
		{
			name: "no quarantine", file: "pkg/ratelimit/plan.go",
			was:   "	p.hold = settle + max(longest, p.step) + o.Ahead\n",
			is:    "	p.hold = 0 * (settle + max(longest, p.step) + o.Ahead)\n",
			drama: flushedOften, red: "within a second",
		},
	}
}

// With each protection taken out the judge goes red, and with all of them in place
// the same events leave it green. At the small size, as it takes a build for each,
// only the lines are looked for that are to be changed.
func TestMutations(t *testing.T) {
	if !*full {
		for _, m := range mutations() {
			m.overlay(t)
		}
		return
	}
	whole := built(t, "-tags", "crash")
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			if j := m.drama(t, whole); len(j.broken) > 0 {
				t.Fatalf("red without the mutation:\n%s", strings.Join(j.broken, "\n"))
			}
			mutant := built(t, "-tags", "crash", "-overlay", m.overlay(t))
			const tries = 3 // two of them are races that the mutant may win
			for try := 1; ; try++ {
				j := m.drama(t, mutant)
				for _, b := range j.broken {
					if strings.Contains(b, m.red) {
						t.Logf("red at try %d, as it must be: %d promises broken, among them: %s", try, len(j.broken), b)
						return
					}
				}
				if try == tries {
					t.Fatalf("the judge does not see it; it found %q, wanted is %q", j.broken, m.red)
				}
			}
		})
	}
}

// overlay writes the changed source, and the file that tells go build of it.
func (m mutation) overlay(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.was); n != 1 {
		t.Fatalf("%s has the line %d times that the mutation changes: adapt it\n%s", m.file, n, m.was)
	}
	dir := t.TempDir()
	changed := rig.Write(t, filepath.Join(dir, filepath.Base(m.file)), strings.Replace(string(source), m.was, m.is, 1))
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	return rig.Write(t, filepath.Join(dir, "overlay.json"), string(list))
}

// stage starts everything but dispatchers.
func stage(t *testing.T, programs *rig.Rig, s rig.Settings) *crashed {
	t.Helper()
	s.Batch, s.Timeout = crashBatch, "1s"
	w := &crashed{world: newWorld(t, programs, s), typ: "cloudrebue"}
	w.others = []*rig.Node{w.Launch("ingest"), w.Launch("dlr-collector")}
	w.Ready(w.others...)
	return w
}

// dispatcher starts one that is stopped or killed at a place, if one is named.
func (w *crashed) dispatcher(place, how string) *rig.Node {
	var env []string
	if place != "" {
		env = w.at(place, how, 1)
	}
	n := w.Launch("dispatcher", env...)
	w.Ready(n)
	return n
}

// verdict waits for the end of it all.
func (w *crashed) verdict(t *testing.T, within time.Duration) *judgement {
	t.Helper()
	w.group.Wait()
	return w.judge(w.drain(t, within))
}

// stopped waits until a process has stopped itself.
func stopped(t *testing.T, n *rig.Node) {
	t.Helper()
	rig.Eventually(t, 30*time.Second, n.Name+" stops", func() (bool, string) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID))
		if err != nil {
			return false, err.Error()
		}
		return strings.Contains(string(stat), ") T "), string(stat)
	})
}

// resumedAtTheEnd: a dispatcher stands still with a request of which the last byte
// is missing; another calls its messages uncertain; it goes on.
func resumedAtTheEnd(t *testing.T, programs *rig.Rig) *judgement {
	w := stage(t, programs, rig.Settings{})
	first := w.dispatcher("dispatch.before-last-byte", ":stop")
	long := map[string]any{"text": strings.Repeat("Habari ya leo. ", 90)} // what fits a buffer would not have left at all
	w.send(t, "one", "high", crashBatch, long)
	stopped(t, first)
	w.dispatcher("", "")
	told := map[string]*seen{}
	rig.Eventually(t, 30*time.Second, "it is called uncertain", func() (bool, string) {
		w.readEvents(t, told)
		for _, s := range told {
			if s.changes["uncertain"] > 0 {
				return true, ""
			}
		}
		return false, ""
	})
	rig.Pass(t, tolerance+100*time.Millisecond)
	first.Signal(syscall.SIGCONT)
	rig.Pass(t, 2*time.Second)
	return w.verdict(t, 5*time.Second)
}

// refusedAndKilled: a gateway refuses for now, and the dispatcher dies right after
// it has noted that.
func refusedAndKilled(t *testing.T, programs *rig.Rig) *judgement {
	w := stage(t, programs, rig.Settings{})
	w.fault(t, simulator.Fault{Kind: "throttle"})
	first := w.dispatcher("dispatch.after-outcome", "")
	w.send(t, "one", "high", 1, nil)
	if first.Wait(30*time.Second) != -1 {
		t.Fatal("it has ended by itself")
	}
	w.fault(t)
	w.dispatcher("", "")
	return w.verdict(t, 30*time.Second)
}

// takenAndReset: a gateway takes messages and drops the connection; its reports,
// which would prove that it took them, are late.
func takenAndReset(t *testing.T, programs *rig.Rig) *judgement {
	w := stage(t, programs, rig.Settings{})
	w.fault(t, simulator.Fault{Kind: "reset", After: true, Next: 1}, simulator.Fault{Kind: "report_late", Delay: simulator.Duration(5 * time.Second)})
	w.dispatcher("", "")
	w.send(t, "one", "high", crashBatch, nil)
	return w.verdict(t, 30*time.Second)
}

// resumedBeforeTheIntent: a dispatcher stands still with messages that it has
// chosen; everything is handed out again, to another one that sends it; it goes on.
func resumedBeforeTheIntent(t *testing.T, programs *rig.Rig) *judgement {
	w := stage(t, programs, rig.Settings{})
	first := w.dispatcher("dispatch.before-intent", ":stop")
	w.send(t, "one", "high", crashBatch, nil)
	stopped(t, first)
	if err := w.publisher().DeleteConsumer(rig.Timeout(t, 5*time.Second), "SMS_QUEUE_cloudrebue-main", "high-demo"); err != nil {
		t.Fatal(err)
	}
	w.dispatcher("", "")
	rig.Eventually(t, 30*time.Second, "the other one sends", func() (bool, string) {
		n := w.sim.Ledger().Messages("")
		return n == crashBatch, fmt.Sprint(n)
	})
	first.Signal(syscall.SIGCONT)
	rig.Pass(t, 3*time.Second)
	return w.verdict(t, 20*time.Second)
}

// flushedOften: Redis forgets everything, again and again, under a backlog.
func flushedOften(t *testing.T, programs *rig.Rig) *judgement {
	const limit = 100
	w := stage(t, programs, rig.Settings{Requests: limit})
	for range 4 { // the first that asks a Redis without memory rests by itself
		w.dispatcher("", "")
	}
	w.operate(t, "pause")
	const requests = 8 * limit
	for i := range 16 {
		w.send(t, fmt.Sprint("many-", i), "normal", requests/16*crashBatch, nil)
	}
	w.group.Wait()
	w.operate(t, "resume")
	for range 12 {
		rig.Pass(t, 250*time.Millisecond)
		if err := rig.Flush(w.Redis); err != nil {
			t.Fatal(err)
		}
	}
	j := w.verdict(t, time.Minute)
	if most := rig.Most(ledgerTimes(w.world, w.typ), time.Second); most > limit {
		j.breaks("%d requests within a second, the limit is %d", most, limit)
	}
	return j
}
