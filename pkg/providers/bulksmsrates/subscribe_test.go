package bulksmsrates_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/bulksmsrates"
)

// hooks is a gateway's list of webhooks.
type hooks struct {
	list    string
	created string // the answer to a new one
	asked   []string
}

func (h *hooks) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	line := r.Method + " " + r.URL.Path
	if len(body) > 0 {
		var in map[string]any
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		line += fmt.Sprint(" ", in["url"], " ", len(in["events"].([]any)), " ", in["active"])
	}
	h.asked = append(h.asked, line)
	answer := h.list
	if r.Method == http.MethodPost {
		answer = h.created
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

const (
	ours   = "https://tuma.example/dlr/main/new-token"
	list   = "GET /v1/settings/webhooks"
	events = `["dlr", "opt_out", "campaign.completed", "campaign.failed", "balance.low", "whatsapp.message"]`
)

func TestSubscribe(t *testing.T) {
	t.Parallel()
	update := "PATCH /v1/settings/webhooks/wh_1 " + ours + " 6 true"
	create := "POST /v1/settings/webhooks " + ours + " 6 <nil>"
	other := `{"id": "wh_9", "url": "https://tuma.example/dlr/other/token", "events": ["dlr"], "active": false}`
	for name, c := range map[string]struct {
		list, created, changed string
		asked                  []string
	}{
		"well":           {`{"id": "wh_1", "url": "` + ours + `", "events": ` + events + `, "active": true}`, "", "", []string{list}},
		"nothing told":   {`{"id": "wh_1", "url": "` + ours + `"}`, "", "", []string{list}},
		"inactive":       {`{"id": "wh_1", "url": "` + ours + `", "events": ` + events + `, "active": false}`, "", "webhook re-activated", []string{list, update}},
		"inactive, said": {`{"id": "wh_1", "url": "` + ours + `", "status": "Inactive"}`, "", "webhook re-activated", []string{list, update}},
		"lacks events":   {`{"id": "wh_1", "url": "` + ours + `", "events": ["dlr"]}`, "", "webhook gets all events", []string{list, update}},
		"old token":      {`{"id": "wh_1", "url": "https://tuma.example/dlr/main/old-token", "events": ` + events + `}`, "", "webhook moved to the new token", []string{list, update}},
		"none":           {``, `{"data": {"id": "wh_2"}}`, "webhook created", []string{list, create}},
		"only another's": {other, `{"data": {"id": "wh_2", "secret": "` + secret + `"}}`, "webhook created", []string{list, create}},
		"secret of its own": {other, `{"data": {"id": "wh_2", "secret": "canary-theirs"}}`,
			"webhook created; the gateway gave it a secret that is not in credentials.webhook_secret: set it there, or nothing that it sends counts", []string{list, create}},
	} {
		h := &hooks{list: `{"data": [` + c.list + `], "pagination": {"has_more": false}}`, created: c.created}
		changed, err := subscribe(t, h, map[string]any{"webhooks": true}, ours)
		for i := range h.asked {
			h.asked[i], _, _ = strings.Cut(h.asked[i], "?")
		}
		if diff := cmp.Diff(c.asked, h.asked); err != nil || changed != c.changed || diff != "" {
			t.Errorf("%s: %q, %v, %s", name, changed, err, diff)
		}
	}
	h := &hooks{}
	if changed, err := subscribe(t, h, nil, ours); changed != "" || err != nil || len(h.asked) != 0 {
		t.Errorf("not asked for: %q, %v, %v", changed, err, h.asked)
	}
	// A URL without a token has no part that may differ.
	h = &hooks{list: `{"data": [{"id": "wh_9", "url": "https://tuma.example/dlr/other"}]}`, created: "{}"}
	if _, err := subscribe(t, h, map[string]any{"webhooks": true}, "https://tuma.example/dlr/main"); err != nil || len(h.asked) != 2 || !strings.HasPrefix(h.asked[1], "POST") {
		t.Errorf("without a token: %v, %v", h.asked, err)
	}
	for _, bad := range []string{`[]`, `{}`, `{"data": {}}`} {
		if _, err := subscribe(t, &hooks{list: bad}, map[string]any{"webhooks": true}, ours); err == nil {
			t.Errorf("%s: a list that cannot be read makes no new webhook", bad)
		}
	}
}

func subscribe(t *testing.T, h http.RoundTripper, options map[string]any, url string) (string, error) {
	t.Helper()
	p, err := bulksmsrates.New(providers.Options{Account: "main", Credentials: suite().Credentials, Options: options, Transport: h})
	if err != nil {
		t.Fatal(err)
	}
	return p.(providers.Subscriber).Subscribe(t.Context(), url, func(context.Context) (func() error, error) { return nil, nil })
}

// TestTokenStaysOutOfErrors: the callback's URL ends with a secret, and a gateway may
// repeat it.
func TestTokenStaysOutOfErrors(t *testing.T) {
	t.Parallel()
	const callback = "https://tuma.example/dlr/main/canary-1234567890-token"
	_, err := subscribe(t, answers{422, nil, `{"error": {"code": "VALIDATION_ERROR", "message": "cannot reach ` + callback + `, try again"}}`}, map[string]any{"webhooks": true}, callback)
	if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "token") || !strings.Contains(err.Error(), "try again") {
		t.Error(err)
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	with := func(token string) providers.Challenger {
		creds := map[string]string{"api_key": "k", "api_secret": "s", "webhook_secret": secret, "verify_token": token}
		p, err := bulksmsrates.New(providers.Options{Credentials: creds})
		if err != nil {
			t.Fatal(err)
		}
		return p.(providers.Challenger)
	}
	ask := func(method, mode, token, challenge string) *providers.Callback {
		return &providers.Callback{Method: method, Query: url.Values{"hub.mode": {mode}, "hub.verify_token": {token}, "hub.challenge": {challenge}}}
	}
	for name, c := range map[string]struct {
		cb *providers.Callback
		ok bool
	}{
		"right":          {ask("GET", "subscribe", "known", "1158201444"), true},
		"other token":    {ask("GET", "subscribe", "guess", "1158201444"), false},
		"no token":       {ask("GET", "subscribe", "", "1158201444"), false},
		"other mode":     {ask("GET", "unsubscribe", "known", "1158201444"), false},
		"no challenge":   {ask("GET", "subscribe", "known", ""), false},
		"a script":       {ask("GET", "subscribe", "known", "<script>"), false},
		"far too long":   {ask("GET", "subscribe", "known", strings.Repeat("1", 257)), false},
		"not a question": {ask("POST", "subscribe", "known", "1158201444"), false},
	} {
		kind, answer, ok := with("known").Challenge(c.cb)
		if ok != c.ok || ok && (string(answer) != "1158201444" || !strings.HasPrefix(kind, "text/plain")) {
			t.Errorf("%s: %q, %q, %v", name, kind, answer, ok)
		}
	}
	if _, _, ok := with("").Challenge(ask("GET", "subscribe", "", "1")); ok {
		t.Error("without a verify_token nobody is known")
	}
}

// TestNotices: none of these payloads is documented, so many are understood.
func TestNotices(t *testing.T) {
	t.Parallel()
	p := account(t, nil, nil).(providers.Noticer)
	for body, want := range map[string]*providers.Notice{
		`{"event": "opt_out", "data": {"phone": "447700900123", "keyword": "STOP"}}`:           {Kind: providers.NoticeOptOut, Number: "+447700900123", Detail: "STOP"},
		`{"event": "OPT_OUT", "data": {"contact": {"phone": "+44 7700 900123"}}}`:              {Kind: providers.NoticeOptOut, Number: "+447700900123"},
		`{"event": "opt_out", "destination": "+447700900123"}`:                                 {Kind: providers.NoticeOptOut, Number: "+447700900123"},
		`{"event": "balance.low", "data": {"available": 99, "balance": 1, "currency": "GBP"}}`: {Kind: providers.NoticeBalanceLow, Detail: "0.99 GBP"},
		`{"event": "balance.low"}`: {Kind: providers.NoticeBalanceLow},
		`{"event": "campaign.failed", "data": {"id": "c-1", "error": "no route"}}`: {Kind: providers.NoticeCampaign, ID: "c-1", Detail: "failed: no route"},
		`{"event": "campaign.completed", "data": {"batch_id": "b-1"}}`:             {Kind: providers.NoticeCampaign, ID: "b-1", Detail: "completed"},
		`{"event": "message.delivered", "data": {"message_id": "m"}}`:              nil,
		`{"event": "invoice.paid"}`:                                                nil,
		`{"event": "whatsapp.message", "data": {"message": {"id": "w", "from": "447700900123", "text": "x"}}}`: {
			Kind: providers.NoticeInbound, ID: "w", MO: &providers.Inbound{ID: "w", From: "+447700900123", Text: "x"},
		},
	} {
		got, err := p.ParseNotices(&providers.Callback{Body: []byte(body)})
		var all []providers.Notice
		if want != nil {
			all = []providers.Notice{*want}
		}
		if diff := cmp.Diff(all, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", body, err, diff)
		}
	}
	for _, body := range []string{`{"event": "opt_out", "data": {"number": "STOP"}}`, `{"event": "whatsapp.message", "data": {"text": "x"}}`} {
		if got, err := p.ParseNotices(&providers.Callback{Body: []byte(body)}); err == nil || got != nil {
			t.Errorf("%s: %v", body, got)
		}
	}
}
