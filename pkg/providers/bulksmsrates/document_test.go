package bulksmsrates_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/bulksmsrates"
)

// document reads an example of the document, as it stands there.
func document(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "document", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func decodeCursor(s string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	return string(raw), err
}

// kept is a transport that keeps the last body.
type kept struct {
	path string
	body map[string]any
}

func (k *kept) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	k.path, k.body = r.URL.Path, nil
	if len(body) > 0 {
		if err := json.Unmarshal(body, &k.body); err != nil {
			return nil, err
		}
	}
	return &http.Response{StatusCode: 500, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
}

// TestRequestsOfTheDocument: what the document shows as a request is what is sent,
// but for client_ref, which is always ours, and values that a body of one message
// has filled in.
func TestRequestsOfTheDocument(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 2, 18, 12, 0, 0, 0, time.UTC)
	sms := func(to, from, text string, vars, options map[string]string) providers.Message {
		return providers.Message{ID: "m", To: to, From: from, Text: text, Variables: vars, Options: options}
	}
	hi := "Hi {{name}}, your order is ready!"
	for name, messages := range map[string][]providers.Message{
		"send.json": {sms("+447700900123", "MyApp", "Hello from BulkSMSRates!", nil, nil)},
		"bulk.json": {
			sms("+447700900001", "MyApp", hi, map[string]string{"name": "Alice"}, nil),
			sms("+447700900002", "MyApp", hi, map[string]string{"name": "Bob"}, nil),
		},
		"whatsapp.json": {{ID: "m", To: "+447700900123", Channel: providers.WhatsApp, Template: &providers.Template{
			Name: "order_shipped", Language: "en", Parameters: []string{"Alice", "ORD-12345"},
		}}},
		"scheduled.json": {sms("+447700900001", "MyApp", "Your appointment is tomorrow!", nil, map[string]string{"scheduled_at": "2026-03-01T09:00:00Z"})},
	} {
		var want map[string]any
		if err := json.Unmarshal([]byte(document(t, name)), &want); err != nil {
			t.Fatal(err)
		}
		k := &kept{}
		p, err := bulksmsrates.New(providers.Options{Credentials: suite().Credentials, Transport: k, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Send(t.Context(), &providers.Batch{ID: "batch-001", Messages: messages}); err == nil {
			t.Fatal("an answer of 500 is an error")
		}
		delete(k.body, "client_ref")
		delete(want, "client_ref")
		if list, ok := want["recipients"].([]any); ok && len(list) == 1 { // one message goes by /sms/send
			want["to"] = list[0].(map[string]any)["to"]
			delete(want, "recipients")
		}
		if diff := cmp.Diff(want, k.body); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestCampaignOfTheDocument: the desk sends the document's example.
func TestCampaignOfTheDocument(t *testing.T) {
	t.Parallel()
	var want map[string]any
	if err := json.Unmarshal([]byte(document(t, "campaign.json")), &want); err != nil {
		t.Fatal(err)
	}
	args := map[string]string{}
	for name, value := range want {
		args[name] = value.(string)
	}
	k := &kept{}
	_, _ = operate(t, account(t, k, nil), "create-campaign", args)
	if diff := cmp.Diff(want, k.body); diff != "" || k.path != "/v1/campaigns" {
		t.Errorf("%s: %s", k.path, diff)
	}
}
