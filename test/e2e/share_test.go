package e2e

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Three dispatchers share one account: everything is delivered, each message is
// sent once, all three work, and together they keep the account's limit.
func TestThreeDispatchersShareTheWork(t *testing.T) {
	t.Parallel()
	const limit = 40
	r := up(t, settings{requests: limit, batch: 50}, 3)
	l := newLoad(r.cluster)
	many, one := few(50, 10), few(1000, 100)
	var envelopes []map[string]any
	for i := range many {
		envelopes = append(envelopes, campaign(numbers(10_000_000+i*100, 100)))
	}
	for _, n := range numbers(20_000_000, one) {
		envelopes = append(envelopes, single(n))
	}
	l.submit(t, "share", envelopes...)
	got := l.settled(t, 60*time.Second)
	if want := many*100 + one; got["delivered"] != want {
		t.Errorf("%v, want %d delivered", got, want)
	}
	l.onceEach(t, nil)
	r.sim.within(t, "cloudrebue", limit)
	for i, d := range r.dispatchers {
		if n := d.metric("tuma_requests_total", `account="cloudrebue-main"`, `class="accepted"`); n < 1 {
			t.Errorf("dispatcher %d made no request", i+1)
		} else {
			t.Logf("dispatcher %d made %v requests", i+1, n)
		}
	}
	t.Logf("gateway: %+v", r.sim.summary(t, "cloudrebue"))
}

// metric reads one sample of /metrics that has all the labels; 0 without one.
func (n *node) metric(name string, labels ...string) float64 {
	n.t.Helper()
	resp, err := n.c.client.Get("http://" + n.admin + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		n.t.Fatalf("%s: /metrics: %s", n.name, resp.Status)
	}
	sum := 0.0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		all := true
		for _, l := range labels {
			all = all && strings.Contains(line, l)
		}
		if v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64); all && err == nil {
			sum += v
		}
	}
	return sum
}
