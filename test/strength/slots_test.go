package strength

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/test/rig"
)

// Dispatchers join, leave and are killed: no half-open second ever holds more than
// the limit, and the limit is used as long as there is a backlog.
func slotsUnderChange(t *testing.T) {
	underChange(t, time.Duration(size(12, 2))*time.Second,
		&acct{name: "l120", typ: "cloudrebue", prefix: "+254", limit: 120, batch: 2},
		&acct{name: "l100", typ: "bulksmsrates", prefix: "+255", limit: 100, batch: 2},
		&acct{name: "l1", typ: "digitalservices", prefix: "+250", limit: 1, batch: 2},
	)
}

// The same for a limit that keeps the machine busy.
func fastAccount(t *testing.T) {
	underChange(t, time.Duration(size(6, 2))*time.Second, &acct{name: "fast", typ: "cloudrebue", prefix: "+254", limit: 2000, batch: 2})
}

// underChange judges each stage for its length, from a second after it began: what
// a killed dispatcher had leased is lost.
func underChange(t *testing.T, stage time.Duration, accounts ...*acct) {
	c := up(t, []string{"demo"}, accounts...)
	for _, a := range accounts {
		// What a killed dispatcher held comes back only after its ack wait.
		n := a.batch*a.limit*int(6*(stage.Seconds()+1)+25) + 12_000
		for sent := 0; sent < n; sent += 1000 {
			c.submit(campaign(a.prefix+"7", sent, 1000))
		}
		c.queued(a, n/a.batch)
	}
	nodes := c.dispatchers(1)
	c.settle()
	kill, end := size(3, 1), size(3, 1)
	stages := []struct {
		what string
		do   func()
	}{
		{"1", func() {}},
		{"1 → 2", func() { nodes = append(nodes, c.dispatchers(1)...) }},
		{"2 → 4", func() { nodes = append(nodes, c.dispatchers(2)...) }},
		{"4 → 8", func() { nodes = append(nodes, c.dispatchers(4)...) }},
		{fmt.Sprint(kill, " killed"), func() {
			for _, n := range nodes[:kill] {
				n.Kill()
			}
			nodes = nodes[kill:]
		}},
		{fmt.Sprint(end, " end"), func() {
			for _, n := range nodes[:end] {
				n.Terminate(30 * time.Second)
			}
			nodes = nodes[end:]
		}},
	}
	if !full() {
		stages = slices.Delete(stages, 3, 4)[1:]
	}
	for _, s := range stages {
		s.do()
		rig.Pass(t, time.Second)
		from, timers := time.Now(), watchTimers(c.T)
		before := c.redisCalls()
		rig.Pass(t, stage)
		to, late := time.Now(), timers.share()
		calls := float64(c.redisCalls()-before) / to.Sub(from).Seconds() / float64(len(nodes)) / float64(len(accounts))
		for _, a := range accounts {
			a.used(t, fmt.Sprintf("dispatchers %s (%d left), limit %d/s", s.what, len(nodes), a.limit), from, to, late)
		}
		figure(t, fmt.Sprintf("dispatchers %s (%d left), calls to Redis", s.what, len(nodes)), "10–15 a second", "%.1f a second, dispatcher and account%s", calls, excuse(late))
		if calls > 16 && late <= calm {
			t.Errorf("%s: %.1f calls to Redis a second, dispatcher and account", s.what, calls)
		}
	}
	for _, a := range accounts {
		figure(t, fmt.Sprintf("most in any second, limit %d/s", a.limit), fmt.Sprintf("≤ %d", a.limit), "%s", a.within(t, a.limit, time.Second))
		a.agrees(t)
		a.obeys(t, a.batch)
	}
}

// queued waits until an account's queue holds so many pieces.
func (c *cluster) queued(a *acct, n int) {
	c.T.Helper()
	rig.Eventually(c.T, 2*time.Minute, "all are queued for "+a.name, func() (bool, string) {
		s, err := c.bus.State(c.T.Context(), bus.QueueStream(a.name))
		return err == nil && s.Messages >= uint64(n), fmt.Sprint(s.Messages)
	})
}

// Limits stack, and may count messages.
func stackedLimits(t *testing.T) {
	a := &acct{
		name: "stacked", typ: "cloudrebue", prefix: "+254", batch: 20,
		rate: "[{requests: 30, per: 1s}, {requests: 60, per: 4s}, {messages: 400, per: 2s}, {messages: 100000, per: day, zone: Africa/Kigali}]",
	}
	c := up(t, []string{"demo"}, a)
	for i := range 6 {
		c.submit(campaign(ke, i*1000, 1000))
	}
	c.dispatchers(2)
	c.settle()
	rig.Pass(t, time.Duration(size(20, 7))*time.Second)
	most := []any{a.within(t, 30, time.Second), a.within(t, 60, 4*time.Second), a.messagesWithin(t, 400, 2*time.Second)}
	figure(t, "stacked limits: requests in 1 s, in 4 s, messages in 2 s", "≤ 30, 60, 400", "%s, %s, %d", most...)
	if got := a.messages(); got < 500 {
		t.Errorf("only %d messages were sent", got)
	}
}
