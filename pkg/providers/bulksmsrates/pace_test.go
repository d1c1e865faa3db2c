package bulksmsrates_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

// answers gives every request the same answer.
type answers struct {
	status int
	header http.Header
	body   string
}

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

// TestRateHeaders: they may only slow us down, and a clock that is not ours does
// not count.
func TestRateHeaders(t *testing.T) {
	t.Parallel()
	now := providertest.Now()
	at := func(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		remaining, reset, date string
		want                   time.Duration
	}{
		"none":                 {"", "", "", 0},
		"room":                 {"1", at(time.Second), "", 0},
		"used up":              {"0", at(time.Second), "", time.Second},
		"used up, past":        {"0", at(-time.Second), "", 0},
		"used up, nonsense":    {"0", "soon", "", 0},
		"used up, no reset":    {"0", "", "", 0},
		"used up, next year":   {"0", at(365 * 24 * time.Hour), "", time.Minute},
		"clocks agree":         {"0", at(time.Second), date(time.Second), time.Second},
		"their clock is ahead": {"0", at(31 * time.Second), date(30 * time.Second), time.Second},
		"and behind":           {"0", at(-29 * time.Second), date(-30 * time.Second), time.Second},
	} {
		h := http.Header{}
		for key, value := range map[string]string{"X-RateLimit-Remaining": c.remaining, "X-RateLimit-Reset": c.reset, "Date": c.date} {
			if value != "" {
				h.Set(key, value)
			}
		}
		for n, body := range map[int]string{1: `{"id": "m-1", "status": "queued"}`, 2: `{"data": {"batch_id": "b", "accepted": 2}}`} {
			results, err := account(t, answers{200, h, body}, nil).Send(t.Context(), batch([]string{"x", "x"}[:n]...))
			if err != nil || results[n-1].RetryAfter != c.want {
				t.Errorf("%s, %d messages: %+v, %v, want %v", name, n, results, err, c.want)
			}
		}
		if c.remaining != "0" {
			continue
		}
		// On a 429 without Retry-After the reset tells, too.
		_, err := account(t, answers{429, h, `{"error": {"code": "RATE_LIMITED"}}`}, nil).Send(t.Context(), batch("x"))
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Throttled || e.RetryAfter != c.want {
			t.Errorf("%s, 429: %v after %v", name, err, e.RetryAfter)
		}
	}
}
