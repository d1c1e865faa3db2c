package smsscheduler_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
	"github.com/tuma-sms/tuma/pkg/providers/smsscheduler"
)

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
