package dispatch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

func TestBacklogLeavesInFullBatchesOnce(t *testing.T) {
	r := newRig(t, "a")
	for i := range 500 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i, 1))
	}
	g := newGateway(100)
	r.dispatcher("d1", r.account("a", g))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 500 })
	eachOnce(t, g, 500)
	if n := g.requests(); n > 7 {
		t.Errorf("%d requests for 500 messages in batches of 100", n)
	}
}

func TestNeverOneNumberTwiceInARequest(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(100)
	for i := range 10 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), 7, 1))
	}
	r.dispatcher("d1", r.account("a", g))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 10 })
	if n := g.requests(); n != 10 {
		t.Errorf("%d requests for ten messages to one number", n)
	}
}

func TestThreeDispatchersShareWithoutOverlap(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	for i := range 3 {
		r.dispatcher(fmt.Sprintf("d%d", i), r.account("a", g))
	}
	for i := range 60 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i*10, 10))
	}
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 600 })
	eachOnce(t, g, 600)
}

// A limit may count messages, and take less in its window than a batch holds.
func TestCountedLimitCutsTheBatch(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(100)
	counted := func(a *dispatch.Account) {
		s, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", MaxLate: 20 * time.Millisecond, Limits: []ratelimit.Limit{
			{Requests: 100, Per: time.Second}, {Messages: 15, Per: 2 * time.Second},
		}})
		if err != nil {
			t.Fatal(err)
		}
		a.Slots, a.Counted = s, true
	}
	r.queue(r.piece("e", 0, 30))
	r.dispatcher("d1", r.account("a", g, counted))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 30 })
	eachOnce(t, g, 30)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.sent {
		if len(b) > 15 {
			t.Errorf("a request of %d messages, the window takes 15", len(b))
		}
	}
}

// What is left of a day's allowance is used, though a batch takes more.
func TestCountedLimitIsUsedToItsEnd(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(100)
	counted := func(a *dispatch.Account) {
		s, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", Jitter: time.Second, MaxLate: time.Second, Limits: []ratelimit.Limit{
			{Requests: 100, Per: time.Second}, {Messages: 15, Per: time.Hour},
		}})
		if err != nil {
			t.Fatal(err)
		}
		a.Slots, a.Counted = s, true
	}
	r.queue(r.piece("e", 0, 20))
	r.dispatcher("d1", r.account("a", g, counted))
	r.until("as many submitted as may be", func() bool { return r.count(envelope.Submitted) == 15 })
	eachOnce(t, g, 15)
}

func TestOneBadMessageFailsNobodyElse(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1000)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		for _, m := range b.Messages {
			if m.To == number(617) {
				return nil, &providers.Error{Class: providers.Rejected, Status: 400, Bisect: true}
			}
		}
		return accepted(b), nil
	}
	r.queue(r.piece("e", 0, 1000))
	r.dispatcher("d1", r.account("a", g))
	r.until("all but one submitted", func() bool { return r.count(envelope.Submitted) == 999 && r.count(envelope.Failed) == 1 })
	if got := r.status["e-617"]; len(got) != 1 || got[0] != envelope.Failed {
		t.Errorf("the bad one told %v", got)
	}
	if n := g.requests(); n > 12 {
		t.Errorf("%d requests to find one in 1000, want at most 12", n)
	}
}
