package dispatch

import (
	"time"

	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// The lease on an intent's messages. Time decides nothing in the journal; these
// rules keep a slow owner and those who declare its messages uncertain apart.
// They are pure, and the model (model_test.go) plays with them as they are.

// A request must leave within startWithin of its intent, and whoever sees an
// intent whose owner is silent waits for the request's timeout and graceAfter
// more before it calls the messages uncertain.
const (
	startWithin = time.Second
	graceAfter  = 2 * time.Second
)

// leaseOf is how long others leave an intent alone after they have read it.
func leaseOf(timeout time.Duration) time.Duration { return timeout + graceAfter }

// mayStart reports whether a request's first byte may still leave, that long
// after its intent was asked for.
func mayStart(since time.Duration) bool { return since <= startWithin }

// mayEnd reports whether a request's last byte may still leave, that long after
// its intent was asked for. Whichever clock went further counts: monotonic time
// stands still in a suspended machine, wall time may be set back.
func mayEnd(monotonic, wall time.Duration) bool {
	return max(monotonic, wall) <= startWithin+graceAfter/2
}

// fence holds the request's last byte back once others may call the messages
// uncertain, or once it is known that one of them was sent before: it was
// uncertain, and this is its second try.
func (t *attempt) fence() error {
	crash.At("dispatch.before-last-byte")
	now := time.Now()
	if !mayEnd(now.Sub(t.asked), now.Round(0).Sub(t.asked.Round(0))) {
		return errLeaseOver
	}
	if t.proved() {
		return errProved
	}
	crash.Soon("dispatch.after-last-byte")
	return nil
}

// proved reports whether the journal has learned since the intent that one of the
// messages was sent.
func (t *attempt) proved() (yes bool) {
	if t.a.j.Proofs() == t.proofs {
		return false
	}
	keys := make([]idempotency.Key, len(t.items))
	for i, it := range t.items {
		keys[i] = it.key()
	}
	t.a.j.States(keys, func(_ int, s idempotency.MessageState) { yes = yes || s.CloseStands == journal.Reported })
	return yes
}
