package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// Failure says what an answer means by its status alone. Adapters call it for
// answers that their own tables do not know; their tables go first.
//
//   - 429: Throttled, with Retry-After.
//   - 401, 402, 403, 3xx: Misconfigured. 404, 405, 406, 410, 415 too: each
//     operation has a fixed path, method and type, so no message causes them; a
//     wrong base URL does, and would burn every message if they were refusals.
//   - Other 4xx: RejectedHere with Bisect. The gateway refuses and nobody knows
//     for which message or why, so smaller batches and other accounts may try.
//   - 408, 503 and every other 5xx: Uncertain, as proxies answer so for what they
//     have handed on; Unavailable if the request had not left whole. An adapter
//     that finds its API's own error body under 503 says Unavailable itself.
//   - 2xx: Uncertain, being unreadable. 1xx and unheard-of ones: Uncertain.
func (c *Client) Failure(resp *Response) *providers.Error {
	e := &providers.Error{
		Class:      classOf(resp.Status),
		Status:     resp.Status,
		RetryAfter: RetryAfter(resp.Header, c.now()),
	}
	switch e.Class {
	case providers.RejectedHere:
		e.Bisect = true
	case providers.Uncertain:
		e.RetryAfter = 0
		if resp.Status < 400 {
			e.Err = ErrUnreadable
		} else if resp.Partial {
			e.Class = providers.Unavailable
		}
	}
	return e
}

func classOf(status int) providers.Class {
	switch status {
	case http.StatusTooManyRequests:
		return providers.Throttled
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden,
		http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable,
		http.StatusGone, http.StatusUnsupportedMediaType:
		return providers.Misconfigured
	case http.StatusRequestTimeout:
		return providers.Uncertain
	}
	switch status / 100 {
	case 3:
		return providers.Misconfigured
	case 4:
		return providers.RejectedHere
	}
	return providers.Uncertain
}

// RetryAfter reads the header of that name in both its forms, seconds and HTTP
// date, and clamps it to an hour: what is longer is no throttling and is better
// asked again. Nonsense and the past are 0.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if t, err := http.ParseTime(v); err == nil {
		return clamp(t.Sub(now))
	}
	n, err := strconv.ParseUint(v, 10, 31)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return time.Hour
	case err != nil:
		return 0
	}
	return clamp(time.Duration(n) * time.Second)
}

func clamp(d time.Duration) time.Duration { return min(max(d, 0), time.Hour) }
