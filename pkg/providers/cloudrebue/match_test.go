package cloudrebue

import (
	"errors"
	"strings"
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
		{"nameless and taken", `[{"status":true},{"status":true}]`, [2]providers.Class{taken, taken}},
		{"nameless and taken, one too many", `[{"status":true},{"status":true},{"status":true}]`, [2]providers.Class{unknown, unknown}},
		{"a stranger's, as many as ours", `[{"status":true,"data":{"correlator":8}},{"status":true,"data":{"correlator":9}}]`, [2]providers.Class{unknown, unknown}},
		{"an unreadable item loses itself only", `[{"status":"yes"},7,{"status":true,"data":{"correlator":2}}]`, [2]providers.Class{unknown, taken}},
		{"both phones of one answer", `[{"status":true,"data":{"correlator":1,"phone":"254712345678,254712345679"}}]`, [2]providers.Class{taken, taken}},
		{"both phones, no correlator, national", `[{"status":true,"data":{"phone":"0712345678,712345679"}}]`, [2]providers.Class{taken, taken}},
		{"both phones of a stranger's answer", `[{"status":true,"data":{"correlator":9,"phone":"254712345678,254712345679"}}]`, [2]providers.Class{unknown, unknown}},
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
		{"400 with a list that names nobody", 400, `[{"status":true}]`, providers.RejectedHere, "", true},
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

// TestListsUnderOtherStatuses: what is said to be queued is not sent again, whatever
// the status is.
func TestListsUnderOtherStatuses(t *testing.T) {
	t.Parallel()
	for _, status := range []int{207, 400, 422, 500} {
		results, err := send(t, status, `[{"status":true,"data":{"correlator":1}},{"status":false,"message":"Invalid phone","data":{"correlator":2}}]`)
		if err != nil || results[0].Class != providers.Accepted || results[1].Class != providers.Rejected {
			t.Errorf("%d: %+v, %v", status, results, err)
		}
	}
}

// TestRefusals holds every row of the table, for one message and for a request.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, row := range refusals {
		words := "Sorry: " + strings.ToUpper(row.words[:1]) + row.words[1:] + "."
		results, err := send(t, 200, `[{"status":false,"message":"`+words+`","data":{"correlator":1}},{"status":true,"data":{"correlator":2}}]`)
		if err != nil {
			t.Fatal(err)
		}
		if r := results[0]; r.Class != row.class || r.Need != row.need || r.OptOut != row.optOut || r.Detail != words {
			t.Errorf("%q: got %+v, want %+v", words, r, row)
		}
		_, err = send(t, 200, `{"status":false,"message":"`+words+`"}`)
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != row.class || e.Need != row.need || e.OptOut != row.optOut {
			t.Errorf("%q to the request: got %+v, want %+v", words, e, row)
		}
	}
}

// TestMSISDN: the forms in which the document writes Kenyan phones.
func TestMSISDN(t *testing.T) {
	t.Parallel()
	for phone, want := range map[string]string{
		"254712345678": "+254712345678", "+254712345678": "+254712345678", "0712345678": "+254712345678", "0112345678": "+254112345678",
		"712345678": "+254712345678", "112345678": "+254112345678", "0212345678": "", "07123456789": "", "0712": "", "": "", "250782589800": "+250782589800",
	} {
		if got := msisdn(phone); got != want {
			t.Errorf("%q: got %q, want %q", phone, got, want)
		}
	}
}

func TestCheckOptions(t *testing.T) {
	t.Parallel()
	p, err := New(providers.Options{Credentials: suite().Credentials})
	if err != nil {
		t.Fatal(err)
	}
	for option, ok := range map[string]bool{"link_id": true, "scheduled_at": false, "Link_id": false} {
		err := p.Check(&providers.Message{To: "+254712345678", From: "ACME", Text: "t", Options: map[string]string{option: "x"}})
		var e *providers.Error
		if ok && err != nil || !ok && (!errors.As(err, &e) || e.Class != providers.RejectedHere) {
			t.Errorf("%s: got %v", option, err)
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
