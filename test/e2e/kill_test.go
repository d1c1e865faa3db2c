package e2e

import (
	"testing"
	"time"
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
	r := up(t, settings{requests: limit, batch: batch, concurrency: inFlight}, 2)
	r.sim.faults(t, `[{"kind": "latency", "delay": "150ms", "jitter": "150ms", "after": true}]`)
	l := newLoad(r.cluster)
	l.forget = true // clients of a killed ingest: another story has them insist
	// Envelopes that are cut into pieces, and envelopes that are one.
	var whole, small []map[string]any
	wholes, smalls := few(16, 4), few(72, 16)
	for i := range wholes {
		whole = append(whole, campaign(numbers(10_000_000+i*1000, 3*batch)))
	}
	for i := range smalls {
		small = append(small, campaign(numbers(20_000_000+i*1000, batch)))
	}
	all := (3*wholes + smalls) * batch
	submitted := make(chan struct{})
	go func() {
		defer close(submitted)
		l.submit(t, "whole", whole...)
		l.submit(t, "small", small...)
	}()

	eventually(t, 30*time.Second, "the first small one is accepted", func() (bool, string) {
		n := l.messages()
		return n > 3*wholes*batch, sprint(n)
	})
	r.ingest.kill()
	r.ingest = r.again(r.ingest)
	r.sim.taken(t, "cloudrebue", all/6, 30*time.Second)
	r.dispatchers[0].kill()
	r.dispatchers = append(r.dispatchers, r.launch("dispatcher"))
	r.sim.taken(t, "cloudrebue", all/2, 30*time.Second)
	r.collector.kill()
	r.collector = r.again(r.collector)
	r.ready(r.collector)
	<-submitted
	if t.Failed() {
		return
	}
	got := l.settled(t, 60*time.Second)
	t.Logf("statuses %v, answers but 202 %v, gateway %+v", got, l.refusals, r.sim.summary(t, "cloudrebue"))
	if n := l.messages(); n+len(l.unknown) != all || sum(got) != n {
		t.Errorf("%d accepted, %d without an answer, %d settled, %d submitted", n, len(l.unknown), sum(got), all)
	}
	if l.refusals["no answer"] == 0 {
		t.Error("ingest was killed and no client noticed: the story proves less than it says")
	}
	uncertain := l.inStatus(t, "uncertain")
	if len(uncertain) > inFlight*batch {
		t.Errorf("%d uncertain, in flight were %d at most", len(uncertain), inFlight*batch)
	}
	l.onceEach(t, uncertain)
	r.sim.within(t, "cloudrebue", limit)

	// What the gateway did take of the uncertain ones it reports, so in the end only
	// the others are uncertain.
	taken := r.sim.counts(t)
	l.reach(t, 30*time.Second, func(status string) bool { return status == "delivered" || status == "uncertain" })
	eventually(t, 30*time.Second, "reports settle what was uncertain", func() (bool, string) {
		left := 0
		for n := range l.inStatus(t, "uncertain") {
			left += taken[n]
		}
		return left == 0, sprint(left) + " are uncertain although the gateway has reported them"
	})
}

// again starts a killed program anew, under the same addresses.
func (c *cluster) again(n *node) *node {
	c.t.Helper()
	fresh := &node{c: c, admin: n.admin}
	fresh.process = start(c.t, c.dir, n.name, program(n.name), nil, "--config", c.config, "--admin", n.admin)
	return fresh
}

func sum(counts map[string]int) int {
	n := 0
	for _, k := range counts {
		n += k
	}
	return n
}
