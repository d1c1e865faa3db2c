package cloudrebue

import (
	"errors"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

func send(t *testing.T, status int, body string) ([]providers.Result, error) {
	t.Helper()
	p, err := New(providers.Options{Credentials: suite().Credentials, Transport: providertest.Answer(status, body)})
	if err != nil {
		t.Fatal(err)
	}
	return p.Send(t.Context(), &providers.Batch{Messages: []providers.Message{
		{ID: "1", To: "+254712345678", From: "A", Text: "a"},
		{ID: "2", To: "+254712345679", From: "A", Text: "b"},
	}})
}

func TestMatch(t *testing.T) {
	t.Parallel()
	const (
		no, taken, here = providers.Rejected, providers.Accepted, providers.RejectedHere
		unknown         = providers.Uncertain
	)
	tests := []struct {
		name, body string
		want       [2]providers.Class
	}{
		{"by correlator, in any order", `[{"status":true,"data":{"correlator":2}},{"status":false,"message":"Invalid phone","data":{"correlator":"1"}}]`, [2]providers.Class{no, taken}},
		{"by phone, where no correlator is", `[{"status":true,"data":{"phone":"254712345679"}},{"status":false,"data":{"phone":254712345678}}]`, [2]providers.Class{here, taken}},
		{"a stranger's correlator with our phone", `[{"status":true,"data":{"correlator":"9","phone":"254712345679"}}]`, [2]providers.Class{unknown, unknown}},
		{"one missing", `[{"status":true,"data":{"correlator":1}}]`, [2]providers.Class{taken, unknown}},
		{"twice, taken first", `[{"status":true,"data":{"correlator":1}},{"status":false,"data":{"correlator":1}}]`, [2]providers.Class{taken, unknown}},
		{"twice, taken last", `[{"status":false,"data":{"correlator":1}},{"status":true,"data":{"correlator":1}}]`, [2]providers.Class{taken, unknown}},
		{"one nameless refusal for the only one left", `[{"status":true,"data":{"correlator":1}},{"status":false,"message":"x"}]`, [2]providers.Class{taken, here}},
		{"one nameless refusal for two", `[{"status":false,"message":"x"}]`, [2]providers.Class{unknown, unknown}},
		{"two nameless refusals that differ", `[{"status":false,"message":"x"},{"status":false,"message":"y"}]`, [2]providers.Class{unknown, unknown}},
		{"two nameless refusals alike", `[{"status":false,"message":"x"},{"status":false,"message":"x"}]`, [2]providers.Class{here, here}},
		{"nameless and taken", `[{"status":true},{"status":true}]`, [2]providers.Class{unknown, unknown}},
		{"an unreadable item loses itself only", `[{"status":"yes"},7,{"status":true,"data":{"correlator":2}}]`, [2]providers.Class{unknown, taken}},
		{"one object for one", `{"status":true,"data":{"correlator":2}}`, [2]providers.Class{unknown, taken}},
	}
	for _, tt := range tests {
		results, err := send(t, 200, tt.body)
		if err != nil || len(results) != 2 {
			t.Errorf("%s: %d results, %v", tt.name, len(results), err)
			continue
		}
		if got := [2]providers.Class{results[0].Class, results[1].Class}; got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWholeRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status int
		body   string
		want   providers.Class
		detail string
		bisect bool
	}{
		{"its own 503", 503, `{"status":false,"message":"Down"}`, providers.Unavailable, "Down", false},
		{"a proxy's 503", 503, `{"error":"down"}`, providers.Uncertain, "", false},
		{"its own 500", 500, `{"status":false,"message":"Server Error"}`, providers.Uncertain, "Server Error", false},
		{"422", 422, `{"status":false,"message":"The 0.phone\n254712345678 is bad"}`, providers.RejectedHere, "The 0.phone # is bad", true},
		{"429", 429, `{"status":false,"message":"Too Many Attempts."}`, providers.Throttled, "Too Many Attempts.", false},
		{"200, no units", 200, `{"status":false,"message":"Insufficient units"}`, providers.Misconfigured, "Insufficient units", false},
		{"200, unknown words", 200, `{"status":false,"message":"Sender 254712345678 unknown"}`, providers.RejectedHere, "Sender # unknown", true},
		{"400 with a list", 400, `[{"status":true,"data":{"correlator":1}}]`, providers.RejectedHere, "", true},
	}
	for _, tt := range tests {
		_, err := send(t, tt.status, tt.body)
		var e *providers.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: got %v, want an error", tt.name, err)
			continue
		}
		if e.Class != tt.want || e.Detail != tt.detail || e.Bisect != tt.bisect {
			t.Errorf("%s: got %v %q bisect %v, want %v %q bisect %v", tt.name, e.Class, e.Detail, e.Bisect, tt.want, tt.detail, tt.bisect)
		}
	}
}

func TestCheckNumbers(t *testing.T) {
	t.Parallel()
	p, err := New(providers.Options{Credentials: suite().Credentials})
	if err != nil {
		t.Fatal(err)
	}
	for to, ok := range map[string]bool{
		"+254712345678": true, "+254112345678": true, "+250782589800": true,
		"+25471234567": false, "+2547123456789": false, "+33612345678": false, "+12025550123": false,
	} {
		err := p.Check(&providers.Message{To: to, From: "ACME", Text: "t"})
		if (err == nil) != ok {
			t.Errorf("%s: got %v", to, err)
		}
	}
}
