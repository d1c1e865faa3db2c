package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/test/rig"
)

// A nemesis works on a running installation under load; then all comes back, and
// what was promised has to be true.
func TestChaos(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d, %s, %d NATS servers", *seed, *duration, *nodes)
	f := newFleet(t, built(t))
	ctx, stop := context.WithCancel(t.Context())
	loaded := make(chan struct{})
	began := time.Now()
	go func() { defer close(loaded); f.press(ctx, rand.New(rand.NewPCG(*seed, 2))) }()
	n := &nemesis{f: f, rand: rand.New(rand.NewPCG(*seed, 1)), did: map[string]int{}, busy: map[string]bool{}}
	n.work(t, began.Add(*duration))
	stop()
	<-loaded
	healed := time.Now()
	j := f.judge(f.drain(t, 3*time.Minute))
	drained := time.Since(healed)
	for _, typ := range types(chaosTypes) {
		at := f.arrived(typ)
		if len(at) == 0 {
			at = ledgerTimes(f.world, typ)
		}
		if j.most[typ] = rig.Most(at, time.Second); j.most[typ] > chaosLimit {
			j.breaks("%s: %d requests within a second, the limit is %d", typ, j.most[typ], chaosLimit)
		}
	}
	if keysLost := n.did["Redis killed"]+n.did["Redis flushed"] > 0 && n.did["NATS killed"]+n.did["NATS restarted"] > 0; j.forgotten > 0 && !keysLost {
		j.breaks("accepted twice: %d messages, though not both Redis and NATS had forgotten", j.forgotten)
	}
	j.show(t, f.Dir)
	if j.messages == 0 || j.taken == 0 {
		t.Error("nothing was accepted: nothing is proved")
	}
	fmt.Print(j.report(n, f, drained))
}

// show tells some of each kind of what is broken, and writes all of it down.
func (j *judgement) show(t *testing.T, dir string) {
	shown := map[string]int{}
	for _, b := range j.broken {
		kind, _, _ := strings.Cut(b, ":")
		if shown[kind]++; shown[kind] <= 4 {
			t.Error(b)
		}
	}
	for kind, n := range shown {
		t.Logf("%d × %s", n, kind)
	}
	rig.Write(t, filepath.Join(dir, "broken.txt"), strings.Join(j.broken, "\n"))
}

// ledgerTimes are the instants at which a gateway came to read headers.
func ledgerTimes(w *world, typ string) []time.Time {
	var out []time.Time
	for e := range w.sim.Ledger().Each(typ) {
		out = append(out, e.Time)
	}
	return sorted(out)
}

func sorted(at []time.Time) []time.Time {
	slices.SortFunc(at, time.Time.Compare)
	return at
}

// report is what a run prints.
func (j *judgement) report(n *nemesis, f *fleet, drained time.Duration) string {
	var b strings.Builder
	line := func(what string, format string, args ...any) {
		fmt.Fprintf(&b, "%-34s %s\n", what, fmt.Sprintf(format, args...))
	}
	line("seed", "%d (%s, %d NATS)", *seed, *duration, *nodes)
	for _, name := range slices.Sorted(maps.Keys(n.did)) {
		line("  "+name, "%d", n.did[name])
	}
	line("messages", "%d accepted, %d without an answer, answers but 202 %v", j.messages, j.unknown, f.l.answers)
	line("lost", "%d", j.lost)
	line("twice outside uncertainty", "%d", j.twice)
	line("accepted twice under one key", "%d, by a Redis and a NATS that had both forgotten it", j.forgotten)
	line("uncertain", "%d left, %d sent again as their policy says", j.uncertain, j.retried)
	line("most requests in any second", "%v, the limit is %d", j.most, chaosLimit)
	line("reports", "%d answered 2xx; %d messages taken, %d of them reported, %d left without", j.reports, j.taken, j.matched, len(j.unreported))
	line("statuses", "%v", j.statuses)
	line("drained after", "%s", drained.Round(time.Second))
	line("promises broken", "%d", len(j.broken))
	return b.String()
}

// press submits until ctx is done, and until all that it has begun is accepted or
// given up.
func (f *fleet) press(ctx context.Context, random *rand.Rand) {
	var group sync.WaitGroup
	room := make(chan struct{}, 200)
	every := time.NewTicker(time.Second / time.Duration(*rate))
	defer every.Stop()
	js := f.publisher()
	publish := func(ctx context.Context, subject, id string, data []byte) error {
		_, err := js.Publish(ctx, subject, data, jetstream.WithMsgID(id))
		return err
	}
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			group.Wait()
			return
		case <-every.C:
		}
		select {
		case room <- struct{}{}:
		default:
			continue // the clients wait for answers
		}
		s := f.submission(random, i)
		group.Go(func() {
			defer func() { <-room }()
			s(publish)
		})
	}
}

// submission chooses what one client does next.
func (f *fleet) submission(random *rand.Rand, i int) func(publish func(context.Context, string, string, []byte) error) {
	typ := types(chaosTypes)[random.IntN(3)]
	priority, n, more, key := "high", 1, map[string]any{}, fmt.Sprint("chaos-", *seed, "-", i)
	bus, cancel := false, random.IntN(12) == 0
	switch k := random.IntN(20); {
	case k < 4:
		priority, n = "normal", 1+random.IntN(3*chaosBatch)
	case k < 6:
		more["send_at"] = time.Now().Add(time.Duration(1000+random.IntN(8000)) * time.Millisecond)
	case k < 7:
		more["supersede_key"] = fmt.Sprint("key-", random.IntN(5))
	case k < 8:
		priority, more["expires_at"] = "normal", time.Now().Add(time.Duration(500+random.IntN(3000))*time.Millisecond)
	case k < 9:
		priority, n = "bulk", 1+random.IntN(chaosBatch)
	case k < 11:
		bus = true
	case k < 13:
		key = "" // a client that gives up when the connection breaks
	}
	e, ms := f.l.envelope(typ, priority, n, more)
	if priority == "high" { // retries wait for seconds
		e["on_uncertain"] = "retry"
		for _, m := range ms {
			m.retry = true
		}
	}
	after := time.Duration(random.IntN(800)) * time.Millisecond
	return func(publish func(context.Context, string, string, []byte) error) {
		ctx, end := context.WithTimeout(context.Background(), 60*time.Second)
		defer end()
		if bus {
			if err := f.l.publish(ctx, publish, key, priority, e, ms); err != nil {
				f.t.Errorf("publish: %v", err)
			}
			return
		}
		id, err := f.l.submit(ctx, key, e, ms)
		if err != nil && !strings.Contains(err.Error(), "expired") { // a repeat may come when its time is over
			f.t.Errorf("submit: %v", err)
		}
		if id != "" && cancel {
			select {
			case <-ctx.Done():
			case <-time.After(after):
			}
			f.l.cancel(ctx, id)
		}
	}
}
