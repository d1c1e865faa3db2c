package strength

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Dispatchers join, leave and are killed: no half-open second ever holds more than
// the limit, and the limit is used as long as there is a backlog. A second around
// each kill is left out of the use, not of the limit.
func slotsUnderChange(t *testing.T) {
	accounts := []*acct{
		{name: "l120", typ: "cloudrebue", prefix: "+254", limit: 120, batch: 2},
		{name: "l100", typ: "bulksmsrates", prefix: "+255", limit: 100, batch: 2},
		{name: "l1", typ: "digitalservices", prefix: "+250", limit: 1, batch: 2},
	}
	c := up(t, []string{"demo"}, accounts...)
	const envelopes = 1000
	stage := time.Duration(size(12, 2)) * time.Second
	long := 5 * stage.Seconds()
	for _, a := range accounts {
		// What a killed dispatcher held comes back only after its ack wait.
		for sent := 0; sent < int(2*float64(a.limit)*(long+20))+6*1000; sent += envelopes {
			c.submit(campaign(a.prefix+"7", sent, min(envelopes, a.limit*1000)))
		}
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
				n.kill()
			}
			nodes = nodes[kill:]
		}},
		{fmt.Sprint(end, " end"), func() {
			for _, n := range nodes[:end] {
				n.terminate()
			}
			nodes = nodes[end:]
		}},
	}
	if !full() {
		stages = slices.Delete(stages, 3, 4)[1:]
	}
	for _, s := range stages {
		s.do()
		pass(t, time.Second) // around a kill the use is not judged
		from, timers := time.Now(), watchTimers(c.t)
		before := c.redisCalls()
		pass(t, stage)
		to, late := time.Now(), timers.share()
		calls := float64(c.redisCalls()-before) / to.Sub(from).Seconds() / float64(len(nodes)) / float64(len(accounts))
		for _, a := range accounts {
			use := a.use(from, to)
			figure(t, fmt.Sprintf("dispatchers %s (%d left), limit %d/s", s.what, len(nodes), a.limit), "≥ 97% used", "%s%s", percent(use), excuse(late))
			edge := 1 / (float64(a.limit) * to.Sub(from).Seconds()) // the stage begins and ends between two slots
			if late <= calm && use+edge < 0.97 && a.limit > 1 {
				t.Errorf("limit %d, %s: %s used on a machine that had the time", a.limit, s.what, percent(use))
			}
		}
		figure(t, fmt.Sprintf("dispatchers %s (%d left), calls to Redis", s.what, len(nodes)), "10–15 a second", "%.1f a second, dispatcher and account%s", calls, excuse(late))
		if calls > 16 {
			t.Errorf("%s: %.1f calls to Redis a second, dispatcher and account", s.what, calls)
		}
	}
	for _, a := range accounts {
		most := a.within(t, a.limit, time.Second)
		figure(t, fmt.Sprintf("most in any second, limit %d/s", a.limit), fmt.Sprintf("≤ %d", a.limit), "%s", most)
		a.agrees(t)
		a.obeys(t, 2)
	}
}

// excuse says why a figure of speed was not judged.
func excuse(late float64) string {
	if late > calm {
		return fmt.Sprintf(" (not judged: %s of plain timers were late)", percent(late))
	}
	return ""
}

// use is the share of the limit that was used between two instants.
func (a *acct) use(from, to time.Time) float64 {
	n := 0
	for _, at := range a.arrivals() {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return float64(n) / (float64(a.limit) * to.Sub(from).Seconds())
}

// agrees checks that none of the gateway's readings of "a second" was violated,
// unless the gateway was too late itself to tell.
func (a *acct) agrees(t *testing.T) {
	t.Helper()
	if most, ledger := a.most(time.Second); most <= a.limit && ledger > a.limit {
		return
	}
	for reading, n := range a.sim.Ledger().Summary(a.typ).Violations {
		if n > 0 {
			t.Errorf("%s: %d requests over the limit as %s reads it", a.name, n, reading)
		}
	}
}

// A limit of 2,000 requests a second, which one machine reaches only for a while:
// what is judged is that it is never passed.
func fastAccount(t *testing.T) {
	const limit = 2000
	a := &acct{name: "fast", typ: "cloudrebue", prefix: "+254", limit: limit, batch: 1}
	c := up(t, []string{"demo"}, a)
	n := size(40_000, 6_000)
	for sent := 0; sent < n; sent += 1000 {
		c.submit(campaign(ke, sent, 1000))
	}
	for _, dispatchers := range []int{1, 3} {
		nodes := c.dispatchers(dispatchers)
		c.settle()
		from, timers := time.Now(), watchTimers(c.t)
		pass(t, time.Duration(size(8, 2))*time.Second)
		use := a.use(from, time.Now())
		figure(t, fmt.Sprintf("limit %d/s, %d dispatchers", limit, dispatchers), "as the machine can", "%s used%s", percent(use), excuse(timers.share()))
		for _, n := range nodes {
			n.terminate()
		}
	}
	figure(t, fmt.Sprintf("most in any second, limit %d/s", limit), fmt.Sprintf("≤ %d", limit), "%s", a.within(t, limit, time.Second))
	a.agrees(t)
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
	pass(t, time.Duration(size(20, 7))*time.Second)
	most := []any{a.within(t, 30, time.Second), a.within(t, 60, 4*time.Second), a.messagesWithin(t, 400, 2*time.Second)}
	figure(t, "stacked limits: requests in 1 s, in 4 s, messages in 2 s", "≤ 30, 60, 400", "%s, %s, %d", most...)
	if got := a.messages(); got < 500 {
		t.Errorf("only %d messages were sent", got)
	}
}
