package dispatch_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// pauses notes what it is told to stop for.
type pauses struct {
	dispatch.Slots
	mu   sync.Mutex
	told []time.Duration
}

func (p *pauses) Pause(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	p.told = append(p.told, d)
	p.mu.Unlock()
	return p.Slots.Pause(ctx, d)
}

// A gateway that takes a request and says that its limit is used up gets no other
// until it said, from nobody: the pause is the slots'.
func TestLimitUsedUpPausesEverybody(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1)
	const wait = 700 * time.Millisecond
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		results := accepted(b)
		if g.requests() == 1 {
			results[0].RetryAfter = wait
		}
		return results, nil
	}
	r.queue(r.piece("e", 0, 3))
	var p *pauses
	r.dispatcher("d1", r.account("a", g, func(a *dispatch.Account) {
		a.Concurrency = 1
		p = &pauses{Slots: a.Slots}
		a.Slots = p
	}))
	r.until("all sent", func() bool { return r.count(envelope.Submitted) == 3 })
	eachOnce(t, g, 3)
	g.mu.Lock()
	defer g.mu.Unlock()
	if gap := g.at[1].Sub(g.at[0]); gap < wait {
		t.Errorf("the next request came after %v, want %v at least", gap, wait)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.told) != 1 || p.told[0] != wait {
		t.Errorf("paused %v", p.told)
	}
}

// A slot that went to something that had to come first (a new token) is nobody's
// fault: the messages go at once, in the next one.
func TestSomethingHadToComeFirst(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		if g.requests() <= 6 { // the breaker opens after five failures
			return nil, &providers.Error{Class: providers.Unavailable, Err: providers.ErrAgain}
		}
		return accepted(b), nil
	}
	r.queue(r.piece("e", 0, 3))
	r.dispatcher("d1", r.account("a", g, func(a *dispatch.Account) { a.Concurrency = 1 }))
	r.until("all sent", func() bool { return r.count(envelope.Submitted) == 3 })
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.at) != 7 || g.at[6].Sub(g.at[0]) > 2*time.Second || len(g.sent[6]) != 3 {
		t.Errorf("%d requests in %v, the last of %d messages", len(g.at), g.at[len(g.at)-1].Sub(g.at[0]), len(g.sent[len(g.sent)-1]))
	}
}
