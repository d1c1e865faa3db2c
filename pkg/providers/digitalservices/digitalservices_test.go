package digitalservices

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

func suite() providertest.Suite {
	return providertest.Suite{
		New: New,
		Credentials: map[string]string{
			"api_key": "canary-key", "username": "canary-user", "password": "canary-password",
			"dlr_username": "SmsUser", "dlr_password": "SmsPass",
		},
		Dir: "testdata",
		Message: func(i int) providers.Message {
			return providers.Message{ID: fmt.Sprint("01jqcanary-", i), To: fmt.Sprintf("+250%09d", 780_000_000+i), From: "ACME", Text: "canary text of a message", Segments: 1}
		},
		Features: providertest.Features{Reports: true},
		Accept:   accept,
		Report: func(status string) *providers.Callback {
			return &providers.Callback{Method: http.MethodGet, Query: url.Values{
				"dnis": {"250782589800"}, "username": {"SmsUser"}, "password": {"SmsPass"},
				"command": {"deliver"}, "dlvrMsgId": {"118579716"}, "dlvrMsgStat": {status},
			}}
		},
	}
}

func accept(_ *http.Request, body []byte) string {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err.Error()
	}
	var list []map[string]any
	for n := range strings.SplitSeq(form.Get("recipients"), ",") {
		list = append(list, map[string]any{"status": "sent", "messageid": "m" + n, "recipient": n, "message": form.Get("message"), "cost": 75})
	}
	out, err := json.Marshal(map[string]any{"status": "success", "unit": "RWF", "response": list})
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func TestConformance(t *testing.T) { providertest.Run(t, suite()) }

func FuzzSend(f *testing.F) { providertest.FuzzSend(f, suite()) }

func FuzzReports(f *testing.F) { providertest.FuzzReports(f, suite()) }

func newProvider(t *testing.T) *provider {
	t.Helper()
	p, err := New(providers.Options{Credentials: suite().Credentials})
	if err != nil {
		t.Fatal(err)
	}
	return p.(*provider)
}

// Whoever cuts the form, anywhere, loses the password.
func TestPasswordIsLast(t *testing.T) {
	t.Parallel()
	b := &providers.Batch{CallbackURL: "https://tuma.example/dlr/a/t", Messages: []providers.Message{
		{To: "+250782589800", From: "ACME", Text: "a&password=b"},
	}}
	form, err := newProvider(t).form(b)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range form {
		got, _ := url.ParseQuery(form[:cut])
		if got.Get("password") == "canary-password" {
			t.Fatalf("a form cut at byte %d of %d has its password", cut, len(form))
		}
	}
	if got, err := url.ParseQuery(form); err != nil || got.Get("password") != "canary-password" || len(got["password"]) != 1 {
		t.Errorf("the whole form: %v, %v", got["password"], err)
	}
}

func TestMixedBatchIsNotSent(t *testing.T) {
	t.Parallel()
	for _, other := range []providers.Message{
		{ID: "2", To: "+250782589801", From: "ACME", Text: "code 2"},
		{ID: "2", To: "+250782589801", From: "OTHER", Text: "code 1"},
		{ID: "2", To: "+250782589801", From: "ACME", Text: "code {{n}}", Variables: map[string]string{"n": "2"}},
	} {
		b := &providers.Batch{Messages: []providers.Message{{ID: "1", To: "+250782589800", From: "ACME", Text: "code 1"}, other}}
		_, err := newProvider(t).Send(t.Context(), b)
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Unavailable {
			t.Errorf("%+v: got %v, want unavailable: nobody may get another's text", other, err)
		}
	}
}

func TestUntilTomorrow(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]time.Duration{
		"2026-03-04T21:59:59Z": time.Minute + time.Second,
		"2026-03-04T22:00:00Z": time.Hour, // midnight there
		"2026-03-05T00:59:59Z": time.Hour, // an hour past midnight in UTC
		"2026-03-05T01:00:00Z": 21*time.Hour + time.Minute,
		"2026-03-04T05:06:07Z": 16*time.Hour + 54*time.Minute + 53*time.Second,
		"2026-12-31T23:00:00Z": time.Hour,
		"2027-01-01T02:00:00Z": 20*time.Hour + time.Minute,
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := untilTomorrow(now); got != want {
			t.Errorf("%s: got %v, want %v", at, got, want)
		}
	}
}

// TestCheck: "Use international format without the leading +: 250XXXXXXXXX".
func TestCheck(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for to, ok := range map[string]bool{
		"+250782589800": true, "+250222589800": true, "+25078258980": false, "+2507825898000": false, "+254712345678": false, "250782589800": false, "+250 82589800": false,
	} {
		m := providers.Message{To: to, From: "ACME", Text: "t"}
		if err := p.Check(&m); (err == nil) != ok {
			t.Errorf("%s: %v", to, err)
		}
	}
	m := providers.Message{To: "+250782589800", From: "ACME", Text: "t", Options: map[string]string{"link_id": "1"}}
	var e *providers.Error
	if err := p.Check(&m); !errors.As(err, &e) || e.Class != providers.RejectedHere {
		t.Errorf("another's option: %v", err)
	}
}

// A text that counts as none over there is this text's fault; a missing
// credential is the account's.
func TestMissingParameter(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]providers.Class{
		"message": providers.RejectedHere, "recipients": providers.Misconfigured, "api_key": providers.Misconfigured, "password": providers.Misconfigured,
	} {
		if got := classOfAnswer(t, 400, "Missing required parameter: "+name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	messages := []providers.Message{{To: "+250781234567"}, {To: "+250782589801"}, {To: "+254781234567"}}
	for list, want := range map[string]string{
		"0782589801":                    "+250782589801",
		" 250781234567,+250782589801":   "+250781234567 +250782589801",
		"00254781234567":                "+254781234567",
		"0781234567":                    "", // two of ours end so
		"1":                             "",
		"":                              "",
		"abc,,;0782589801":              "",
		"250782589801\n":                "+250782589801",
		"0000000000, 782589801, 589801": "+250782589801",
	} {
		if got := strings.Join(named(list, messages), " "); got != want {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
}

// Every documented error is read, in any case, with its own status or under a
// 200; under another status the status counts.
func TestDocumentedErrors(t *testing.T) {
	t.Parallel()
	for _, f := range failures {
		for _, words := range []string{f.words, strings.ToUpper(f.words)} {
			for status, want := range map[int]providers.Class{f.status: f.class, 200: f.class, 502: providers.Uncertain} {
				if got := classOfAnswer(t, status, words); got != want {
					t.Errorf("%d %q: got %v, want %v", status, words, got, want)
				}
			}
		}
	}
	if got := classOfAnswer(t, 400, "Sender not allowed"); got != providers.RejectedHere {
		t.Errorf("an undocumented 400: got %v, want rejected_here", got)
	}
}

func classOfAnswer(t *testing.T, status int, words string) providers.Class {
	t.Helper()
	p, err := New(providers.Options{
		Credentials: suite().Credentials,
		Transport:   providertest.Answer(status, `{"status": "Error", "message": "`+words+`"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Send(t.Context(), &providers.Batch{Messages: []providers.Message{{To: "+250782589800", From: "A", Text: "t"}}})
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("%d %q: got %v, want an error", status, words, err)
	}
	return e.Class
}
