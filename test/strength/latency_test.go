package strength

import (
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// With an empty queue a message leaves at once: nobody lingers while slots are
// free. The queue being empty, dispatchers that ask for slots do not get into each
// other's way either.
func atOnce(t *testing.T) {
	const (
		perSecond = 100
		limit     = 15 * time.Millisecond
	)
	for _, dispatchers := range []int{4, 1}[:size(2, 1)] {
		t.Run(fmt.Sprint(dispatchers), func(t *testing.T) {
			a := &acct{name: "cr", typ: "cloudrebue", prefix: "+", limit: 120}
			c := up(t, []string{"demo"}, a)
			c.dispatchers(dispatchers)
			c.settle()
			rounds, n := size(5, 1), size(1000, 200)
			var p50, p99, calmest []time.Duration
			for round := range rounds {
				took, late := c.paced(a, perSecond, n, func(i int) env {
					return env{"to": number(ke, round*n+i), "from": "ACME", "text": "hi"}
				})
				p50, p99 = append(p50, percentile(took, 0.5)), append(p99, percentile(took, 0.99))
				if late <= calm {
					calmest = append(calmest, p99[round])
				}
			}
			median := percentile(p99, 0.5)
			figure(t, fmt.Sprintf("%d messages/s into an empty queue, %d dispatchers", perSecond, dispatchers), "p99 ≤ "+ms(limit),
				"p50 %s, p99 %s (medians of %d rounds, %d of them calm; best %s, worst %s)", ms(percentile(p50, 0.5)), ms(median), rounds, len(calmest), ms(p99[0]), ms(p99[len(p99)-1]))
			if m := percentile(calmest, 0.5); m > limit {
				t.Errorf("p99 %s in rounds in which the machine had the time", m)
			}
			a.within(t, 120, time.Second)
		})
	}
}

// paced submits n envelopes of one message at a rate, and returns how long each
// took from its 202 to the gateway, and what share of plain timers was late.
func (c *cluster) paced(a *acct, perSecond, n int, build func(i int) env) ([]time.Duration, float64) {
	c.T.Helper()
	type sent struct {
		to string
		at time.Time
	}
	timers := watchTimers(c.T)
	accepted := newQueue[sent](n)
	every := time.NewTicker(time.Second / time.Duration(perSecond))
	defer every.Stop()
	for i := range n {
		<-every.C
		e := build(i)
		accepted.Go(func() sent {
			_, at := c.submit(e)
			return sent{e["to"].(string), at}
		})
	}
	all := accepted.wait()
	late := timers.share()
	took := make([]time.Duration, n)
	rig.Eventually(c.T, 30*time.Second, "all of them sent", func() (bool, string) {
		seen, missing := a.firstSeen(), 0
		for i, s := range all {
			if at, ok := seen[s.to]; ok {
				took[i] = at.Sub(s.at)
			} else {
				missing++
			}
		}
		return missing == 0, fmt.Sprint(missing, " missing")
	})
	return took, late
}
