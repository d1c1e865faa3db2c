package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// redis is one limiter that several dispatchers share, and lose.
type redis struct {
	dispatch.Slots
	down atomic.Bool
}

func (r *redis) Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error) {
	if r.down.Load() {
		return ratelimit.Slot{}, fmt.Errorf("%w: gone", ratelimit.ErrUnavailable)
	}
	return r.Slots.Next(ctx, messages, backlog)
}

func (r *redis) Ready(ctx context.Context) error {
	if r.down.Load() {
		return fmt.Errorf("%w: gone", ratelimit.ErrUnavailable)
	}
	return r.Slots.Ready(ctx)
}

const pacedRate = 50

func (r *rig) paced() dispatch.Slots {
	s, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", Limits: []ratelimit.Limit{{Requests: pacedRate, Per: time.Second}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) onRedis(s dispatch.Slots, g *gateway) dispatch.Account {
	// Held for longer than others wait in silence, as real accounts are: the new
	// sender must not be replaced before it could begin.
	return r.account("a", g, func(a *dispatch.Account) { a.Slots, a.Alone, a.Hold = s, r.paced(), 3100*time.Millisecond })
}

// senders returns what the journal says of single senders, in order.
func (r *rig) senders() (out []string) {
	var last uint64
	if s, err := r.bus.State(context.Background(), bus.JournalStream); err == nil {
		last = s.LastSeq
	}
	_ = r.bus.Range(context.Background(), bus.JournalStream, 1, int(last), func(m *bus.Msg) {
		var rec idempotency.Record
		if json.Unmarshal(m.Data, &rec) != nil || rec.Kind != idempotency.Sender {
			return
		}
		now := ""
		if len(out) > 0 {
			now = out[len(out)-1]
		}
		if rec.Was == now { // the others came too late and did nothing
			out = append(out, rec.Sender)
		}
	})
	return out
}

// most returns the most requests in any second.
func (g *gateway) most(window time.Duration) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	most, from := 0, 0
	for to := range g.at {
		for g.at[to].Sub(g.at[from]) >= window {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

// Redis gone for everybody: one dispatcher goes on alone, within the limit, and
// all go back to Redis when it returns.
func TestWithoutRedisOneSendsAlone(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1)
	shared := &redis{Slots: r.paced()}
	for i := range 3 {
		r.dispatcher(fmt.Sprintf("d%d", i), r.onRedis(shared, g))
	}
	n := 0
	more := func(k int) {
		for range k {
			r.queue(r.piece(fmt.Sprintf("e%d", n), n, 1))
			n++
		}
	}
	more(60)
	r.until("some submitted by Redis's slots", func() bool { return r.count(envelope.Submitted) >= 10 })
	shared.down.Store(true)
	more(60)
	r.until("all submitted without Redis", func() bool { return r.count(envelope.Submitted) == n })
	if s := r.senders(); len(s) != 1 || s[0] == "" {
		t.Errorf("single senders: %q, want one", s)
	}
	shared.down.Store(false)
	more(60)
	r.until("all submitted, back on Redis", func() bool { return r.count(envelope.Submitted) == n })
	more(1)
	r.until("the regime is Redis's again", func() bool { s := r.senders(); return len(s) == 2 && s[1] == "" })
	r.until("the last submitted", func() bool { return r.count(envelope.Submitted) == n })
	eachOnce(t, g, n)
	if most := g.most(time.Second); most > pacedRate {
		t.Errorf("%d requests in one second, the limit is %d", most, pacedRate)
	}
}

// Redis gone for one dispatcher only: that one idles, the others go on.
func TestWhoAloneLosesRedisIdles(t *testing.T) {
	r := newRig(t, "a")
	g, lonely := newGateway(1), newGateway(1)
	slots := r.paced()
	cut := &redis{Slots: slots}
	cut.down.Store(true)
	r.dispatcher("whole", r.onRedis(slots, g))
	r.dispatcher("cut", r.onRedis(cut, lonely))
	for i := range 250 { // five seconds of sending: longer than the silence
		r.queue(r.piece(fmt.Sprintf("e%d", i), i, 1))
	}
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 250 })
	eachOnce(t, g, 250)
	if s := r.senders(); len(s) != 0 || lonely.requests() != 0 {
		t.Errorf("single senders %q, %d requests by the one without Redis", s, lonely.requests())
	}
}
