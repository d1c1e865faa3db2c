package strength

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// What an autoscaler goes by is true under load: what waits, what of it could be
// sent, how much of the limit is used, for how long the oldest has waited; while the
// account is paused more dispatchers would send nothing, and once all is sent nothing
// is left in the figures.
func metricsTell(t *testing.T) {
	const (
		fresh   = 6 * time.Second // figures are taken every 5 s
		horizon = 60
	)
	cr := &acct{name: "cr", typ: "cloudrebue", prefix: "+254", limit: 120, batch: 10}
	slow := &acct{name: "slow", typ: "digitalservices", prefix: "+250", limit: 10, batch: 10} // has more than it can send in the horizon
	c := up(t, []string{"demo"}, cr, slow)
	n := size(70_000, 25_000)
	queued := time.Now()
	for _, a := range c.accounts {
		for first := 0; first < n; first += 1000 {
			c.submit(campaign(a.prefix+"7", first, 1000))
		}
		c.queued(a, n/a.batch)
	}
	nodes := c.dispatchers(2)
	c.settle()
	rig.Pass(t, fresh)
	most := func(name string, a *acct) (v float64) {
		for _, n := range nodes {
			v = max(v, n.Metric(name, `account="`+a.name+`"`))
		}
		return v
	}
	use := func(a *acct) (v float64) {
		for _, n := range nodes {
			v += n.Metric("tuma_slot_use", `account="`+a.name+`"`)
		}
		return v
	}
	near := func(what string, got, low, high float64) {
		t.Helper()
		if got < low || got > high {
			t.Errorf("%s: %.2f, want %.2f to %.2f", what, got, low, high)
		}
	}
	worst := 0.0
	for range size(5, 2) {
		before := map[*acct]float64{cr: float64(n - cr.messages()), slow: float64(n - slow.messages())}
		rig.Pass(t, fresh) // the figures below were taken in this time
		for _, a := range c.accounts {
			left, most := map[string]float64{"tuma_backlog": most("tuma_backlog", a), "tuma_sendable": most("tuma_sendable", a)}, float64(a.limit*a.batch*horizon)
			now := float64(n - a.messages())
			near(a.name+": backlog", left["tuma_backlog"], 0.95*now, 1.05*before[a])
			near(a.name+": sendable", left["tuma_sendable"], 0.95*min(now, most), min(1.05*before[a], most))
			worst = max(worst, math.Abs(left["tuma_backlog"]-(now+before[a])/2)/now)
		}
		near("cr: slot use", use(cr), 0.9, 1.05)
		near("slow: slot use", use(slow), 0.9, 1.1)
		near("cr: oldest", most("tuma_oldest_seconds", cr), time.Since(queued).Seconds()-fresh.Seconds()-3, time.Since(queued).Seconds())
	}
	figure(t, "backlog as metrics tell it", "what waits, ± 5% and 5 s", "%s away from the truth", percent(worst))

	c.operate(cr, "pause")
	rig.Eventually(t, 2*fresh, "a paused account: nothing is sendable, no slot in use, and all of it waits", func() (bool, string) {
		backlog, sendable, slots, truth := most("tuma_backlog", cr), most("tuma_sendable", cr), use(cr), float64(n-cr.messages())
		return sendable == 0 && slots == 0 && math.Abs(backlog-truth) <= 0.05*truth, fmt.Sprint(backlog, sendable, slots, truth)
	})
	c.operate(cr, "resume")
	c.taken(cr, n, 2*time.Minute)
	rig.Eventually(t, 2*fresh, "all is sent: nothing waits", func() (bool, string) {
		backlog, sendable, oldest := most("tuma_backlog", cr), most("tuma_sendable", cr), most("tuma_oldest_seconds", cr)
		return backlog+sendable+oldest == 0, fmt.Sprint(backlog, sendable, oldest)
	})
	if got := most("tuma_sendable", slow); got != float64(slow.limit*slow.batch*horizon) {
		t.Errorf("slow: %v sendable while the other was paused and sent", got)
	}
}
