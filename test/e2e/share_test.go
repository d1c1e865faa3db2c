package e2e

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// Three dispatchers share one account: everything is delivered, each message is
// sent once, all three work, and together they keep the account's limit.
func TestThreeDispatchersShareTheWork(t *testing.T) {
	t.Parallel()
	const limit = 40
	r := up(t, rig.Settings{Requests: limit, Batch: 50}, 3)
	l := rig.NewLoad(r.Cluster)
	many, one := few(50, 10), few(1000, 100)
	var envelopes []map[string]any
	for i := range many {
		envelopes = append(envelopes, rig.Campaign(rig.Numbers(10_000_000+i*100, 100)))
	}
	for _, n := range rig.Numbers(20_000_000, one) {
		envelopes = append(envelopes, rig.Single(n))
	}
	l.Submit(t, "share", envelopes...)
	got := l.Settled(t, 60*time.Second)
	if want := many*100 + one; got["delivered"] != want {
		t.Errorf("%v, want %d delivered", got, want)
	}
	l.OnceEach(t, nil)
	r.Sim.Within(t, "cloudrebue", limit)
	for i, d := range r.Dispatchers {
		if n := d.Metric("tuma_requests_total", `account="cloudrebue-main"`, `class="accepted"`); n < 1 {
			t.Errorf("dispatcher %d made no request", i+1)
		} else {
			t.Logf("dispatcher %d made %v requests", i+1, n)
		}
	}
	t.Logf("gateway: %+v", r.Sim.Summary(t, "cloudrebue"))
}
