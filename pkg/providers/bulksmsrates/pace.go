package bulksmsrates

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// Headers of "Rate Limits".
const (
	remainingHeader = "X-RateLimit-Remaining" // tokens remaining in the current window
	resetHeader     = "X-RateLimit-Reset"     // Unix timestamp when the window resets
)

const (
	longestWait = time.Minute     // a limit per second resets within seconds: more is another clock's
	clocksAgree = 2 * time.Second // what a Date header may differ from our clock
)

// spent returns how long the limit is used up for by what an answer says: the
// next request would be refused. It can only slow a sender down. 0: it is not, or
// nobody knows.
func spent(h http.Header, now time.Time) time.Duration {
	if strings.TrimSpace(h.Get(remainingHeader)) != "0" {
		return 0
	}
	return untilReset(h, now)
}

// untilReset counts by the gateway's own clock where that is not ours.
func untilReset(h http.Header, now time.Time) time.Duration {
	at, err := strconv.ParseInt(strings.TrimSpace(h.Get(resetHeader)), 10, 64)
	if err != nil || at <= 0 {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil && now.Sub(theirs).Abs() > clocksAgree {
		now = theirs
	}
	return min(max(time.Unix(at, 0).Sub(now), 0), longestWait)
}

// retryAfter is Retry-After ("only on 429 responses"), else the window's reset.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if wait := httpapi.RetryAfter(h, now); wait > 0 {
		return wait
	}
	return untilReset(h, now)
}
