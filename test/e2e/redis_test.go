package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// Redis is killed under load: one dispatcher goes on alone, all share the work
// again once Redis is back, and a Redis that forgets everything is survived too.
// Never over the limit, nothing lost and nothing twice.
func TestRedisDiesUnderLoad(t *testing.T) {
	t.Parallel()
	const limit, batch = 20, 20
	r := up(t, rig.Settings{Requests: limit, Batch: batch}, 2)
	l := rig.NewLoad(r.Cluster)
	count := few(300, 200)
	var envelopes []map[string]any
	for i := range count {
		envelopes = append(envelopes, rig.Campaign(rig.Numbers(10_000_000+i*100, batch)))
	}
	l.Submit(t, "redis", envelopes...)
	all := count * batch

	r.Sim.Taken(t, "cloudrebue", all/8, 30*time.Second)
	rig.Stop(r.RedisServer, syscall.SIGKILL)
	r.degraded(t, "redis")
	r.stands(t)
	before := r.requests()
	r.Sim.Taken(t, "cloudrebue", r.Sim.Summary(t, "cloudrebue").AcceptedMessages+all/8, 30*time.Second)
	alone := 0
	for i, n := range r.requests() {
		if n > before[i] {
			alone++
		}
	}
	if alone != 1 {
		t.Errorf("%d dispatchers send without Redis: requests before %v, now %v", alone, before, r.requests())
	}
	if n := r.logged(`"msg":"sending mode changed"`); n != 1 {
		t.Errorf("the sender without Redis was named %d times", n)
	}
	l.Submit(t, "while away", rig.Campaign(rig.Numbers(20_000_000, batch)))
	all += batch

	r.StartRedis()
	r.degraded(t)
	before = r.requests()
	rig.Eventually(t, 30*time.Second, "all dispatchers work again with Redis back", func() (bool, string) {
		now := r.requests()
		for i := range now {
			if now[i] == before[i] {
				return false, rig.Sprint(now)
			}
		}
		return true, ""
	})
	if s := r.Sim.Summary(t, "cloudrebue"); s.AcceptedMessages == all {
		t.Error("all was sent before Redis forgot: the story proves less than it says")
	}
	if err := rig.Flush(r.Redis); err != nil {
		t.Fatal(err)
	}
	got := l.Settled(t, 60*time.Second)
	if got["delivered"] != all {
		t.Errorf("%v, want %d delivered", got, all)
	}
	l.OnceEach(t, nil)
	r.Sim.Within(t, "cloudrebue", limit)
	t.Logf("gateway %+v", r.Sim.Summary(t, "cloudrebue"))
}

// degraded waits until all dispatchers are ready without just these.
func (r running) degraded(t *testing.T, without ...string) {
	t.Helper()
	for _, d := range r.Dispatchers {
		rig.Eventually(t, 10*time.Second, rig.Sprint(without)+" missing, and said so", func() (bool, string) {
			code, h := d.Readyz()
			return code == 200 && slices.Equal(h.Degraded, without), rig.Sprint(h)
		})
	}
}

// requests says how many requests each dispatcher has made.
func (r running) requests() []float64 {
	var out []float64
	for _, d := range r.Dispatchers {
		out = append(out, d.Metric("tuma_requests_total", `class="accepted"`))
	}
	return out
}

// logged counts the dispatchers' log lines with some words.
func (r running) logged(words string) int {
	n := 0
	for _, d := range r.Dispatchers {
		n += strings.Count(d.Stderr(), words)
	}
	return n
}

// stands waits until the gateway gets no more for a second.
func (r running) stands(t *testing.T) {
	t.Helper()
	last, since := -1, time.Now()
	rig.Eventually(t, 10*time.Second, "nothing is sent while it is not known by whom", func() (bool, string) {
		s := r.Sim.Summary(t, "cloudrebue")
		if s.Requests != last {
			last, since = s.Requests, time.Now()
		}
		return time.Since(since) > time.Second, rig.Sprint(s)
	})
}
