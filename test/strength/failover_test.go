package strength

import (
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/test/rig"
)

// A gateway that answers nothing but 503 is left alone by all dispatchers within a
// second of the first that found out, but for small probes; what comes and what
// waits goes to the next account of the route; it gets messages again only once it
// has been well for a while. What may have been sent stays where it was.
func gatewayAway(t *testing.T) {
	const openFor, settles = 5 * time.Second, 10 * time.Second
	first := &acct{name: "first", typ: "bulksmsrates", prefix: "+254", limit: 100, batch: 10, then: "second", more: "    breaker: {failures: 5, open_for: 5s}\n"}
	second := &acct{name: "second", typ: "cloudrebue", limit: 120, batch: 10}
	c := up(t, []string{"demo"}, first, second)
	c.dispatchers(4)
	c.settle()

	// A whole request of which nobody can tell whether it was taken.
	fault(t, first, simulator.Fault{Kind: "status", Status: 500, After: true, Next: 1})
	unsure, _ := c.submit(campaign(ke, 8_000_000, 10))
	rig.Eventually(t, 10*time.Second, "ten are uncertain", func() (bool, string) {
		got := c.counts(unsure.ID)
		return got["uncertain"] == 10, fmt.Sprint(got)
	})
	fault(t, first)

	trickle := c.trickle(20, 9_000_000)
	rig.Pass(t, 2*time.Second)
	failed := time.Now()
	fault(t, first, simulator.Fault{Kind: "status", Status: 503})
	opened := c.told(journal.IllBreaker, failed, 15*time.Second)
	rig.Pass(t, 2*openFor)
	cleared := time.Now()
	fault(t, first)
	var back time.Time
	rig.Eventually(t, openFor+settles+10*time.Second, "it gets messages again", func() (bool, string) {
		for _, at := range first.readings() {
			if at.After(cleared) {
				back = at
				return true, ""
			}
		}
		return false, ""
	})
	ended := c.told(journal.IllBreaker, failed, 0).Add(openFor) // of its illness, as far as anybody knew
	accepted := trickle()

	tried, probes := 0, 0
	for _, at := range first.readings() {
		switch {
		case at.After(opened.Add(time.Second)) && at.Before(cleared):
			probes++
		case at.After(failed) && at.Before(opened.Add(time.Second)):
			tried++
		}
	}
	figure(t, "a gateway answers 503: until a breaker opens", "5 failures of one", "%s, %d requests of 4 dispatchers", opened.Sub(failed).Round(time.Millisecond), tried)
	figure(t, "requests to it from a second later, in "+cleared.Sub(opened).Round(time.Second).String(), "≤ 3 probes", "%d", probes)
	if probes > 3 {
		t.Errorf("%d requests to a gateway whose breaker is open", probes)
	}
	taken := second.firstSeen()
	var moved, routed []time.Duration
	lost := 0
	for to, at := range accepted {
		if at.Before(failed) || at.After(cleared) {
			continue
		}
		left, ok := taken[to]
		switch {
		case !ok:
			lost++
		case at.After(opened.Add(2 * time.Second)):
			routed = append(routed, left.Sub(at))
		default:
			moved = append(moved, left.Sub(at))
		}
	}
	figure(t, "urgent ones that it had when it fell ill: left by the next account after", "≤ 2 s, and 1 s to find out", "p50 %s, most %s (%d)", ms(percentile(moved, 0.5)), ms(percentile(moved, 1)), len(moved))
	figure(t, "urgent ones that came from 2 s later on", "p99 ≤ 150 ms", "p50 %s, p99 %s (%d)", ms(percentile(routed, 0.5)), ms(percentile(routed, 0.99)), len(routed))
	figure(t, "after the breaker's time is over it gets messages again", "≥ 10 s later", "%s", back.Sub(ended).Round(10*time.Millisecond))
	if lost > 0 {
		t.Errorf("%d messages did not leave by the next account", lost)
	}
	if most := percentile(moved, 1); most > 3*time.Second {
		t.Errorf("a message waited for %s", most)
	}
	if p := percentile(routed, 0.99); p > 150*time.Millisecond {
		t.Errorf("new messages left after %s", p)
	}
	if back.Sub(ended) < settles-500*time.Millisecond {
		t.Errorf("it got messages again after %s", back.Sub(ended))
	}
	for i := range 10 {
		if _, ok := taken[number(ke, 8_000_000+i)]; ok {
			t.Error("an uncertain message has moved")
		}
	}
}

func fault(t *testing.T, a *acct, faults ...simulator.Fault) {
	t.Helper()
	if err := a.sim.SetFaults(faults...); err != nil {
		t.Fatal(err)
	}
}

// told waits until the journal says so of an account, and returns when it was last
// said.
func (c *cluster) told(reason string, after time.Time, within time.Duration) (at time.Time) {
	c.T.Helper()
	rig.Eventually(c.T, within, "the journal says "+reason, func() (bool, string) {
		for _, r := range c.journal(idempotency.Health) {
			if r.Reason == reason && r.at.After(after) {
				at = r.at
			}
		}
		return !at.IsZero(), ""
	})
	return at
}

// trickle submits so many urgent messages a second until the returned function is
// called, which says when each was accepted.
func (c *cluster) trickle(perSecond, first int) (stop func() map[string]time.Time) {
	over, out := make(chan struct{}), make(chan map[string]time.Time)
	go func() {
		accepted := map[string]time.Time{}
		every := time.NewTicker(time.Second / time.Duration(perSecond))
		defer every.Stop()
		for i := first; ; i++ {
			select {
			case <-over:
				out <- accepted
				return
			case <-every.C:
			}
			to := number(ke, i)
			_, accepted[to] = c.submit(env{"to": to, "from": "ACME", "text": "Your code", "priority": "high"})
		}
	}()
	return func() map[string]time.Time { close(over); return <-out }
}
