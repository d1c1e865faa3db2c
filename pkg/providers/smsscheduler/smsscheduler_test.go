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

func FuzzSend(f *testing.F) { providertest.FuzzSend(f, suite()) }

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
