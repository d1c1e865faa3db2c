package providers_test

import (
	"errors"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestWordsAlwaysSaySomething(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*providers.Error{
		"Upstream is ill":      {Status: 502, Detail: "Upstream is ill"},
		"HTTP 502 Bad Gateway": {Status: 502, Err: errors.New("inside")},
		"HTTP 522":             {Status: 522},
		"no answer":            {Err: errors.New("read tcp: reset")},
	} {
		if got := e.Words(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
