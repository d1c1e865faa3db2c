package judge_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/all"
)

const rates = simulator.BulkSMSRates

func freeSlot(context.Context) (func() error, error) { return func() error { return nil }, nil }

// TestBulkSMSRatesSends: every parameter of a send, and WhatsApp.
func TestBulkSMSRatesSends(t *testing.T) { t.Parallel(); each(t, judgeBulkSMSRatesSends) }

func judgeBulkSMSRatesSends(t *testing.T, loose bool) {
	kept := map[string]string{"template_id": "550e8400-e29b-41d4-a716-446655440000", "unicode": "true", "scheduled_at": later(time.Hour)}
	vars := func(i int, name string) providers.Message {
		m := message(fmt.Sprint("+44770090000", i), "{{name}} {{code}}", kept)
		m.Variables = map[string]string{"name": name, "code": fmt.Sprint(i)}
		return m
	}
	soon := message("+447700900001", "Hi {{x}}", nil)
	soon.ExpiresAt = time.Now().Add(10 * time.Minute)
	for name, c := range map[string]struct {
		sent []providers.Message
		want map[string]string
	}{
		"one":          {[]providers.Message{soon}, map[string]string{"+447700900001": "ACME: Hi {{x}}"}},
		"kept text":    {[]providers.Message{vars(1, "Asha")}, map[string]string{"+447700900001": "ACME: Hi Asha, code: 1"}},
		"kept, of two": {[]providers.Message{vars(1, "Asha"), vars(2, "Ben")}, map[string]string{"+447700900001": "ACME: Hi Asha, code: 1", "+447700900002": "ACME: Hi Ben, code: 2"}},
		"whatsapp": {[]providers.Message{{ID: "1", To: "+447700900001", Channel: providers.WhatsApp, Template: &providers.Template{
			Name: "order_shipped", Language: "en", Parameters: []string{"Asha", "{{7}}"},
		}}}, map[string]string{"+447700900001": "+447700900999: Hi Asha, your order {{7}} has been shipped."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := start(t, loose)
			_, texts := j.taken(rates, j.account(rates, nil), c.sent...)
			if diff := cmp.Diff(c.want, texts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBulkSMSRatesBearer: an account without a key pair sends once it has logged in.
func TestBulkSMSRatesBearer(t *testing.T) { t.Parallel(); each(t, judgeBulkSMSRatesBearer) }

func judgeBulkSMSRatesBearer(t *testing.T, loose bool) {
	j := start(t, loose)
	demo := simulator.DemoCredentials()[rates]
	p, err := all.Types()[rates].New(providers.Options{
		BaseURL: j.sim.BaseURL(j.url, rates), Timeout: 5 * time.Second,
		Credentials: map[string]string{"email": demo["email"], "password": demo["password"], "webhook_secret": "x"},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &providers.Batch{ID: "t1-1", Messages: []providers.Message{message("+447700900001", "Hi", nil)}, Start: func() error { return nil }}
	if _, err := p.Send(t.Context(), b); !errors.Is(err, providers.ErrAgain) {
		t.Errorf("the first: %v", err)
	}
	if results, err := p.Send(t.Context(), b); err != nil || results[0].Class != providers.Accepted {
		t.Errorf("%+v, %v", results, err)
	}
	if n := j.sim.Ledger().Messages(rates); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// look reads all pages of a look-up, and returns the states by number.
func (j judge) look(p providers.Provider, q *providers.Query) map[string]providers.ReportStatus {
	j.Helper()
	out := map[string]providers.ReportStatus{}
	for range 10 {
		found, err := p.(providers.Finder).Find(j.Context(), q, nil)
		if err != nil {
			j.Fatal(err)
		}
		for _, r := range found.Reports {
			out[r.To] = r.Status
		}
		if q.Cursor = found.Cursor; q.Cursor == "" {
			return out
		}
	}
	j.Fatal("it never ends")
	return nil
}

// TestBulkSMSRatesLooksUp: a message by its id, an attempt without an answer by the
// reference that the log echoes, and a batch of which some were rejected by its
// counts.
func TestBulkSMSRatesLooksUp(t *testing.T) { t.Parallel(); each(t, judgeBulkSMSRatesLooksUp) }

func judgeBulkSMSRatesLooksUp(t *testing.T, loose bool) {
	batch := func(numbers ...string) (list []providers.Message) {
		for i, to := range numbers {
			m := message(to, "Hi", nil)
			m.ID = fmt.Sprint("m-", i)
			list = append(list, m)
		}
		return list
	}
	for name, c := range map[string]struct {
		sent  []providers.Message
		fault simulator.Fault
		want  map[string]providers.ReportStatus
	}{
		"one": {batch("+447700900001"), simulator.Fault{}, map[string]providers.ReportStatus{"+447700900001": providers.ReportDelivered}},
		"one, no answer": {batch("+447709990002"), simulator.Fault{Kind: "status", Status: 502, After: true},
			map[string]providers.ReportStatus{"+447709990002": providers.ReportUndelivered}},
		"several, no answer": {batch("+447700900001", "+447709990002", "+447709990003"), simulator.Fault{Kind: "reset", After: true}, map[string]providers.ReportStatus{
			"+447700900001": providers.ReportDelivered, "+447709990002": providers.ReportUndelivered, "+447709990003": providers.ReportPending,
		}},
		"not taken": {batch("+447700900001", "+447700900002"), simulator.Fault{Kind: "status", Status: 500}, map[string]providers.ReportStatus{}},
		"no reference": {batch("+447700900001", "+447700900002"), simulator.Fault{Kind: "no_client_ref"},
			map[string]providers.ReportStatus{"+447700900001": providers.ReportDelivered, "+447700900002": providers.ReportDelivered}},
		"one rejected": {batch("+447709990008", "+447709990006", "+447700900001"), simulator.Fault{}, map[string]providers.ReportStatus{
			"+447709990008": providers.ReportUndelivered, "+447709990006": providers.ReportRefused, "+447700900001": providers.ReportDelivered,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := start(t, loose)
			if c.fault.Kind != "" {
				j.faults(c.fault)
			}
			p := j.account(rates, nil)
			q := &providers.Query{BatchID: "t1-1", Sent: time.Now(), Messages: c.sent, Size: len(c.sent)}
			if results, err := j.send(p, c.sent...); err == nil {
				q.ProviderIDs, q.Accepted = []string{results[0].ProviderID}, results[0].Taken
			}
			if diff := cmp.Diff(c.want, j.look(p, q)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBulkSMSRatesDesk: each operation is understood, and does what it says.
func TestBulkSMSRatesDesk(t *testing.T) { t.Parallel(); each(t, judgeBulkSMSRatesDesk) }

func judgeBulkSMSRatesDesk(t *testing.T, loose bool) {
	j := start(t, loose)
	p := j.account(rates, nil)
	args := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i+1 < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	data := func(name string, a map[string]string) map[string]any {
		t.Helper()
		shown, err := j.ask(p, name, a)
		top, _ := shown.(map[string]any)
		if err != nil || top == nil {
			t.Fatalf("%s: %v, %v", name, shown, err)
		}
		if inner, ok := top["data"].(map[string]any); ok {
			return inner
		}
		return top
	}
	ids, _ := j.taken(rates, p, message("+447700900001", "Hi", nil))
	if got := data("status", args("id", ids[0])); got["status"] != "delivered" {
		t.Error(got)
	}
	later := later(time.Hour)
	id := data("create-campaign", args("name", "Spring Sale", "from", "MyShop", "body", "Hi", "schedule_at", later))["id"].(string)
	for _, c := range []struct{ operation, key, want string }{
		{"submit-campaign", "", "CONFLICT"}, {"campaign-recipients", "added", "1"}, {"submit-campaign", "status", "scheduled"},
		{"suspend", "status", "paused"}, {"suspend", "", "CONFLICT"}, {"resume", "status", "scheduled"}, {"cancel", "status", "cancelled"},
		{"campaign", "status", "cancelled"}, {"cancel", "", "CONFLICT"},
	} {
		a := args("id", id)
		if c.operation == "campaign-recipients" {
			a["to"] = "+447700900002"
		}
		if c.want != "CONFLICT" {
			if got := data(c.operation, a); fmt.Sprint(got[c.key]) != c.want {
				t.Errorf("%s: %v", c.operation, got)
			}
			continue
		}
		var e *providers.Error
		if _, err := j.ask(p, c.operation, a); !errors.As(err, &e) || e.Code != c.want || e.Class != providers.RejectedHere {
			t.Errorf("%s: %v", c.operation, err)
		}
	}
	data("request-sender", args("name", "MyShop"))
	data("create-template", args("name", "hi_there", "language", "en", "category", "UTILITY", "text", "Hi {{1}}"))
	data("delete-template", args("id", "hi_there"))
	for _, name := range []string{
		"messages", "message-log", "dlr-stats", "campaigns", "senders", "templates", "whatsapp-conversations", "whatsapp-accounts",
		"opt-outs", "webhooks", "balance", "usage", "sandbox-reset",
	} {
		data(name, nil)
	}
	data("message-log", args("status", "delivered", "destination", "+447700900001", "page_size", "500", "from_date", "2026-01-01T00:00:00Z", "to_date", later))
	if money, err := p.(providers.Balancer).Balance(t.Context(), nil); err != nil || !strings.HasSuffix(money, " GBP") {
		t.Errorf("balance %q, %v", money, err)
	}
}

// TestBulkSMSRatesSubscribes: a webhook is made, given all events, and woken up.
func TestBulkSMSRatesSubscribes(t *testing.T) { t.Parallel(); each(t, judgeBulkSMSRatesSubscribes) }

func judgeBulkSMSRatesSubscribes(t *testing.T, loose bool) {
	j := start(t, loose)
	p := j.account(rates, map[string]any{"webhooks": true})
	for _, c := range []struct{ token, want string }{
		{"token", "webhook created"}, {"token", ""}, {"token-2", "webhook moved to the new token"}, {"token-2", ""},
	} {
		got, err := p.(providers.Subscriber).Subscribe(t.Context(), "https://tuma.example/dlr/a/"+c.token, freeSlot)
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.token, got, err, c.want)
		}
	}
	shown, err := j.ask(p, "webhooks", nil)
	if err != nil || strings.Count(fmt.Sprint(shown), "wh_") != 1 || strings.Contains(fmt.Sprint(shown), "token") {
		t.Errorf("%v, %v", shown, err)
	}
}
