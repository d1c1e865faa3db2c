package bulksmsrates_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

const aTemplate = "550e8400-e29b-41d4-a716-446655440000"

func withOptions(i int, options map[string]string) providers.Message {
	m := message(i, "x", nil)
	m.Options = options
	return m
}

func TestCheckOptions(t *testing.T) {
	t.Parallel()
	p := account(t, nil, nil)
	at := func(d time.Duration) string { return providertest.Now().Add(d).Format(time.RFC3339) }
	for _, c := range []struct {
		options map[string]string
		carried bool
	}{
		{nil, true},
		{map[string]string{"template_id": aTemplate, "unicode": "true", "scheduled_at": at(time.Hour)}, true},
		{map[string]string{"unicode": "false"}, true},
		{map[string]string{"scheduled_at": at(-time.Hour)}, true}, // at once
		{map[string]string{"template_id": "7"}, false},
		{map[string]string{"unicode": "yes"}, false},
		{map[string]string{"scheduled_at": "tomorrow"}, false},
		{map[string]string{"scheduled_at": at(49 * time.Hour)}, false}, // expired by then
		{map[string]string{"client_ref": "mine"}, false},
		{map[string]string{"link_id": "x"}, false},
	} {
		m := withOptions(1, c.options)
		err := p.Check(&m)
		var e *providers.Error
		if c.carried && err != nil || !c.carried && (!errors.As(err, &e) || e.Class != providers.RejectedHere) {
			t.Errorf("%v: %v", c.options, err)
		}
	}
	m := withOptions(1, map[string]string{"scheduled_at": at(31 * 24 * time.Hour)})
	m.ExpiresAt = time.Time{}
	if err := p.Check(&m); err == nil {
		t.Error("31 days ahead is refused")
	}
}

// TestOptionsDoNotMix: messages of different options never share a request.
func TestOptionsDoNotMix(t *testing.T) {
	t.Parallel()
	for _, account := range []providers.Provider{account(t, &gateway{}, nil), account(t, &gateway{}, map[string]any{"whole_text": true})} {
		keys := map[string]bool{}
		list := []map[string]string{
			nil, {"unicode": "true"}, {"template_id": aTemplate}, {"scheduled_at": "2026-03-05T09:00:00Z"},
			{"scheduled_at": "2026-03-05T09:00:00Z", "unicode": "true"},
		}
		for _, o := range list {
			m := withOptions(1, o)
			keys[account.GroupKey(&m)] = true
		}
		if len(keys) != len(list) {
			t.Errorf("%d keys for %d sets of options", len(keys), len(list))
		}
		same, other := withOptions(1, map[string]string{"scheduled_at": "2026-03-05T09:00:00Z"}), withOptions(2, map[string]string{"scheduled_at": "2026-03-05T12:00:00+03:00"})
		if account.GroupKey(&same) != account.GroupKey(&other) {
			t.Error("one time in two zones is one time")
		}
		b := &providers.Batch{ID: "b", Messages: []providers.Message{withOptions(1, nil), withOptions(2, list[1])}}
		var e *providers.Error
		if _, err := account.Send(t.Context(), b); !errors.As(err, &e) || !e.Bisect {
			t.Errorf("mixed options: %v", err)
		}
	}
}

func whatsApp(i int) providers.Message {
	m := message(i, "", nil)
	m.From, m.Channel, m.Template = "", providers.WhatsApp, &providers.Template{Name: "order_shipped", Language: "en_US", Parameters: []string{"Alice"}}
	return m
}

func TestCheckWhatsApp(t *testing.T) {
	t.Parallel()
	p := account(t, nil, nil)
	for name, change := range map[string]func(*providers.Message){
		"":                    func(*providers.Message) {},
		"no template":         func(m *providers.Message) { m.Template = nil },
		"a text":              func(m *providers.Message) { m.Text = "x" },
		"capital letters":     func(m *providers.Message) { m.Template.Name = "OrderShipped" },
		"no language":         func(m *providers.Message) { m.Template.Language = "" },
		"language of its own": func(m *providers.Message) { m.Template.Language = "english" },
		"an empty parameter":  func(m *providers.Message) { m.Template.Parameters = []string{"a", ""} },
		"an option":           func(m *providers.Message) { m.Options = map[string]string{"unicode": "true"} },
		"another channel":     func(m *providers.Message) { m.Channel = "fax" },
		"a national number":   func(m *providers.Message) { m.To = "0700" },
	} {
		m := whatsApp(1)
		change(&m)
		if err := p.Check(&m); (err == nil) != (name == "") {
			t.Errorf("%q: %v", name, err)
		}
	}
	m := message(1, "x", nil)
	if m.Template = whatsApp(1).Template; p.Check(&m) == nil {
		t.Error("an SMS with a template is refused")
	}
	a, b := whatsApp(1), whatsApp(2)
	if p.GroupKey(&a) == p.GroupKey(&b) {
		t.Error("two WhatsApp messages never share a request")
	}
	var e *providers.Error
	g := &gateway{}
	if _, err := account(t, g, nil).Send(t.Context(), &providers.Batch{ID: "b", Messages: []providers.Message{a, b}}); !errors.As(err, &e) || !e.Bisect || g.calls != 0 {
		t.Errorf("two in one batch: %v, %d requests", err, g.calls)
	}
}

// TestWhatsAppAnswers: without an id nobody knows what became of it; what is not
// allowed for WhatsApp says nothing about SMS.
func TestWhatsAppAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		answer string
		want   providers.Class
	}{
		{200, `{"data": {"id": "w-1"}}`, providers.Accepted},
		{201, `{"messageId": "w-1"}`, providers.Accepted},
		{200, `{"data": {"messages": [{"id": "wamid.1"}]}}`, providers.Accepted},
		{200, `{"data": {"id": "w-1", "status": "failed"}}`, providers.RejectedHere},
		{200, `{"data": {}}`, providers.Uncertain},
		{200, `<html>`, providers.Uncertain},
		{400, `{"error": {"code": "VALIDATION_ERROR"}}`, providers.RejectedHere},
		{403, `{"error": {"code": "FORBIDDEN"}}`, providers.RejectedHere},
		{403, `<html>`, providers.Misconfigured},
		{404, `{"error": {"code": "NOT_FOUND"}}`, providers.RejectedHere},
		{404, `<html>`, providers.Misconfigured},
		{409, `{"error": {"code": "CONFLICT"}}`, providers.Uncertain},
		{422, `{"error": {"code": "OPT_OUT"}}`, providers.Rejected},
		{422, `{"error": {"code": "INSUFFICIENT_BALANCE"}}`, providers.Misconfigured},
		{429, `{"error": {"code": "RATE_LIMITED"}}`, providers.Throttled},
		{500, `{"error": {"code": "INTERNAL_ERROR"}}`, providers.Uncertain},
		{503, `{"error": {"code": "SERVICE_UNAVAILABLE"}}`, providers.Unavailable},
	} {
		results, err := account(t, answers{c.status, nil, c.answer}, nil).Send(t.Context(), &providers.Batch{ID: "b", Messages: []providers.Message{whatsApp(1)}})
		var e *providers.Error
		got := providers.Class(0)
		if errors.As(err, &e) {
			got = e.Class
		} else if len(results) == 1 {
			got = results[0].Class
		}
		if got != c.want {
			t.Errorf("%d %s: %v, want %v", c.status, c.answer, got, c.want)
		}
	}
}
