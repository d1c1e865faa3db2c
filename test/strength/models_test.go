package strength

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// Each model of a limiter holds under every reading of a limit that the gateway
// could have; paced ones leave no two requests closer than their share of a second.
func limiterModels(t *testing.T) {
	const limit = 60
	var accounts []*acct
	for _, m := range []struct{ model, prefix string }{
		{"sliding", "+254"}, {"fixed", "+255"}, {"token_bucket", "+256"}, {"paced", "+250"},
	} {
		accounts = append(accounts, &acct{
			name: "m-" + map[bool]string{true: "bucket", false: m.model}[m.model == "token_bucket"], typ: "cloudrebue", prefix: m.prefix,
			limit: limit, batch: 2, rate: "{requests: 60, per: 1s, model: " + m.model + "}",
		})
	}
	c := up(t, []string{"demo"}, accounts...)
	for _, a := range accounts {
		c.backlog(a, size(25, 12))
	}
	c.dispatchers(2)
	c.settle()
	rig.Pass(t, time.Second)
	from, timers := time.Now(), watchTimers(c.T)
	rig.Pass(t, time.Duration(size(15, 3))*time.Second)
	to, late := time.Now(), timers.share()
	for _, a := range accounts {
		a.agrees(t)
		if a.name != "m-paced" {
			a.used(t, "model "+a.name[2:]+", limit 60/s, all four readings", from, to, late)
			figure(t, "most in any second, model "+a.name[2:], "≤ 60", "%s", a.within(t, limit, time.Second))
			continue
		}
		closest := time.Hour
		at, _ := a.arrivals()
		for i := 1; i < len(at); i++ {
			closest = min(closest, at[i].Sub(at[i-1]))
		}
		figure(t, "model paced, limit 60/s: least distance of two requests", "≥ "+ms(time.Second/limit), "%s, %s used%s", ms(closest), percent(a.use(t, from, to)), excuse(late))
		if closest < time.Second/limit {
			t.Errorf("two requests %s apart", closest)
		}
	}
}
