package e2e

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// Every program is killed once under load, the dispatcher with requests in
// flight: no accepted message is lost, none is sent twice, and only what the
// killed dispatcher had in flight may be uncertain.
func TestKilledPrograms(t *testing.T) {
	t.Parallel()
	const (
		batch, inFlight = 50, 4
		limit           = 20
	)
	r := up(t, rig.Settings{Requests: limit, Batch: batch, Concurrency: inFlight}, 2)
	r.Sim.Faults(t, `[{"kind": "latency", "delay": "150ms", "jitter": "150ms", "after": true}]`)
	l := rig.NewLoad(r.Cluster)
	l.Forget = true // clients of a killed ingest: another story has them insist
	// Envelopes that are cut into pieces, and envelopes that are one.
	var whole, small []map[string]any
	wholes, smalls := few(16, 4), few(72, 16)
	for i := range wholes {
		whole = append(whole, rig.Campaign(rig.Numbers(10_000_000+i*1000, 3*batch)))
	}
	for i := range smalls {
		small = append(small, rig.Campaign(rig.Numbers(20_000_000+i*1000, batch)))
	}
	all := (3*wholes + smalls) * batch
	submitted := make(chan struct{})
	go func() {
		defer close(submitted)
		l.Submit(t, "whole", whole...)
		l.Submit(t, "small", small...)
	}()

	rig.Eventually(t, 30*time.Second, "the first small one is accepted", func() (bool, string) {
		n := l.Messages()
		return n > 3*wholes*batch, rig.Sprint(n)
	})
	r.Ingest.Kill()
	r.Ingest = r.Again(r.Ingest)
	r.Sim.Taken(t, "cloudrebue", all/6, 30*time.Second)
	r.Dispatchers[0].Kill()
	r.Dispatchers = append(r.Dispatchers, r.Launch("dispatcher"))
	r.Sim.Taken(t, "cloudrebue", all/2, 30*time.Second)
	r.Collector.Kill()
	r.Collector = r.Again(r.Collector)
	r.Ready(r.Collector)
	<-submitted
	if t.Failed() {
		return
	}
	got := l.Settled(t, 60*time.Second)
	t.Logf("statuses %v, answers but 202 %v, gateway %+v", got, l.Refusals, r.Sim.Summary(t, "cloudrebue"))
	if n := l.Messages(); n+len(l.Unknown) != all || sum(got) != n {
		t.Errorf("%d accepted, %d without an answer, %d settled, %d submitted", n, len(l.Unknown), sum(got), all)
	}
	if l.Refusals["no answer"] == 0 {
		t.Error("ingest was killed and no client noticed: the story proves less than it says")
	}
	uncertain := l.InStatus(t, "uncertain")
	if len(uncertain) > inFlight*batch {
		t.Errorf("%d uncertain, in flight were %d at most", len(uncertain), inFlight*batch)
	}
	l.OnceEach(t, uncertain)
	r.Sim.Within(t, "cloudrebue", limit)

	// What the gateway did take of the uncertain ones it reports, so in the end only
	// the others are uncertain.
	taken := r.Sim.Counts(t)
	l.Reach(t, 30*time.Second, func(status string) bool { return status == "delivered" || status == "uncertain" })
	rig.Eventually(t, 30*time.Second, "reports settle what was uncertain", func() (bool, string) {
		left := 0
		for n := range l.InStatus(t, "uncertain") {
			left += taken[n]
		}
		return left == 0, rig.Sprint(left) + " are uncertain although the gateway has reported them"
	})
}

func sum(counts map[string]int) int {
	n := 0
	for _, k := range counts {
		n += k
	}
	return n
}
