package dispatch_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// gauges keeps what was last told.
type gauges struct {
	silent

	mu       sync.Mutex
	sendable int // -1: not told yet
	backlog  map[envelope.Priority]int
	oldest   map[envelope.Priority]time.Duration
	modes    map[string]bool
}

func (g *gauges) Sendable(_ string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sendable = n
}

func (g *gauges) Backlog(_ string, p envelope.Priority, n int, oldest time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.backlog[p], g.oldest[p] = n, oldest
}

func (g *gauges) Mode(_, mode string, on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.modes[mode] = on
}

// mode reports whether a mode was told, and is on or off.
func (g *gauges) mode(name string, on bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	told, ok := g.modes[name]
	return ok && told == on
}

// shows reports whether the gauges stand at these figures.
func (g *gauges) shows(sendable, high, normal int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sendable == sendable && g.backlog[envelope.High] == high && g.backlog[envelope.Normal] == normal &&
		(g.oldest[envelope.High] > 0) == (high > 0) && (g.oldest[envelope.Normal] > 0) == (normal > 0)
}

func (r *rig) watched(owner string, a dispatch.Account) *gauges {
	g := &gauges{sendable: -1, backlog: map[envelope.Priority]int{}, oldest: map[envelope.Priority]time.Duration{}, modes: map[string]bool{}}
	r.start(owner, dispatch.Options{Accounts: []dispatch.Account{a}, Observer: g, MeasureEvery: 50 * time.Millisecond})
	return g
}

func (r *rig) pause(account string, on bool) {
	r.t.Helper()
	data, err := json.Marshal(idempotency.Record{Kind: idempotency.Mode, Account: account, Paused: on})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.bus.Publish(r.t.Context(), bus.Out{Subject: bus.JournalSubject(string(idempotency.Mode), account), Data: data}); err != nil {
		r.t.Fatal(err)
	}
}

// What waits is told in messages and for the whole cluster, whoever holds it; what
// is sendable of it goes by the limit, and is nothing where more dispatchers would
// be of no use.
func TestSendableIsWhatMoreDispatchersCouldSend(t *testing.T) {
	r := newRig(t, "a")
	gw := newGateway(10)
	acct := r.account("a", gw, func(a *dispatch.Account) { a.Rate = 1 })
	closed := r.gated(&acct)
	for i := range 40 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i*50, 50))
	}
	for i := range 3 {
		r.queue(r.piece(fmt.Sprintf("otp%d", i), 5000+i, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	}
	one, two := r.watched("d1", acct), r.watched("d2", acct)
	both := func(sendable, high, normal int) func() bool {
		return func() bool { return one.shows(sendable, high, normal) && two.shows(sendable, high, normal) }
	}
	const most = 1 * 10 * 60 // rate, batch, seconds
	r.until("both tell all of it, and a minute's worth as sendable", both(most, 3, 2000))
	r.pause("a", true)
	r.until("nothing is sendable while the account is paused", both(0, 3, 2000))
	r.pause("a", false)
	r.until("it is again", both(most, 3, 2000))
	close(closed.open)
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 2003 })
	r.until("nothing waits any more", both(0, 0, 0))
}

// A piece that expired still waits for its turn, and is nothing to scale for.
func TestWhatExpiredIsNotSendable(t *testing.T) {
	r := newRig(t, "a")
	acct := r.account("a", newGateway(10))
	r.gated(&acct)
	r.queue(r.piece("old", 0, 20, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(2 * time.Second) }))
	g := r.watched("d1", acct)
	r.until("it is sendable", func() bool { return g.shows(20, 0, 20) })
	r.until("it is not any more", func() bool { return g.shows(0, 0, 0) })
}

// A refused account is told by every dispatcher, and found well by one it is by
// all: one that has nothing more to send would raise the alarm for ever. So it is
// with a breaker that nobody asks any more.
func TestModesEndForThoseWhoSendNothing(t *testing.T) {
	for mode, e := range map[string]*providers.Error{
		"account": {Class: providers.Misconfigured, Status: 401},
		"breaker": {Class: providers.Unavailable, Status: 503},
	} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, "a")
			gw := newGateway(10)
			var ill atomic.Bool
			ill.Store(true)
			gw.answer = func(b *providers.Batch) ([]providers.Result, error) {
				if ill.Load() {
					return nil, e
				}
				return accepted(b), nil
			}
			acct := r.account("a", gw, func(a *dispatch.Account) { a.Failures = 1 })
			one, two := r.watched("d1", acct), r.watched("d2", acct)
			r.until("both tell that all is well", func() bool { return one.mode(mode, false) && two.mode(mode, false) })
			r.queue(r.piece("e", 0, 1, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(time.Second) }))
			r.until("it is told", func() bool { return one.mode(mode, true) || two.mode(mode, true) })
			if mode == "account" {
				r.until("both tell", func() bool { return one.mode(mode, true) && two.mode(mode, true) })
				ill.Store(false)
				r.health("a", journal.Well) // else it is looked at again in a minute
			}
			r.until("both tell that it is over", func() bool { return one.mode(mode, false) && two.mode(mode, false) })
		})
	}
}

// health tells what somebody found of an account.
func (r *rig) health(account, reason string) {
	r.t.Helper()
	data, err := json.Marshal(idempotency.Record{Kind: idempotency.Health, Account: account, Owner: "another", Reason: reason})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.bus.Publish(r.t.Context(), bus.Out{Subject: bus.JournalSubject(string(idempotency.Health), account), Data: data}); err != nil {
		r.t.Fatal(err)
	}
}
