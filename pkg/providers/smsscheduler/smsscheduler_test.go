package smsscheduler_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
	"github.com/tuma-sms/tuma/pkg/providers/smsscheduler"
)

func suite() providertest.Suite {
	return providertest.Suite{
		New: func(o providers.Options) (providers.Provider, error) {
			if o.BaseURL == "" {
				o.AllowHTTP = true // the API's own is plain http; see TestPlainHTTP
			}
			return smsscheduler.New(o)
		},
		Credentials:   map[string]string{"token": "canary-token"},
		Options:       senders(),
		Dir:           "testdata",
		Features:      providertest.Features{Find: true, Desk: true},
		UnknownStatus: "99",
		Accept:        accept,
		Find: func(status string) (*providers.Query, string) {
			return &providers.Query{ProviderIDs: []string{"1"}}, `[{"id": 1, "phone_number": "+33612345678", "status": ` + status + `}]`
		},
	}
}

func find(t *testing.T, p providers.Provider, id string) ([]providers.Report, bool, error) {
	t.Helper()
	found, err := p.(providers.Finder).Find(t.Context(), &providers.Query{ProviderIDs: []string{id}}, nil)
	return found.Reports, found.Done, err
}

func senders() map[string]any {
	return map[string]any{"senders": map[string]any{"ACME": 123, "Other": "124"}, "zone": "Europe/Paris"}
}

func accept(_ *http.Request, body []byte) string {
	var sent request
	_ = json.Unmarshal(body, &sent)
	ids := map[string][]int{}
	for i, n := range sent.Numbers {
		ids[n] = []int{i + 1}
	}
	answer, _ := json.Marshal(map[string]any{"message_id": 123456, "sms_ids": ids})
	return string(answer)
}

func TestConformance(t *testing.T) { providertest.Run(t, suite()) }
func FuzzSend(f *testing.F)        { providertest.FuzzSend(f, suite()) }

// request is the body of POST /sms, as the document's table has it.
type request struct {
	Text    string   `json:"message_text"`
	Stop    bool     `json:"message_stop"`
	Date    string   `json:"delivery_date"`
	Sender  int      `json:"sender_id"`
	Numbers []string `json:"phone_numbers"`
}

// gateway is a transport that keeps what it was asked and answers as told, or
// accepts.
type gateway struct {
	status int
	answer string
	header http.Header
	sent   request
	calls  int
}

func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	g.calls++
	g.header = r.Header
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &g.sent); err != nil {
			return nil, err
		}
	}
	status, answer := g.status, g.answer
	if status == 0 {
		status, answer = 200, accept(r, body)
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

func account(t interface{ Fatal(...any) }, transport http.RoundTripper) providers.Provider {
	o := providers.Options{Credentials: suite().Credentials, Options: senders(), AllowHTTP: true, Transport: transport, Now: providertest.Now}
	p, err := smsscheduler.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func message(i int, text string, vars map[string]string) providers.Message {
	return providers.Message{ID: fmt.Sprint("m-", i), To: fmt.Sprintf("+336%08d", i), From: "ACME", Text: text, Variables: vars}
}

func batch(n int) *providers.Batch {
	b := &providers.Batch{ID: "b"}
	for i := range n {
		b.Messages = append(b.Messages, message(i, "Hello", nil))
	}
	return b
}

// TestPlainHTTP: the document's own address needs leave, token and texts being
// readable on the way.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	o := providers.Options{Credentials: suite().Credentials, Options: senders()}
	if _, err := smsscheduler.New(o); err == nil || !strings.Contains(err.Error(), "allow_http") {
		t.Errorf("got %v, want an error that names allow_http", err)
	}
}

func TestSenders(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]any{
		"absent": nil, "empty": map[string]any{}, "a list": []any{123}, "zero": map[string]any{"ACME": 0},
		"negative": map[string]any{"ACME": -1}, "a fraction": map[string]any{"ACME": 1.5}, "a word": map[string]any{"ACME": "x"},
	} {
		o := providers.Options{Credentials: suite().Credentials, Options: map[string]any{"senders": option}, AllowHTTP: true}
		if _, err := smsscheduler.New(o); err == nil || !strings.Contains(err.Error(), "options.senders") {
			t.Errorf("%s: got %v, want an error that names options.senders", name, err)
		}
	}
	for _, id := range []any{123, int64(123), uint64(123), 123.0, "123", json.Number("123")} {
		g := &gateway{}
		p, err := smsscheduler.New(providers.Options{
			Credentials: suite().Credentials, Options: map[string]any{"senders": map[string]any{"ACME": id}},
			AllowHTTP: true, Transport: g, Now: providertest.Now,
		})
		if err != nil {
			t.Errorf("%T: %v", id, err)
			continue
		}
		if _, err := p.Send(t.Context(), batch(1)); err != nil || g.sent.Sender != 123 {
			t.Errorf("%T: sent as %d, %v", id, g.sent.Sender, err)
		}
	}
	p := account(t, nil)
	m := message(1, "x", nil)
	m.From = "Unknown"
	var e *providers.Error
	if err := p.Check(&m); !errors.As(err, &e) || e.Class != providers.RejectedHere {
		t.Errorf("unknown sender: %v", err)
	}
}

// TestRequest: due at once in whatever zone the date is read, numbers with
// their plus, no stop mention.
func TestRequest(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	if _, err := account(t, g).Send(t.Context(), batch(2)); err != nil {
		t.Fatal(err)
	}
	want := request{"Hello", false, "2026-03-03 17:06:07", 123, []string{"+33600000000", "+33600000001"}}
	if diff := cmp.Diff(want, g.sent); diff != "" {
		t.Error(diff)
	}
	if got := g.header.Get("Authorization"); got != "bearer canary-token" {
		t.Errorf("Authorization: %q", got)
	}
	if got := g.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type: %q", got)
	}
}

// TestDate: in the gateway's zone, late rather than early; what is due gets a
// date that is past in every zone.
func TestDate(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"2026-07-01T10:00:00Z":      "2026-07-01 12:00:00",
		"2026-12-01T10:00:00.5Z":    "2026-12-01 11:00:01",
		"2026-03-04T05:06:07Z":      "2026-03-03 17:06:07", // now
		"2026-03-04T06:06:08+01:00": "2026-03-04 06:06:08",
	} {
		g := &gateway{}
		b := batch(1)
		b.Messages[0].Options = map[string]string{"scheduled_at": at}
		if _, err := account(t, g).Send(t.Context(), b); err != nil || g.sent.Date != want {
			t.Errorf("%s: %q, %v; want %q", at, g.sent.Date, err, want)
		}
	}
}

// TestStop: the message's word goes before the account's, and who differs in it
// shares no request.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		account any
		message string
		want    bool
	}{{nil, "", false}, {true, "", true}, {true, "false", false}, {false, "true", true}} {
		options := senders()
		if c.account != nil {
			options["message_stop"] = c.account
		}
		g := &gateway{}
		p, err := smsscheduler.New(providers.Options{Credentials: suite().Credentials, Options: options, AllowHTTP: true, Transport: g, Now: providertest.Now})
		if err != nil {
			t.Fatal(err)
		}
		b := batch(1)
		plain := b.Messages[0]
		if c.message != "" {
			b.Messages[0].Options = map[string]string{"message_stop": c.message}
		}
		if _, err := p.Send(t.Context(), b); err != nil || g.sent.Stop != c.want {
			t.Errorf("%+v: %t, %v", c, g.sent.Stop, err)
		}
		if differs := c.message != ""; (p.GroupKey(&b.Messages[0]) != p.GroupKey(&plain)) != differs {
			t.Errorf("%+v: group keys", c)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, bad := range []map[string]any{{"message_stop": "true"}, {"zone": "Paris"}, {"zone": ""}, {"zone": 1}, {"zone": "Local"}, {"colour": "red"}} {
		options := senders()
		for k, v := range bad {
			options[k] = v
		}
		if _, err := smsscheduler.New(providers.Options{Credentials: suite().Credentials, Options: options, AllowHTTP: true}); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	options := senders()
	delete(options, "zone")
	without, err := smsscheduler.New(providers.Options{Credentials: suite().Credentials, Options: options, AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	const here, never = providers.RejectedHere, providers.Rejected
	for _, c := range []struct {
		p             providers.Provider
		option, value string
		want          providers.Class // 0: carried
	}{
		{account(t, nil), "scheduled_at", "2026-12-25T12:45:59Z", 0},
		{without, "scheduled_at", "2026-12-25T12:45:59Z", here}, // in which zone?
		{account(t, nil), "scheduled_at", "2026-12-25 12:45:59", never},
		{account(t, nil), "message_stop", "yes", never},
		{account(t, nil), "message_stop", "false", 0},
		{account(t, nil), "link_id", "1", here},
	} {
		m := message(1, "Hello", nil)
		m.Options = map[string]string{c.option: c.value}
		err := c.p.Check(&m)
		var e *providers.Error
		if c.want == 0 && err != nil || c.want != 0 && (!errors.As(err, &e) || e.Class != c.want) {
			t.Errorf("%s %s: %v, want %v", c.option, c.value, err, c.want)
		}
	}
}

func TestDeskRefusesBeforeAsking(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	for _, o := range account(t, g).(providers.Desk).Operations() {
		for _, args := range []map[string]string{nil, {"id": "../x"}, {"id": "1", "of": "campaign"}, {"id": "-1", "of": "sms"}} {
			_, err := o.Do(t.Context(), args, func(context.Context) (func() error, error) { return nil, nil })
			var e *providers.Error
			if !errors.As(err, &e) || e.Class != providers.Rejected || g.calls != 0 {
				t.Errorf("%s %v: %v after %d requests", o.Name, args, err, g.calls)
			}
		}
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	p := account(t, nil)
	key := func(m providers.Message) string { return p.GroupKey(&m) }
	other := message(1, "Hi Asha", nil)
	other.From = "Other"
	switch {
	case key(message(1, "Hi {{a}}", map[string]string{"a": "Asha"})) != key(message(2, "Hi Asha", nil)):
		t.Error("equal texts share a request, wherever they come from")
	case key(message(1, "Hi {{a}}", nil)) == key(message(1, "Hi {{a}}", map[string]string{"a": "Asha"})):
		t.Error("different texts do not")
	case key(other) == key(message(1, "Hi Asha", nil)):
		t.Error("nor do different senders")
	}
	g := &gateway{}
	b := &providers.Batch{ID: "b", Messages: []providers.Message{message(1, "Hi Asha", nil), other}}
	_, err := account(t, g).Send(t.Context(), b)
	var e *providers.Error
	if !errors.As(err, &e) || !e.Bisect || g.calls != 0 {
		t.Errorf("mixed senders: %v after %d requests, want a refusal before any", err, g.calls)
	}
}

// TestRefusals: what is named is stripped, what is shared is refused as a
// whole, what is unknown is searched.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer string
		class  providers.Class
		bad    []string
		bisect bool
	}{
		{`{"errors": {"phone_numbers": ["The following phone number is invalid: +33600000001"]}}`, providers.Rejected, []string{"+33600000001"}, false},
		{`{"errors": {"phone_numbers": ["invalid: 0033 6 00 00 00 01", "invalid: +33600000000, +33999999999"]}}`, providers.Rejected, []string{"+33600000000", "+33600000001"}, false},
		{`{"errors": {"phone_numbers": "invalid: +33600000002"}}`, providers.Rejected, []string{"+33600000002"}, false},
		{`{"errors": {"phone_numbers": ["The field must be a list"]}}`, providers.Rejected, nil, true},
		{`{"errors": {"phone_numbers": [{"x": 1}]}}`, providers.Rejected, nil, true},
		{`{"errors": {"message_text": ["empty"]}}`, providers.RejectedHere, nil, false},
		{`{"errors": {"message_stop": ["x"]}}`, providers.RejectedHere, nil, false},
		{`{"errors": {"delivery_date": ["x"]}}`, providers.RejectedHere, nil, false},
		{`{"errors": {"sender_id": ["x"]}}`, providers.RejectedHere, nil, false},
		{`{"errors": {"sender_id": ["x"], "phone_numbers": ["invalid: +33600000001"]}}`, providers.RejectedHere, nil, false},
		{`{"errors": {"colour": ["red"]}}`, providers.RejectedHere, nil, true},
		{`{"errors": {}}`, providers.RejectedHere, nil, true},
		{`<p>`, providers.RejectedHere, nil, true},
	} {
		for _, n := range []int{1, 3} {
			_, err := account(t, &gateway{status: 400, answer: c.answer}).Send(t.Context(), batch(n))
			var e *providers.Error
			if !errors.As(err, &e) {
				t.Fatalf("%s: %v", c.answer, err)
			}
			if e.Class != c.class || n > 1 && e.Bisect != c.bisect || n == 1 && e.Bisect {
				t.Errorf("%s to %d: %v, bisect %v; want %v, %v", c.answer, n, e.Class, e.Bisect, c.class, c.bisect)
			}
			if diff := cmp.Diff(c.bad, e.BadNumbers); n > 1 && diff != "" {
				t.Errorf("%s: %s", c.answer, diff)
			}
			if strings.Contains(err.Error(), "6000000") {
				t.Errorf("a number in %q", err)
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	const yes, no = providers.Accepted, providers.Uncertain
	for _, c := range []struct {
		answer string
		want   [2]providers.Class
	}{
		{`{"message_id": 7, "sms_ids": {"+33600000000": [1], "+33600000001": [2, 3]}}`, [2]providers.Class{yes, yes}},
		{`{"message_id": 7, "sms_ids": {"+33600000001": [2], "+33699999999": [4]}}`, [2]providers.Class{no, yes}},
		{`{"message_id": 7, "sms_ids": {"+33600000000": [], "+33600000001": 5}}`, [2]providers.Class{no, yes}},
		{`{"message_id": 7, "sms_ids": {"+33600000000": null, "0600000001": [1]}}`, [2]providers.Class{no, no}},
		{`{"message_id": 7, "sms_ids": []}`, [2]providers.Class{no, no}},
		{`{"message_id": 7}`, [2]providers.Class{no, no}},
		{`{"message_id": 1.2e8, "sms_ids": {"+33600000000": [1], "+33600000001": [2]}}`, [2]providers.Class{no, no}},
		{`{"message_id": -7, "sms_ids": {"+33600000000": [1], "+33600000001": [2]}}`, [2]providers.Class{no, no}},
		{`{"message_id": null, "sms_ids": {"+33600000000": [1], "+33600000001": [2]}}`, [2]providers.Class{no, no}},
	} {
		results, err := account(t, &gateway{status: 200, answer: c.answer}).Send(t.Context(), batch(2))
		var e *providers.Error
		if errors.As(err, &e) {
			if c.want != [2]providers.Class{e.Class, e.Class} {
				t.Errorf("%s: %v, want %v", c.answer, err, c.want)
			}
			continue
		}
		for i, r := range results {
			if r.Class != c.want[i] || r.ProviderID != "7" {
				t.Errorf("%s: message %d is %+v, want %v under id 7", c.answer, i, r, c.want[i])
			}
		}
	}
}

// TestFind holds every status from 10 to 39, and beyond.
func TestFind(t *testing.T) {
	t.Parallel()
	for status := range 60 {
		want, final := providers.ReportUnknown, false
		switch {
		case status >= 10 && status <= 12:
			want = providers.ReportPending
		case status == 13:
			want, final = providers.ReportDelivered, true
		case status >= 20 && status <= 39:
			want, final = providers.ReportUndelivered, true
		}
		g := &gateway{status: 200, answer: fmt.Sprintf(`[{"id": 1, "phone_number": "+33612345678", "status": %d}]`, status)}
		reports, done, err := find(t, account(t, g), "123456")
		if err != nil || len(reports) != 1 || reports[0].Status != want || done != final || reports[0].OptOut != (status == 26) {
			t.Errorf("status %d: %+v, done %v, %v; want %v, %v", status, reports, done, err, want, final)
		}
	}
	for _, answer := range []string{`{}`, `null`, `"x"`, `[1]`, ``, `[{"status": {}}]`} {
		reports, done, err := find(t, account(t, &gateway{status: 200, answer: answer}), "1")
		if err == nil || done {
			t.Errorf("%s: %v, done %v, want an error", answer, reports, done)
		}
	}
	reports, done, err := find(t, account(t, &gateway{status: 200, answer: `[]`}), "1")
	if err != nil || done || len(reports) != 0 {
		t.Errorf("nothing yet: %v, done %v, %v", reports, done, err)
	}
	for _, id := range []string{"", "x", "1/../../sms/1", "-1", "1e3"} {
		g := &gateway{}
		if _, _, err := find(t, account(t, g), id); err == nil || g.calls != 0 {
			t.Errorf("id %q: %v after %d requests, want an error before any", id, err, g.calls)
		}
	}
}

// TestFold: what several parts of one number say together, in any order.
func TestFold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		parts [2]string
		want  providers.ReportStatus
		code  string
		done  bool
	}{
		{[2]string{"13", "13"}, providers.ReportDelivered, "13", true},
		{[2]string{"13", "12"}, providers.ReportPending, "12", false},
		{[2]string{"13", "99"}, providers.ReportUnknown, "99", false},
		{[2]string{"13", "31"}, providers.ReportUndelivered, "31", true},
		{[2]string{"11", "20"}, providers.ReportUndelivered, "20", false},
	} {
		for _, format := range []string{
			`[{"phone_number": "+33612345678", "status": %s}, {"phone_number": "33612345678", "status": %s}]`,
			`[{"phone_number": "+33612345678", "status": %[2]s}, {"phone_number": "+33612345678", "status": %[1]s}]`,
		} {
			answer := fmt.Sprintf(format, c.parts[0], c.parts[1])
			reports, done, err := find(t, account(t, &gateway{status: 200, answer: answer}), "1")
			if err != nil || len(reports) != 1 || reports[0].Status != c.want || reports[0].Code != c.code || done != c.done {
				t.Errorf("%s: %+v, done %v, %v", answer, reports, done, err)
			}
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add(200, []byte(`[{"id": 123456, "phone_number": "+33612345678", "status": 13}]`))
	f.Add(200, []byte(`[{"phone_number": 33612345678, "status": "31"}, {}, {"status": 13}]`))
	f.Add(404, []byte(``))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		reports, done, err := find(t, account(t, &gateway{status: status, answer: string(body)}), "1")
		seen := map[string]bool{}
		for _, r := range reports {
			if r.To == "" || seen[r.To] || len(r.Code) > 64 {
				t.Fatalf("one report for each number: %+v", reports)
			}
			seen[r.To] = true
			if done && r.Status != providers.ReportDelivered && r.Status != providers.ReportUndelivered {
				t.Fatalf("done with %+v", r)
			}
		}
		if err != nil && (done || reports != nil) {
			t.Fatalf("reports beside an error: %v", err)
		}
	})
}
