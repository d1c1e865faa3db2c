package e2e

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Redis is killed under load: one dispatcher goes on alone, all share the work
// again once Redis is back, and a Redis that forgets everything is survived too.
// Never over the limit, nothing lost and nothing twice.
func TestRedisDiesUnderLoad(t *testing.T) {
	t.Parallel()
	const limit, batch = 20, 20
	r := up(t, settings{requests: limit, batch: batch}, 2)
	l := newLoad(r.cluster)
	count := few(300, 200)
	var envelopes []map[string]any
	for i := range count {
		envelopes = append(envelopes, campaign(numbers(10_000_000+i*100, batch)))
	}
	l.submit(t, "redis", envelopes...)
	all := count * batch

	r.sim.taken(t, "cloudrebue", all/8, 30*time.Second)
	stop(r.redisServer, syscall.SIGKILL)
	r.degraded(t, "redis")
	r.stands(t)
	before := r.requests()
	r.sim.taken(t, "cloudrebue", r.sim.summary(t, "cloudrebue").AcceptedMessages+all/8, 30*time.Second)
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
	l.submit(t, "while away", campaign(numbers(20_000_000, batch)))
	all += batch

	r.startRedis()
	r.degraded(t)
	before = r.requests()
	eventually(t, 30*time.Second, "all dispatchers work again with Redis back", func() (bool, string) {
		now := r.requests()
		for i := range now {
			if now[i] == before[i] {
				return false, sprint(now)
			}
		}
		return true, ""
	})
	if s := r.sim.summary(t, "cloudrebue"); s.AcceptedMessages == all {
		t.Error("all was sent before Redis forgot: the story proves less than it says")
	}
	r.flush(t)
	got := l.settled(t, 60*time.Second)
	if got["delivered"] != all {
		t.Errorf("%v, want %d delivered", got, all)
	}
	l.onceEach(t, nil)
	r.sim.within(t, "cloudrebue", limit)
	t.Logf("gateway %+v", r.sim.summary(t, "cloudrebue"))
}

// degraded waits until all dispatchers are ready without just these.
func (r *running) degraded(t *testing.T, without ...string) {
	t.Helper()
	for _, d := range r.dispatchers {
		eventually(t, 10*time.Second, sprint(without)+" missing, and said so", func() (bool, string) {
			code, h := d.readyz()
			return code == 200 && slices.Equal(h.Degraded, without), sprint(h)
		})
	}
}

// requests says how many requests each dispatcher has made.
func (r *running) requests() []float64 {
	var out []float64
	for _, d := range r.dispatchers {
		out = append(out, d.metric("tuma_requests_total", `class="accepted"`))
	}
	return out
}

// logged counts the dispatchers' log lines with some words.
func (r *running) logged(words string) int {
	n := 0
	for _, d := range r.dispatchers {
		n += strings.Count(d.stderr(), words)
	}
	return n
}

// stands waits until the gateway gets no more for a second.
func (r *running) stands(t *testing.T) {
	t.Helper()
	last, since := -1, time.Now()
	eventually(t, 10*time.Second, "nothing is sent while it is not known by whom", func() (bool, string) {
		s := r.sim.summary(t, "cloudrebue")
		if s.Requests != last {
			last, since = s.Requests, time.Now()
		}
		return time.Since(since) > time.Second, sprint(s)
	})
}

// flush makes Redis forget everything.
func (c *cluster) flush(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", c.redis)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("FLUSHALL\r\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "+OK\r\n" {
		t.Fatalf("FLUSHALL: %q %v", line, err)
	}
}
