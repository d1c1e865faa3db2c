package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// reasons returns what the journal says of accounts' health, in order.
func (r *rig) reasons() (out []string) {
	s, err := r.bus.State(context.Background(), bus.JournalStream)
	if err != nil {
		return nil
	}
	_ = r.bus.Range(context.Background(), bus.JournalStream, 1, int(s.LastSeq), func(m *bus.Msg) {
		var rec idempotency.Record
		if json.Unmarshal(m.Data, &rec) == nil && rec.Kind == idempotency.Health {
			out = append(out, rec.Reason)
		}
	})
	return out
}

// An open breaker holds for the whole cluster, is tried by small requests, and
// its end is told, too.
func TestOpenBreakerIsSharedAndProbed(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(100)
	var ill atomic.Bool
	ill.Store(true)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		if ill.Load() {
			return nil, &providers.Error{Class: providers.Unavailable, Err: errors.New("refused")}
		}
		return accepted(b), nil
	}
	for i := range 300 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i, 1))
	}
	for i := range 2 {
		r.dispatcher(fmt.Sprintf("d%d", i), r.account("a", g, func(a *dispatch.Account) { a.Failures = 2 }))
	}
	r.until("the breaker opened", func() bool { return len(r.reasons()) > 0 })
	settled := time.After(400 * time.Millisecond) // what was on its way has ended
	<-settled
	tried := g.requests()
	ill.Store(false)
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 300 })
	r.until("told that it is well", func() bool { s := r.reasons(); return s[len(s)-1] == "well" })
	if got := r.reasons(); got[0] != "breaker" {
		t.Errorf("told %q", got)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.sent[tried]); n > 1 {
		t.Errorf("the probe carried %d messages", n)
	}
}

// A day's allowance that is used up parks the account until the next day: it is
// not asked again, and what waits goes where it can.
func TestUsedUpQuotaParksTheAccount(t *testing.T) {
	r := newRig(t, "a", "b")
	daily, other := newGateway(10), newGateway(10)
	daily.answer = func(*providers.Batch) ([]providers.Result, error) {
		return nil, &providers.Error{Class: providers.Throttled, Status: 429, RetryAfter: 16 * time.Hour, Need: providers.NeedQuota}
	}
	moving := r.piece("e", 0, 5)
	moving.Priority, moving.Route = envelope.High, []string{"b"}
	r.queue(moving)
	r.queue(r.piece("f", 10, 5)) // has nowhere else to go
	r.dispatcher("d1", r.account("a", daily, func(a *dispatch.Account) { a.Concurrency = 1 }), r.account("b", other))
	r.until("those that can have moved", func() bool { return r.count(envelope.Submitted) == 5 })
	if n := daily.requests(); n != 1 {
		t.Errorf("%d requests to an account that takes nothing more today", n)
	}
	if got := r.reasons(); len(got) != 1 || got[0] != "quota" {
		t.Errorf("told %q", got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.status) != 5 || len(r.dead) != 0 {
		t.Errorf("told of %d messages, %d dead letters; those that wait are to be left alone", len(r.status), len(r.dead))
	}
}

// Wrong credentials or an empty balance burn nothing and are asked about seldom.
func TestRefusedAccountWaitsWithoutBurningAnything(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	g.answer = func(*providers.Batch) ([]providers.Result, error) {
		return nil, &providers.Error{Class: providers.Misconfigured, Status: 401, Code: "UNAUTHORIZED"}
	}
	r.queue(r.piece("e", 0, 5))
	r.dispatcher("d1", r.account("a", g))
	r.until("told", func() bool { return len(r.reasons()) > 0 })
	quiet := time.After(1500 * time.Millisecond) // nothing is to happen: there is no event to wait for
	<-quiet
	if n := g.requests(); n != 1 {
		t.Errorf("%d requests to an account that refuses us", n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.status) != 0 || len(r.dead) != 0 {
		t.Errorf("told of %d messages, %d dead letters", len(r.status), len(r.dead))
	}
}

// What others found holds for as long as they say, whatever the clocks of two machines
// say of each other.
func TestOthersFindingsLastNoLongerOnASlowClock(t *testing.T) {
	r := newRig(t, "a")
	p := r.past()
	slow := func() time.Time { return time.Now().Add(-time.Hour) }
	r.start("d1", dispatch.Options{Accounts: []dispatch.Account{r.account("a", newGateway(10))}, Observer: silent{}, Now: slow})
	r.queue(r.piece("before", 0, 1))
	r.until("it sends", func() bool { return r.count(envelope.Submitted) == 1 })
	p.write(idempotency.Record{Kind: idempotency.Health, Reason: "breaker", LeaseMillis: 500})
	r.queue(r.piece("after", 1, 1))
	r.until("it sends again", func() bool { return r.count(envelope.Submitted) == 2 })
}
