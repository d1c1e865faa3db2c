package dispatch

import (
	"context"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Why an account is blocked that gets no slots, or may write no intents.
const (
	noRedis     = "redis"
	noJournal   = "journal"
	unreachable = "unavailable"
)

// block keeps the account from sending until a time, and remembers since when
// it has been blocked without a success or a gap in between.
func (a *account) block(why string, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.d.Now()
	if a.blockedSince.IsZero() || now.After(a.blockedUntil.Add(time.Second)) {
		a.blockedSince = now // a gap without any block ends what was before
	}
	if until.After(a.blockedUntil) {
		a.blockedWhy, a.blockedUntil = why, until
	}
	if blames(why) && a.failing.IsZero() {
		a.failing = now
	}
}

// notWritten notes that the journal took a record too late or not at all.
func (a *account) notWritten() {
	a.unwritten.Store(true)
	a.block(noJournal, a.d.Now().Add(500*time.Millisecond))
}

// writable reports whether the journal takes records again after it did not: a slot that
// no intent can use may count for the limit all the same.
func (a *account) writable(ctx context.Context) bool {
	if !a.unwritten.Load() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if _, _, err := a.j.Append(ctx, idempotency.Record{Kind: idempotency.Told}); err != nil {
		a.notWritten()
		return false
	}
	a.unwritten.Store(false)
	return true
}

// blames reports whether a reason for a block is the gateway's: not our own Redis, not
// a pause, not the rate.
func blames(why string) bool {
	return why == journal.IllBreaker || why == unreachable || journal.Refused(why)
}

// stuck says since when nothing could be sent; zero: it is not stuck.
func (a *account) stuck() (since time.Time, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.blockedSince.IsZero() || a.d.Now().After(a.blockedUntil.Add(time.Second)) {
		return time.Time{}, ""
	}
	return a.blockedSince, a.blockedWhy
}

// left reports whether the account is blocked and its gateway has been to blame for so
// long that messages which can go elsewhere should.
func (a *account) left(after time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.d.Now()
	return blames(a.blockedWhy) && !now.After(a.blockedUntil.Add(time.Second)) && !a.failing.IsZero() && now.Sub(a.failing) >= after
}
