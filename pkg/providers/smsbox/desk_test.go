package smsbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
	"github.com/tuma-sms/tuma/pkg/providers/smsbox"
)

func operation(t *testing.T, p providers.Provider, name string) providers.Operation {
	t.Helper()
	for _, o := range p.(providers.Desk).Operations() {
		if o.Name == name {
			return o
		}
	}
	t.Fatalf("no operation %s", name)
	return providers.Operation{}
}

func freely(context.Context) (func() error, error) { return func() error { return nil }, nil }

// TestDeskRefusesBeforeAsking: what the document forbids is not asked for, nor
// what says too little.
func TestDeskRefusesBeforeAsking(t *testing.T) {
	t.Parallel()
	transport := &answering{status: 200, answer: `{"status": true, "code": 200}`}
	p := account(t, transport)
	for _, c := range []struct {
		name string
		args map[string]string
	}{
		{providers.OpSuspend, nil},
		{providers.OpResume, map[string]string{"id": ""}},
		{providers.OpReschedule, map[string]string{"id": "sms-1"}},
		{providers.OpReschedule, map[string]string{"id": "sms-1", "at": "2026-03-05 08:30"}},
		{providers.OpReschedule, map[string]string{"id": "sms-1", "at": "2026-03-04T05:06:07Z"}}, // now
		{providers.OpRewrite, map[string]string{"id": "sms-1"}},
		{providers.OpRewrite, map[string]string{"id": "sms-1", "text": "caf\u00e9"}},
		{providers.OpRewrite, map[string]string{"id": "sms-1", "text": "ok", "from": "A_B"}},
		{providers.OpAskSender, map[string]string{"name": "TwelveLetter", "sample": "Your order is on its way"}},
		{providers.OpAskSender, map[string]string{"name": "A!", "sample": "Your order is on its way"}},
		{providers.OpAskSender, map[string]string{"name": "Shop", "sample": "Too short"}},
		{providers.OpAskSender, map[string]string{"name": "Shop", "sample": fmt.Sprintf("%0171d", 0)}},
	} {
		_, err := operation(t, p, c.name).Do(t.Context(), c.args, freely)
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Rejected && e.Class != providers.RejectedHere || transport.calls != 0 {
			t.Errorf("%s %v: %v after %d requests, want a refusal before any", c.name, c.args, err, transport.calls)
		}
	}
	noSlot := errors.New("no slot")
	_, err := operation(t, p, providers.OpSenders).Do(t.Context(), nil, func(context.Context) (func() error, error) { return nil, noSlot })
	if !errors.Is(err, noSlot) || transport.calls != 0 {
		t.Errorf("without a slot: %v after %d requests", err, transport.calls)
	}
}

// TestChangeIsMadeOnce: a GET that changes something is never repeated by
// itself, not even where net/http repeats a GET: on a connection that was used
// before and breaks.
func TestChangeIsMadeOnce(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			_, _ = io.WriteString(w, `{"status": true, "code": 200, "data": []}`)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}))
	defer server.Close()
	p, err := smsbox.New(providers.Options{BaseURL: server.URL, Credentials: suite().Credentials, Now: providertest.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operation(t, p, providers.OpSenders).Do(t.Context(), nil, freely); err != nil {
		t.Fatal(err)
	}
	_, err = operation(t, p, providers.OpSuspend).Do(t.Context(), map[string]string{"id": "sms-1"}, freely)
	var e *providers.Error
	if !errors.As(err, &e) || e.Class != providers.Uncertain {
		t.Errorf("got %v, want uncertain: it may have been changed", err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// TestAuthentication: each account sends what it is told to, and no more.
func TestAuthentication(t *testing.T) {
	t.Parallel()
	for auth, want := range map[any]string{
		nil: "canary-key canary-secret Basic Y2FuYXJ5LWtleTpjYW5hcnktc2VjcmV0", "both": "canary-key canary-secret Basic Y2FuYXJ5LWtleTpjYW5hcnktc2VjcmV0",
		"headers": "canary-key canary-secret ", "basic": "  Basic Y2FuYXJ5LWtleTpjYW5hcnktc2VjcmV0",
	} {
		options := map[string]any{}
		if auth != nil {
			options["auth"] = auth
		}
		got := ""
		p := accountWith(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			got = strings.Join(r.Header["api-key"], ",") + " " + strings.Join(r.Header["api-secret"], ",") + " " + r.Header.Get("Authorization") //nolint:staticcheck // as spelled is what it is about
			return nil, io.ErrUnexpectedEOF
		}), options)
		_, _ = p.(providers.Balancer).Balance(t.Context(), nil)
		if got != want {
			t.Errorf("%v: %q, want %q", auth, got, want)
		}
	}
	for _, options := range []map[string]any{{"auth": "bearer"}, {"auth": 1}, {"format": "XML"}, {"format": nil}} {
		if _, err := smsbox.New(providers.Options{Credentials: suite().Credentials, Options: options}); err == nil {
			t.Errorf("%v is taken", options)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestScheduleTime: in GMT, by the minute, never early, never in the past.
func TestScheduleTime(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"2026-03-05T08:30:00Z":      "2026-03-05 08:30",
		"2026-03-05T11:30:01+03:00": "2026-03-05 08:31",
		"2026-03-04T05:06:07Z":      "2026-03-04 05:08", // its minute ends in the next one, which may have begun over there
		"2026-03-04T05:06:00Z":      "",                 // due
		"2020-01-01T00:00:00Z":      "",
	} {
		transport := &answering{status: 200, answer: `{"status": true, "code": 200}`}
		m := message(1, "Hello", nil)
		m.Options = map[string]string{"scheduled_at": at}
		if _, err := account(t, transport).Send(t.Context(), &providers.Batch{ID: "b", Messages: []providers.Message{m}}); err != nil {
			t.Fatal(err)
		}
		if got := between(string(transport.body), `"schedule_time":"`, `"`); got != want {
			t.Errorf("%s: schedule_time %q, want %q", at, got, want)
		}
	}
	one, two := message(1, "Hello", nil), message(2, "Hello", nil)
	one.Options = map[string]string{"scheduled_at": "2026-03-05T08:30:00Z"}
	if p := account(t, nil); p.GroupKey(&one) == p.GroupKey(&two) {
		t.Error("one that waits shares a request with one that does not")
	}
	two.Options = map[string]string{"scheduled_at": "2026-03-05T11:29:30+03:00"}
	if p := account(t, nil); p.GroupKey(&one) != p.GroupKey(&two) {
		t.Error("one minute, two requests")
	}
}
