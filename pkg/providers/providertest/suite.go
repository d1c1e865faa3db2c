// Package providertest is the conformance suite that every adapter passes. It
// replays an API's own examples and breaks the connection in all the ways that
// decide between "not sent" and "uncertain".
//
// An adapter's test is one call:
//
//	func suite() providertest.Suite {
//		return providertest.Suite{
//			New:         cloudrebue.New,
//			Credentials: map[string]string{"token": "canary-token"},
//			Dir:         "testdata",
//			Features:    providertest.Features{Reports: true},
//			Accept:      accept,        // the gateway's answer "all taken"
//			Report:      report,        // a callback with a given status word
//		}
//	}
//	func TestConformance(t *testing.T)  { providertest.Run(t, suite()) }
//	func FuzzSend(f *testing.F)         { providertest.FuzzSend(f, suite()) }
//	func FuzzReports(f *testing.F)      { providertest.FuzzReports(f, suite()) }
//
// # Fixtures
//
// Sibling files in Dir, found by name, nothing to register. NAME.source is
// wanted beside each; lines "key: value":
//
//	kind:    docs-verbatim | constructed | sandbox-capture
//	api:     the API document's name
//	section: where in it
//	status:  HTTP status, where the example itself shows none (default 200)
//	time:    RFC 3339, when a callback arrived (default Now)
//
// The rest depends on the folder:
//
//	send/NAME.batch.json     {"id","callback_url","messages":[{"id","to","from","text","variables"}]}
//	send/NAME.request.http   what the adapter must emit, canonical
//	send/NAME.response.http  the gateway's answer, pasted unmodified
//	send/NAME.want.json      {"results":[…]} or {"error":{…}}
//	report/NAME.request.http a callback, pasted unmodified: a body alone, or request line, headers, blank line, body
//	report/NAME.want.json    {"verify":"ok","reports":[…]}
//	inbound/NAME.request.http, inbound/NAME.want.json
//	find/NAME.query.json, .response.http, .request.http, .want.json
//	desk/NAME.response.http, .request.http, .want.json; .source has "operation: NAME" and "arg.PARAM: value"
//	balance/NAME.response.http, .request.http, .want.json
//
// An answer may begin with "HTTP/1.1 400 …" or "StatusCode 400", with headers
// and prose below; its body begins at the first line that starts with {, [ or <,
// or after the first blank line.
//
// With UPDATE_FIXTURES=1 in the environment, .want.json and the .request.http of
// what we emit are written anew; what came from elsewhere never is.
package providertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// Suite describes one adapter to the suite.
type Suite struct {
	New         providers.Factory
	Credentials map[string]string // canaries: no error may ever repeat one of these values
	Options     map[string]any
	Dir         string
	SendDir     string // folder of the send fixtures, of accounts with another format; empty: send
	Features    Features

	// Message returns the i-th sample message; all of them share a group key and
	// name different numbers. Nil: a literal text to a Kenyan number.
	Message func(i int) providers.Message

	// Accept returns the gateway's answer 2xx that takes the whole batch which
	// the request r (with its body) carries.
	Accept func(r *http.Request, body []byte) string

	// Report returns an authentic callback of one report with this status word.
	// Wanted with Features.Reports.
	Report func(status string) *providers.Callback

	// Find returns a query and the answer to it that shows one message in this
	// status. Wanted with Features.Find.
	Find func(status string) (*providers.Query, string)

	// UnknownStatus is a status word that the API does not have; empty: "NoSuchStatus".
	UnknownStatus string
}

// Features says which add-on interfaces the adapter has: exactly these, so that
// none is lost by a misspelt method.
type Features struct {
	Reports   bool // providers.Reporter
	Inbound   bool // providers.Receiver
	Find      bool // providers.Finder
	Desk      bool // providers.Desk
	Notices   bool // providers.Noticer
	Subscribe bool // providers.Subscriber
	Challenge bool // providers.Challenger
	Balance   bool // providers.Balancer
}

// Now is the time that adapters under test believe it is.
func Now() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

// Run runs the whole suite.
func Run(t *testing.T, s Suite) {
	t.Run("new", func(t *testing.T) { s.testNew(t) })
	t.Run("features", func(t *testing.T) { s.testFeatures(t) })
	t.Run("invariants", func(t *testing.T) { s.testInvariants(t) })
	t.Run("fixtures", func(t *testing.T) { s.testFixtures(t) })
}

func (s Suite) options() providers.Options {
	return providers.Options{
		Account:     "account-under-test",
		Credentials: s.Credentials,
		Options:     s.Options,
		Timeout:     5 * time.Second,
		Now:         Now,
	}
}

func (s Suite) build(t testing.TB, change func(*providers.Options)) providers.Provider {
	t.Helper()
	o := s.options()
	change(&o)
	p, err := s.New(o)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return p
}

func (s Suite) message(i int) providers.Message {
	if s.Message != nil {
		return s.Message(i)
	}
	return providers.Message{
		ID:        fmt.Sprintf("01jqcanary-%d", i),
		To:        fmt.Sprintf("+2547%08d", 10_000_000+i),
		From:      "ACME",
		Text:      "canary text of a message",
		Segments:  1,
		ExpiresAt: Now().Add(48 * time.Hour),
	}
}

// batch returns a batch of n sample messages.
func (s Suite) batch(p providers.Provider, n int) *providers.Batch {
	b := &providers.Batch{ID: "batch-under-test"}
	if p.Limits().CallbackURL {
		b.CallbackURL = "https://tuma.example/dlr/account-under-test/token"
	}
	for i := range n {
		b.Messages = append(b.Messages, s.message(i))
	}
	return b
}

func (s Suite) testNew(t *testing.T) {
	for _, key := range slices.Sorted(maps.Keys(s.Credentials)) {
		o := s.options()
		o.Credentials = maps.Clone(s.Credentials)
		delete(o.Credentials, key)
		_, err := s.New(o)
		if err == nil {
			continue // an optional one
		}
		if !strings.Contains(err.Error(), key) {
			t.Errorf("a factory's error names the missing key %q: %v", key, err)
		}
		s.checkLeak(t, err.Error(), 0)
	}
	if _, err := s.New(providers.Options{Options: s.Options}); len(s.Credentials) > 0 && err == nil {
		t.Error("an account without any credentials is refused when it is built, not when it sends")
	}
	o := s.options()
	o.Options = maps.Clone(o.Options)
	if o.Options == nil {
		o.Options = map[string]any{}
	}
	o.Options["no_such_option"] = true
	if _, err := s.New(o); err == nil || !strings.Contains(err.Error(), "no_such_option") {
		t.Errorf("an option that the adapter does not know is an error that names it: got %v", err)
	}
	o = s.options()
	o.BaseURL = "http://gateway.example/v1"
	if _, err := s.New(o); err == nil {
		t.Error("plain http to a host that is not loopback is refused: credentials would travel in the open")
	}
	o.AllowHTTP = true
	if _, err := s.New(o); err != nil {
		t.Errorf("AllowHTTP permits plain http: %v", err)
	}
}

func (s Suite) testFeatures(t *testing.T) {
	p := s.build(t, func(*providers.Options) {})
	_, reports := p.(providers.Reporter)
	_, inbound := p.(providers.Receiver)
	_, find := p.(providers.Finder)
	_, desk := p.(providers.Desk)
	_, notices := p.(providers.Noticer)
	_, subscribe := p.(providers.Subscriber)
	_, challenge := p.(providers.Challenger)
	_, balance := p.(providers.Balancer)
	if got := (Features{reports, inbound, find, desk, notices, subscribe, challenge, balance}); got != s.Features {
		t.Errorf("add-on interfaces: got %+v, declared %+v", got, s.Features)
	}
	most := p.Limits().MaxBatch
	if most < 1 {
		t.Fatalf("MaxBatch = %d, want 1 or more", most)
	}
	for _, c := range []struct{ option, want int }{{1, 1}, {most, most}, {most + 1, most}} {
		got := s.build(t, func(o *providers.Options) { o.BatchSize = c.option }).Limits().MaxBatch
		if got != c.want {
			t.Errorf("with BatchSize %d MaxBatch is %d, want %d (the account's, never above the API's)", c.option, got, c.want)
		}
	}
	for i := range 2 {
		m := s.message(i)
		if err := p.Check(&m); err != nil {
			t.Errorf("Check refuses sample message %d: %v", i, err)
		}
		first := s.message(0)
		if p.GroupKey(&m) != p.GroupKey(&first) {
			t.Errorf("sample messages 0 and %d must share a group key", i)
		}
	}
	s.testCheck(t, p)
	if s.Features.Reports {
		s.testReportStatus(t, p.(providers.Reporter))
	}
}

func (s Suite) testCheck(t *testing.T, p providers.Provider) {
	for name, change := range map[string]func(*providers.Message){
		"an empty number":             func(m *providers.Message) { m.To = "" },
		"a national number":           func(m *providers.Message) { m.To = "0712345678" },
		"a number with a separator":   func(m *providers.Message) { m.To += ",254700000000" },
		"a number too long":           func(m *providers.Message) { m.To = "+2547123456789012" },
		"an empty sender":             func(m *providers.Message) { m.From = "" },
		"an empty text":               func(m *providers.Message) { m.Text = "" },
		"a text that renders empty":   func(m *providers.Message) { m.Text, m.Variables = "{{a}}", map[string]string{"a": ""} },
		"an option that no API has":   func(m *providers.Message) { m.Options = map[string]string{"no_such_option": "x"} },
		"a placeholder without value": func(m *providers.Message) { m.Text, m.Variables = "{{a}}", map[string]string{} },
	} {
		m := s.message(0)
		change(&m)
		err := p.Check(&m)
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Rejected && e.Class != providers.RejectedHere {
			t.Errorf("Check of %s: got %v, want it refused for the message", name, err)
			continue
		}
		s.checkLeak(t, err.Error(), 1)
		p.GroupKey(&m) // must not panic
	}
}

func (s Suite) testReportStatus(t *testing.T, r providers.Reporter) {
	word := s.unknownStatus()
	cb := s.Report(word)
	if err := r.VerifyReport(cb); err != nil {
		t.Errorf("VerifyReport of an authentic callback: %v", err)
	}
	reports, err := r.ParseReports(cb)
	if err != nil || len(reports) != 1 {
		t.Fatalf("an unknown status word is a report, never an error: %d reports, %v", len(reports), err)
	}
	if got := reports[0]; got.Status != providers.ReportUnknown || got.Code != word {
		t.Errorf("an unknown status word is ReportUnknown with the word as Code: got %v, %q", got.Status, got.Code)
	}
	long, err := r.ParseReports(s.Report(strings.Repeat("x", 10_000)))
	if err != nil || len(long) != 1 || len(long[0].Code) > 64 {
		t.Errorf("a status word of 10 kB is an unknown one, cut to 64 bytes: %d reports, %v", len(long), err)
	}
}

func (s Suite) unknownStatus() string {
	if s.UnknownStatus != "" {
		return s.UnknownStatus
	}
	return "NoSuchStatus"
}

// checkLeak fails the test when text repeats a credential, a text or a number.
func (s Suite) checkLeak(t testing.TB, text string, messages int) {
	t.Helper()
	for key, value := range s.Credentials {
		if value != "" && strings.Contains(text, value) {
			t.Errorf("the value of credentials.%s is repeated in %q", key, text)
		}
	}
	for i := range min(messages, 3) {
		m := s.message(i)
		if m.Text != "" && strings.Contains(text, m.Text) {
			t.Errorf("a message's text is repeated in %q", text)
		}
		if strings.Contains(text, strings.TrimPrefix(m.To, "+")) {
			t.Errorf("a recipient's whole number is repeated in %q", text)
		}
	}
}

// checkOutcome holds what is true of every Send, and returns one class for each
// message: the error's, or the results'.
func (s Suite) checkOutcome(t testing.TB, b *providers.Batch, results []providers.Result, err error) []providers.Class {
	t.Helper()
	classes := make([]providers.Class, len(b.Messages))
	if err != nil {
		var e *providers.Error
		if !errors.As(err, &e) {
			t.Fatalf("an error of Send is a *providers.Error, got %T", err)
		}
		if e.Class <= providers.Accepted || e.Class > providers.Uncertain {
			t.Errorf("class %v is none of an error", e.Class)
		}
		if len(e.Detail) > 200 {
			t.Errorf("a detail has at most 200 bytes, got %d", len(e.Detail))
		}
		s.checkLeak(t, err.Error(), len(b.Messages))
		for i := range classes {
			classes[i] = e.Class
		}
		return classes
	}
	if len(results) != len(b.Messages) {
		t.Fatalf("results[i] belongs to Messages[i]: %d results of %d messages", len(results), len(b.Messages))
	}
	for i, r := range results {
		if r.Class < providers.Accepted || r.Class > providers.Uncertain {
			t.Errorf("result %d has no class: %+v", i, r)
		}
		if len(r.Detail) > 200 {
			t.Errorf("a detail has at most 200 bytes, got %d", len(r.Detail))
		}
		s.checkLeak(t, r.Detail+" "+r.Code, len(b.Messages))
		classes[i] = r.Class
	}
	return classes
}

// send sends and checks what is true of every Send.
func (s Suite) send(ctx context.Context, t testing.TB, p providers.Provider, b *providers.Batch) ([]providers.Class, []providers.Result, error) {
	t.Helper()
	results, err := p.Send(ctx, b)
	return s.checkOutcome(t, b, results, err), results, err
}
