package strength

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/test/rig"
)

// record is one record of the journal and when it was stored.
type record struct {
	idempotency.Record
	at time.Time
}

// journal returns the records of one kind.
func (c *cluster) journal(kind idempotency.Kind) []record {
	c.T.Helper()
	s, err := c.bus.State(c.T.Context(), bus.JournalStream)
	if err != nil {
		c.T.Fatal(err)
	}
	var out []record
	err = c.bus.Range(c.T.Context(), bus.JournalStream, 1, int(s.LastSeq), func(m *bus.Msg) {
		var r idempotency.Record
		if json.Unmarshal(m.Data, &r) == nil && r.Kind == kind {
			out = append(out, record{r, m.Time})
		}
	})
	if err != nil {
		c.T.Fatal(err)
	}
	return out
}

// owners counts the dispatchers that wrote intents between two instants.
func (c *cluster) owners(from, to time.Time) int {
	c.T.Helper()
	seen := map[string]bool{}
	for _, r := range c.journal(idempotency.Intent) {
		if r.at.After(from) && r.at.Before(to) {
			seen[r.Owner] = true
		}
	}
	return len(seen)
}

// backlog queues enough for an account to send so many seconds at its limit.
func (c *cluster) backlog(a *acct, seconds int, more ...func(env)) {
	c.T.Helper()
	for first := 0; first < a.limit*a.batch*seconds; first += 1000 {
		c.submit(campaign(a.prefix+"7", first, 1000, more...))
	}
}

// goesOn waits until an account sends again, or still.
func (a *acct) goesOn(t *testing.T, what string) {
	t.Helper()
	n := a.requests()
	rig.Eventually(t, 10*time.Second, what, func() (bool, string) { return a.requests() > n+20, fmt.Sprint(a.requests() - n) })
}

// Redis is killed and starts anew, empty; then it is gone for good, until it is
// back. No window holds too much at any of the switches.
func redisDies(t *testing.T) {
	a := &acct{name: "cr", typ: "cloudrebue", prefix: "+254", limit: 120, batch: 2}
	c := up(t, []string{"demo"}, a)
	c.backlog(a, size(90, 40))
	c.dispatchers(size(4, 2))
	c.settle()
	rig.Pass(t, 2*time.Second)

	for range size(3, 1) {
		killed := time.Now()
		c.RedisServer.Kill()
		c.startRedis()
		a.goesOn(t, "sending goes on after Redis's quarantine")
		figure(t, "Redis killed and started anew: sending again after", "3.1 s of quarantine", "%s", time.Since(killed).Round(10*time.Millisecond))
		rig.Pass(t, 2*time.Second)
	}
	if got := c.journal(idempotency.Sender); len(got) != 0 {
		t.Errorf("a restart of Redis made somebody send alone: %+v", got)
	}

	killed := time.Now()
	c.RedisServer.Kill()
	rig.Eventually(t, 10*time.Second, "somebody sends alone", func() (bool, string) {
		s := c.journal(idempotency.Sender)
		return len(s) > 0, fmt.Sprint(s)
	})
	declared := c.journal(idempotency.Sender)[0].at
	figure(t, "Redis gone for all: degraded mode after", "≤ 5 s", "%s", declared.Sub(killed).Round(10*time.Millisecond))
	if declared.Sub(killed) > 5*time.Second {
		t.Errorf("degraded mode %s after Redis was gone", declared.Sub(killed))
	}
	a.goesOn(t, "it sends")
	from, timers := time.Now(), watchTimers(c.T)
	rig.Pass(t, time.Duration(size(10, 3))*time.Second)
	late := timers.share()
	a.used(t, "one of them sends, without Redis", from, time.Now(), late)
	if k := c.owners(from, time.Now()); k != 1 {
		t.Errorf("%d dispatchers sent without Redis", k)
	}

	back := time.Now()
	c.startRedis()
	rig.Eventually(t, 20*time.Second, "Redis's slots are in force again", func() (bool, string) {
		s := c.journal(idempotency.Sender)
		return len(s) > 1 && s[len(s)-1].Sender == "", fmt.Sprint(s)
	})
	a.goesOn(t, "sending goes on by Redis's slots")
	figure(t, "Redis back: its slots in use after", "by itself", "%s", time.Since(back).Round(10*time.Millisecond))
	rig.Pass(t, 2*time.Second)
	figure(t, "most in any second over all of Redis's deaths", "≤ 120", "%s", a.within(t, a.limit, time.Second))
	a.agrees(t)
}

// A dispatcher that alone cannot reach Redis idles, and works again once it can.
func redisGoneForOne(t *testing.T) {
	a := &acct{name: "cr", typ: "cloudrebue", prefix: "+254", limit: 120, batch: 2}
	c := up(t, []string{"demo"}, a)
	c.backlog(a, size(60, 35))
	wire := newWire(t, c.Redis)
	one := c.launch("dispatcher", wire.addr)
	others := c.dispatchers(2)
	c.Ready(one)
	c.settle()
	rig.Pass(t, time.Second)
	wire.set(false)
	rig.Pass(t, time.Second)
	from, timers := time.Now(), watchTimers(c.T)
	rig.Pass(t, time.Duration(size(12, 5))*time.Second)
	to, late := time.Now(), timers.share()
	a.used(t, "Redis gone for one of 3 dispatchers: the others send", from, to, late)
	if k := c.owners(from, to); k != len(others) {
		t.Errorf("%d dispatchers sent while one was cut off from Redis", k)
	}
	if s := c.journal(idempotency.Sender); len(s) != 0 {
		t.Errorf("somebody sends alone although the others have Redis: %+v", s)
	}
	wire.set(true)
	rig.Eventually(t, 10*time.Second, "it works again", func() (bool, string) {
		k := c.owners(to, time.Now())
		return k == 1+len(others), fmt.Sprint(k)
	})
	a.within(t, a.limit, time.Second)
	a.agrees(t)
}

// wire is a way to a server that can be cut.
type wire struct {
	addr string

	mu    sync.Mutex
	open  bool
	conns map[net.Conn]struct{}
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String(), open: true, conns: map[net.Conn]struct{}{}}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { w.join(in, to) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); w.set(false); work.Wait() })
	return w
}

// join copies in both directions until either side ends or the wire is cut.
func (w *wire) join(in net.Conn, to string) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	w.mu.Lock()
	if !w.open {
		w.mu.Unlock()
		return
	}
	w.conns[in], w.conns[out] = struct{}{}, struct{}{}
	w.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
	both.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, in)
	delete(w.conns, out)
}

func (w *wire) set(open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open = open; !open {
		for c := range w.conns {
			_ = c.Close()
		}
	}
}

// A 429 pauses all dispatchers for as long as it says, in either form.
func throttled(t *testing.T) {
	a := &acct{name: "cr", typ: "cloudrebue", prefix: "+254", limit: 120, batch: 2}
	c := up(t, []string{"demo"}, a)
	c.backlog(a, size(40, 30))
	c.dispatchers(size(4, 2))
	c.settle()
	for _, form := range []string{"3", "date"} {
		began := time.Now()
		if err := a.sim.SetFaults(simulator.Fault{Kind: "throttle", Next: 1, RetryAfter: form}); err != nil {
			t.Fatal(err)
		}
		var at time.Time
		rig.Eventually(t, 10*time.Second, "a 429", func() (bool, string) {
			for e := range a.sim.Ledger().Each(a.typ) {
				if e.Status == 429 && e.Time.After(began) {
					at = e.Time
				}
			}
			return !at.IsZero(), ""
		})
		until := at.Add(3 * time.Second)
		if form == "date" { // it tells whole seconds
			until = at.Add(2 * time.Second).Truncate(time.Second)
			if until.Sub(at) < 1500*time.Millisecond {
				until = at.Add(time.Second) // the least that a 429 pauses
			}
		}
		n := a.requests()
		rig.Eventually(t, 10*time.Second, "sending goes on", func() (bool, string) { return time.Now().After(until) && a.requests() > n+20, fmt.Sprint(a.requests()) })
		early, last := 0, time.Duration(0)
		arrived, _ := a.arrivals()
		for _, x := range arrived {
			if since := x.Sub(at); since > 0 && x.Before(until) {
				early, last = early+1, since
			}
		}
		figure(t, "429 with Retry-After as "+form+": requests in the pause", "what was leased (≤ 13)", "%d, the last after %s", early, ms(last))
		if last > 250*time.Millisecond {
			t.Errorf("Retry-After as %s: a request %s after the 429, told to wait for %s", form, last, until.Sub(at))
		}
		if err := a.sim.SetFaults(); err != nil {
			t.Fatal(err)
		}
		rig.Pass(t, time.Second)
	}
	a.within(t, a.limit, time.Second)
}

// A gateway that takes two seconds for each answer does not cost use, and urgent
// messages find a free place.
func slowGateway(t *testing.T) {
	a := &acct{name: "cr", typ: "cloudrebue", prefix: "+254", limit: 120, batch: 2}
	c := up(t, []string{"demo"}, a)
	if err := a.sim.SetFaults(simulator.Fault{Kind: "latency", Delay: simulator.Duration(2 * time.Second), After: true}); err != nil {
		t.Fatal(err)
	}
	c.backlog(a, size(40, 20), priority("bulk"))
	c.dispatchers(1)
	c.settle()
	rig.Pass(t, 3*time.Second)
	from, timers := time.Now(), watchTimers(c.T)
	n := size(100, 30)
	urgent, _ := c.paced(a, 10, n, func(i int) env {
		return env{"to": number(ke, 5_000_000+i), "from": "ACME", "text": "Your code", "priority": "high"}
	})
	late := timers.share()
	a.used(t, "a gateway that takes 2 s to answer", from, time.Now(), late)
	report(t, "urgent messages meanwhile", 150*time.Millisecond+slotOf(a), urgent, late)
	a.within(t, a.limit, time.Second)
}
