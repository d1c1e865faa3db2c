package bulksmsrates_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/bulksmsrates"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

func suite() providertest.Suite {
	return providertest.Suite{
		New: bulksmsrates.New,
		Credentials: map[string]string{
			"api_key": "canary-key", "api_secret": "canary-secret", "webhook_secret": secret,
		},
		Dir: "testdata",
		Features: providertest.Features{
			Reports: true, Balance: true, Notices: true, Find: true, Desk: true, Subscribe: true, Challenge: true, Inbound: true,
		},
		Accept: accept,
		Report: func(event string) *providers.Callback {
			body, _ := json.Marshal(map[string]any{"event": event, "data": map[string]string{"message_id": "m-1"}})
			return signed(string(body), providertest.Now())
		},
		Find: func(status string) (*providers.Query, string) {
			q := &providers.Query{BatchID: "batch-1", ProviderIDs: []string{"m-1"}, Messages: []providers.Message{message(1, "x", nil)}, Size: 1}
			return q, `{"data": {"message_id": "m-1", "status": "` + status + `"}}`
		},
	}
}

func TestConformance(t *testing.T) { providertest.Run(t, suite()) }
func FuzzSend(f *testing.F)        { providertest.FuzzSend(f, suite()) }
func FuzzReports(f *testing.F)     { providertest.FuzzReports(f, suite()) }

func accept(r *http.Request, body []byte) string {
	if strings.HasSuffix(r.URL.Path, "/sms/send") {
		return `{"id": "m-1", "messageId": "m-1", "status": "queued", "segments": 1}`
	}
	var sent request
	_ = json.Unmarshal(body, &sent)
	return fmt.Sprintf(`{"data": {"batch_id": "b-1", "accepted": %d, "rejected": 0}}`, len(sent.Recipients))
}

// request is the body of both operations, as the document's tables have it.
type request struct {
	To         string            `json:"to"`
	Recipients []request         `json:"recipients"`
	From       string            `json:"from"`
	Body       string            `json:"body"`
	Variables  map[string]string `json:"variables"`
	ClientRef  string            `json:"client_ref"`
	Validity   *int              `json:"validity_minutes"`
}

// gateway is a transport that keeps what it was asked and answers as told, or
// accepts.
type gateway struct {
	status int
	answer string
	header http.Header // of the last request
	path   string
	sent   request
	calls  int
}

func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	g.calls++
	g.header, g.path = r.Header, r.URL.Path
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	g.sent = request{}
	if err := json.Unmarshal(body, &g.sent); err != nil {
		return nil, err
	}
	status, answer := g.status, g.answer
	if status == 0 {
		status, answer = 200, accept(r, body)
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"7"}}, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

func account(t interface{ Fatal(...any) }, transport http.RoundTripper, options map[string]any) providers.Provider {
	p, err := bulksmsrates.New(providers.Options{
		Credentials: suite().Credentials, Options: options, Transport: transport, Now: providertest.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func message(i int, text string, vars map[string]string) providers.Message {
	return providers.Message{
		ID: fmt.Sprint("m-", i), To: fmt.Sprintf("+4477009%05d", i), From: "MyApp", Text: text, Variables: vars,
		ExpiresAt: providertest.Now().Add(48 * time.Hour),
	}
}

func batch(texts ...string) *providers.Batch {
	b := &providers.Batch{ID: "batch-1"}
	for i, text := range texts {
		b.Messages = append(b.Messages, message(i, text, nil))
	}
	return b
}

// TestCodes holds every row of the document's error table, for one message and
// for several.
func TestCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		code   string
		class  providers.Class
		bisect bool
		wait   time.Duration
	}{
		{400, "VALIDATION_ERROR", providers.RejectedHere, true, 0},
		{400, "INVALID_PHONE_NUMBER", providers.Rejected, true, 0},
		{400, "INVALID_SENDER_ID", providers.RejectedHere, false, 0},
		{400, "MESSAGE_TOO_LONG", providers.RejectedHere, true, 0},
		{401, "UNAUTHORIZED", providers.Misconfigured, false, 7 * time.Second},
		{401, "ACCOUNT_LOCKED", providers.Misconfigured, false, 7 * time.Second},
		{403, "FORBIDDEN", providers.Misconfigured, false, 7 * time.Second},
		{404, "NOT_FOUND", providers.Misconfigured, false, 7 * time.Second},
		{409, "CONFLICT", providers.Uncertain, false, 0},
		{422, "INSUFFICIENT_BALANCE", providers.Misconfigured, false, 7 * time.Second},
		{422, "OPT_OUT", providers.Rejected, true, 0},
		{422, "BLACKLISTED", providers.Rejected, true, 0},
		{429, "RATE_LIMITED", providers.Throttled, false, 7 * time.Second},
		{429, "ACCOUNT_LOCKED", providers.Misconfigured, false, 7 * time.Second},
		{500, "INTERNAL_ERROR", providers.Uncertain, false, 0},
		{503, "SERVICE_UNAVAILABLE", providers.Unavailable, false, 7 * time.Second},
		// Pairs that the document does not have go by the status.
		{503, "OPT_OUT", providers.Unavailable, false, 7 * time.Second}, // though not a proxy's
		{500, "OPT_OUT", providers.Uncertain, false, 0},
		{200, "NEW_REASON", providers.Uncertain, false, 0},
		{422, "NEW_REASON", providers.RejectedHere, true, 7 * time.Second},
		{429, "OPT_OUT", providers.Throttled, false, 7 * time.Second},
	} {
		g := &gateway{status: c.status, answer: `{"error": {"code": "` + c.code + `", "message": "of +447700900001"}}`}
		for _, b := range []*providers.Batch{batch("x"), batch("x", "x")} {
			_, err := account(t, g, nil).Send(t.Context(), b)
			var e *providers.Error
			if !errors.As(err, &e) {
				t.Fatalf("%d %s: got %v", c.status, c.code, err)
			}
			want := providers.Error{Class: c.class, Status: c.status, Code: c.code, Detail: "of +#", Bisect: c.bisect && len(b.Messages) > 1, RetryAfter: c.wait}
			if c.class == providers.Rejected && c.code != "INVALID_PHONE_NUMBER" {
				want.OptOut = len(b.Messages) == 1
			}
			if c.code == "INSUFFICIENT_BALANCE" {
				want.Need = providers.NeedBalance
			}
			got := *e
			got.Err = nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%d %s for %d: %s", c.status, c.code, len(b.Messages), diff)
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer string
		n      int
		want   providers.Class
	}{
		{`{"messageId": "a", "status": "failed"}`, 1, providers.RejectedHere},
		{`{"data": {"message_id": 12, "status": "sent"}}`, 1, providers.Accepted},
		{`{"data": {}}`, 1, providers.Uncertain},
		{`{"status": "queued"}`, 1, providers.Uncertain},
		{`{"data": {"batch_id": "x", "accepted": 2, "rejected": 0}}`, 2, providers.Accepted},
		{`{"data": {"accepted": "2"}}`, 2, providers.Accepted}, // taken, unnamed
		{`{"data": {"batch_id": "x", "accepted": 3, "rejected": 0}}`, 2, providers.Uncertain},
		{`{"data": {"batch_id": "x", "accepted": 1, "rejected": 0}}`, 2, providers.Uncertain},
		{`{"data": {"batch_id": "x", "accepted": 0, "rejected": 0}}`, 2, providers.Uncertain},
		{`{"data": {"batch_id": "x", "accepted": 0, "rejected": 2}}`, 2, providers.RejectedHere},
		{`{"data": {"batch_id": "x"}}`, 2, providers.Uncertain},
		{`{"data": {"batch_id": "x", "accepted": 2, "rejected": "?"}}`, 2, providers.Uncertain},
	} {
		results, err := account(t, &gateway{status: 202, answer: c.answer}, nil).Send(t.Context(), batch([]string{"x", "x"}[:c.n]...))
		var e *providers.Error
		if errors.As(err, &e) {
			if e.Class != c.want {
				t.Errorf("%s: got %v, want %v", c.answer, e, c.want)
			}
			continue
		}
		for _, r := range results {
			if r.Class != c.want {
				t.Errorf("%s: got %+v, want %v", c.answer, r, c.want)
			}
		}
	}
}

// TestRequest: path, client_ref and headers.
func TestRequest(t *testing.T) {
	t.Parallel()
	g := &gateway{}
	p := account(t, g, map[string]any{"sandbox": true})
	for n, path := range map[int]string{1: "/v1/sms/send", 2: "/v1/sms/bulk"} {
		if _, err := p.Send(t.Context(), batch([]string{"x", "x"}[:n]...)); err != nil {
			t.Fatal(err)
		}
		if g.path != path || g.sent.ClientRef != "batch-1" || g.header.Get("X-Sandbox") != "true" ||
			!slices.Equal(g.header["X-API-Key"], []string{"canary-key"}) || !slices.Equal(g.header["X-API-Secret"], []string{"canary-secret"}) { //nolint:staticcheck // as spelled is what it is about
			t.Errorf("%d messages: %s, client_ref %q, %v", n, g.path, g.sent.ClientRef, g.header)
		}
	}
	if _, err := account(t, g, map[string]any{"sandbox": false}).Send(t.Context(), batch("x")); err != nil || g.header.Get("X-Sandbox") != "" {
		t.Errorf("without sandbox: %v, X-Sandbox %q", err, g.header.Get("X-Sandbox"))
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]any{"sandbox": "yes", "whole_text": 1, "webhook_tolerance": 15, "colour": "red"} {
		_, err := bulksmsrates.New(providers.Options{Credentials: suite().Credentials, Options: map[string]any{key: value}})
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v gives %v, want an error that names the option", key, value, err)
		}
	}
	for _, value := range []any{"5m", 5 * time.Minute} {
		if _, err := bulksmsrates.New(providers.Options{Credentials: suite().Credentials, Options: map[string]any{"webhook_tolerance": value}}); err != nil {
			t.Errorf("webhook_tolerance %v: %v", value, err)
		}
	}
}

// TestMixed: what does not belong together is never sent.
func TestMixed(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]*providers.Batch{
		"texts":   batch("x", "y"),
		"senders": {ID: "b", Messages: []providers.Message{message(0, "x", nil), {To: "+447700900001", From: "Other", Text: "x"}}},
		"refused": batch("x", ""),
	} {
		g := &gateway{}
		_, err := account(t, g, nil).Send(t.Context(), b)
		var e *providers.Error
		if !errors.As(err, &e) || !e.Bisect || g.calls != 0 {
			t.Errorf("%s: got %v after %d requests, want a refusal before any", name, err, g.calls)
		}
	}
}

func TestBalanceKeepsToItsSlot(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"data": {"available": 1250, "currency": "GBP"}}`))
	}))
	t.Cleanup(server.Close)
	p, err := bulksmsrates.New(providers.Options{Credentials: suite().Credentials, BaseURL: server.URL, Now: providertest.Now})
	if err != nil {
		t.Fatal(err)
	}
	missed := errors.New("the slot passed")
	_, err = p.(providers.Balancer).Balance(t.Context(), func() error { return missed })
	if !errors.Is(err, missed) || asked.Load() != 0 {
		t.Errorf("%v, %d requests", err, asked.Load())
	}
}
