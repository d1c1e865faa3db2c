package dispatch

import (
	"context"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// news is what this process found of an account, for the others.
type news struct {
	reason string
	wait   time.Duration
}

// probeLead is how much later than the process that found an account ill the
// others try it again: one small probe for the whole cluster.
const probeLead = time.Second

// found tells the others what this process found; it does not wait. What cannot
// be told is found out by each on its own.
func (a *account) found(reason string, wait time.Duration) {
	select {
	case a.news <- news{reason, wait}:
	default:
	}
}

// herald appends to the journal what was found, until take is done.
func (a *account) herald(take context.Context) {
	for {
		select {
		case <-take.Done():
			return
		case n := <-a.news:
			ctx, cancel := context.WithTimeout(take, 2*time.Second)
			_, _, err := a.j.Append(ctx, idempotency.Record{
				Kind: idempotency.Health, Account: a.o.Name, Reason: n.reason, LeaseMillis: n.wait.Milliseconds(),
			})
			cancel()
			if err != nil && take.Err() == nil {
				a.d.Log.Warn("health not shared", "account", a.o.Name, "reason", n.reason, "error", err)
			}
		}
	}
}

// heard is a journal.Watcher: what others found holds here, too.
func (a *account) heard(_ uint64, at time.Time, r *idempotency.Record, _ *idempotency.Effect) {
	if r.Kind != idempotency.Health || r.Account != a.o.Name || r.Owner == a.j.Owner() {
		return
	}
	if r.Reason == journal.Well {
		a.mu.Lock()
		a.ill, a.refused = false, false
		a.mu.Unlock()
		a.unblock()
		return
	}
	now, lasts := a.d.Now(), time.Duration(r.LeaseMillis)*time.Millisecond+probeLead
	until := at.Add(lasts) // by the bus's clock, which may be ahead of ours
	if longest := now.Add(lasts); until.After(longest) {
		until = longest
	}
	if until.After(now) {
		a.block(r.Reason, until)
		a.mu.Lock()
		a.ramp, a.ill = 1, true // whoever finds it well tells
		a.refused = a.refused || journal.Refused(r.Reason)
		a.mu.Unlock()
	}
}

// unblock ends a block that somebody else's finding had caused.
func (a *account) unblock() {
	a.mu.Lock()
	if blames(a.blockedWhy) && a.blockedWhy != unreachable {
		a.blockedUntil, a.blockedSince, a.failing = time.Time{}, time.Time{}, time.Time{}
	}
	a.mu.Unlock()
	a.signal()
}
