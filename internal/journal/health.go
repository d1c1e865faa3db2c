package journal

import (
	"sync"
	"time"

	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// What Record.Reason says in a health record.
const (
	IllBreaker = "breaker" // its breaker is open: it answers nothing that can be trusted
	IllAccount = "account" // it refuses the account: credentials, permission, or it does not say
	IllBalance = "balance" // it refuses the account until there is more money
	IllQuota   = "quota"   // the day's allowance is used up
	Well       = "well"
)

// Refused reports whether an account is ill because its gateway refuses it, for
// one reason or another.
func Refused(reason string) bool {
	return reason == IllAccount || reason == IllBalance || reason == IllQuota
}

// Health follows what dispatchers tell each other of the accounts. It is for
// routing: an account that was ill is given new messages only after it has been
// well for a while, so that routes do not flap. Safe for concurrent use.
type Health struct {
	settle time.Duration
	now    func() time.Time

	mu  sync.Mutex
	ill map[string]illness
}

type illness struct {
	reason string
	until  time.Time // ill until then, unless told otherwise
	well   time.Time // since when it has been well again; zero: it has not
}

// NewHealth returns a Health that takes an account for well once it has been so
// for settle.
func NewHealth(settle time.Duration, now func() time.Time) *Health {
	return &Health{settle: settle, now: now, ill: map[string]illness{}}
}

// Watch is a Watcher.
func (h *Health) Watch(_ uint64, at time.Time, r *idempotency.Record, _ *idempotency.Effect) {
	if r.Kind != idempotency.Health {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Reason == Well {
		if i, ok := h.ill[r.Account]; ok && i.well.IsZero() {
			i.well = at
			h.ill[r.Account] = i
		}
		return
	}
	lasts := time.Duration(r.LeaseMillis) * time.Millisecond
	until := at.Add(lasts) // by the bus's clock, which may be ahead of ours
	if longest := h.now().Add(lasts); until.After(longest) {
		until = longest
	}
	h.ill[r.Account] = illness{reason: r.Reason, until: until}
}

// Ill says why an account is ill right now, and until when at least it is left
// alone; ok is false if it is not, or was found well since.
func (h *Health) Ill(account string) (reason string, until time.Time, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.ill[account]
	if !ok || !i.well.IsZero() || !h.now().Before(i.until) {
		return "", time.Time{}, false
	}
	return i.reason, i.until, true
}

// Down reports whether new messages should go elsewhere if they can. Nobody
// speaks for an account whose dispatchers all died: it is tried again when its
// time is over.
func (h *Health) Down(account string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, ok := h.ill[account]
	if !ok {
		return false
	}
	since := i.until
	if !i.well.IsZero() && i.well.Before(since) {
		since = i.well
	}
	if h.now().Sub(since) < h.settle {
		return true
	}
	delete(h.ill, account)
	return false
}
