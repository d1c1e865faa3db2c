package strength

import (
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// Numbers by account: Kenya, Tanzania, Uganda.
const (
	ke = "+2547"
	tz = "+2557"
	ug = "+2567"
)

// A backlog of single messages leaves in full requests, whatever the API; no
// request is larger than its API allows, none has a number twice.
func fullBatches(t *testing.T) {
	n := size(100_000, 10_000)
	most := func(batch int) int { return (n*105 + batch*100 - 1) / (batch * 100) } // 5% over full
	cr := &acct{name: "cr", typ: "cloudrebue", prefix: "+254", limit: 120}
	sb := &acct{name: "sb", typ: "smsbox", prefix: "+255", limit: 10}
	bk := &acct{name: "bk", typ: "bulksmsrates", prefix: "+256", limit: 100, more: "    options: {whole_text: true}\n"}
	c := up(t, []string{"demo"}, cr, sb, bk)
	c.dispatchers(1)
	for _, a := range c.accounts {
		c.operate(a, "pause")
	}
	for _, s := range []struct {
		a     *acct
		batch int
		line  func(i int) env
	}{
		// One number in a hundred comes again at once: it must wait for the next request.
		{cr, 100, func(i int) env {
			return env{"to": number(ke, i-i%100/99), "from": "ACME", "text": "Your code is " + fmt.Sprint(i)}
		}},
		{sb, 1000, func(i int) env {
			return env{"to": number(tz, i), "from": "ACME", "text": "Dear {{name}}, come to our sale", "variables": map[string]string{"name": fmt.Sprintf("Asha %d", i)}}
		}},
		{bk, 10_000, func(i int) env {
			return env{"to": number(ug, i), "from": "ACME", "text": fmt.Sprintf("Order %d of %d is on its way", i, i*7)}
		}},
	} {
		c.lines(n, s.line)
		began := time.Now()
		c.operate(s.a, "resume")
		c.taken(s.a, n, 3*time.Minute)
		took := time.Since(began)
		got := s.a.obeys(t, s.batch)
		if got > most(s.batch) {
			t.Errorf("%s: %d requests for %d messages, want %d at most", s.a.typ, got, n, most(s.batch))
		}
		figure(t, fmt.Sprintf("%d single messages to %s", n, s.a.typ), fmt.Sprintf("≤ %d requests", most(s.batch)), "%d requests in %s", got, took.Round(10*time.Millisecond))
	}
	if got := cr.sim.Ledger().Summary(cr.typ).Duplicates; got != 0 {
		t.Errorf("%d messages were sent twice", got)
	}
}

// One recipient for whom the API refuses a whole request, without naming it, is
// found in few requests; nobody else fails.
func oneBadRecipient(t *testing.T) {
	const n = 10_000
	bk := &acct{name: "bk", typ: "bulksmsrates", prefix: "+256", limit: 100}
	c := up(t, []string{"demo"}, bk)
	c.dispatchers(1)
	for _, bad := range []int{7_531, 0, n - 1}[:size(3, 1)] {
		before := bk.requests()
		e := campaign(ug, 0, n)
		e["recipients"].([]map[string]any)[bad]["to"] = "+256749990013" // magic: the API refuses the request
		a, _ := c.submit(e)
		rig.Eventually(t, time.Minute, "one failed, the others sent", func() (bool, string) {
			got := c.counts(a.ID)
			return got["failed"] == 1 && got["submitted"] == n-1, fmt.Sprint(got)
		})
		extra := bk.requests() - before - 1
		if extra > 15 {
			t.Errorf("%d requests more than one, want 15 at most", extra)
		}
		figure(t, fmt.Sprintf("one bad recipient in %d, at place %d", n, bad), "≤ 15 extra requests", "%d extra", extra)
	}
}
