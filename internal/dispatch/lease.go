package dispatch

import "time"

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
