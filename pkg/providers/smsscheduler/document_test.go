package smsscheduler_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

// TestAnswersInOtherTypes: the document's answer to POST /sms, as servers that hold
// types less strictly would write it, to a request for one number.
func TestAnswersInOtherTypes(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]providers.Class{
		`{"message_id": "7", "sms_ids": {"+33600000000": ["1"]}, "extra": {"a": 1}}`:  providers.Accepted,
		`{"message_id": 7, "sms_ids": {"33600000000": "1"}}`:                          providers.Accepted,
		`{"message_id": 7, "sms_ids": {"+33 6 00 00 00 00": [1]}}`:                    providers.Accepted,
		`{"message_id": 7, "sms_ids": {"0600000000": [1]}}`:                           providers.Accepted, // nobody else's
		`{"message_id": 7, "sms_ids": {"+330600000000": [1, 2]}}`:                     providers.Accepted,
		`{"message_id": 7, "sms_ids": {"+33699999999": [1]}}`:                         providers.Uncertain, // another's
		`{"message_id": 7, "sms_ids": {"0699999999": [1]}}`:                           providers.Uncertain,
		`{"message_id": 7, "sms_ids": {"0600000000": []}}`:                            providers.Uncertain,
		`{"message_id": 7, "sms_ids": {"0600000000": [1], "0600000001": [2]}}`:        providers.Uncertain,
		"\ufeff" + `{"message_id": 7, "sms_ids": {"+33600000000": [1]}}` + "\r\n":     providers.Accepted,
		`{"message_id": 7, "sms_ids": {"+33600000000": [1]}, "errors": []}`:           providers.Accepted,
		`{"message_id": 7, "sms_ids": {"+33600000000": [1]}, "errors": {"x": ["y"]}}`: providers.Accepted,
	} {
		results, err := account(t, &gateway{status: 201, answer: answer}).Send(t.Context(), batch(1))
		if err != nil || results[0].Class != want || results[0].ProviderID != "7" {
			t.Errorf("%s: got %+v, %v, want %v under id 7", answer, results, err, want)
		}
	}
}

// TestErrorsUnderOtherStatuses: the document's 400, where the status says less.
func TestErrorsUnderOtherStatuses(t *testing.T) {
	t.Parallel()
	const bad = `{"errors": {"phone_numbers": ["The following phone number is invalid: +33600000001"]}}`
	for _, c := range []struct {
		status int
		answer string
		class  providers.Class
		bad    []string
	}{
		{400, bad, providers.Rejected, []string{"+33600000001"}},
		{422, bad, providers.Rejected, []string{"+33600000001"}},
		{200, bad, providers.Rejected, []string{"+33600000001"}},
		{200, `{"errors": {"sender_id": ["no"]}}`, providers.RejectedHere, nil},
		{200, `{"errors": ["no"]}`, providers.RejectedHere, nil},
		{400, `{"errors": "no"}`, providers.RejectedHere, nil},
		{200, `{"errors": {}}`, providers.Uncertain, nil},
		{200, `{"errors": []}`, providers.Uncertain, nil},
		{401, bad, providers.Misconfigured, nil},
		{429, bad, providers.Throttled, nil},
		{500, bad, providers.Uncertain, nil},
		{503, bad, providers.Unavailable, nil}, // its own words, not a proxy's
	} {
		_, err := account(t, &gateway{status: c.status, answer: c.answer}).Send(t.Context(), batch(3))
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != c.class {
			t.Errorf("%d %s: got %v, want %v", c.status, c.answer, err, c.class)
			continue
		}
		if d := cmp.Diff(c.bad, e.BadNumbers); d != "" || e.Status != c.status {
			t.Errorf("%d %s: %s", c.status, c.answer, d)
		}
	}
}

// TestLookUpInOtherTypes: the answer to GET /message/{id}.
func TestLookUpInOtherTypes(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		`[{"id": "1", "phone_number": "+33612345678", "status": "13"}]`,
		`[{"id": 1, "phone_number": 33612345678, "status": 13, "extra": {"a": 1}}]`,
		`{"id": 1, "phone_number": "+33612345678", "status": 13}`,
		"\ufeff" + `[{"phone_number": "33 6 12 34 56 78", "status": 13}]` + "\n",
	} {
		g := &gateway{status: 200, answer: answer}
		reports, done, err := find(t, account(t, g), "123456")
		if err != nil || !done || len(reports) != 1 || reports[0].To != "+33612345678" || reports[0].Status != providers.ReportDelivered {
			t.Errorf("%s: %+v, %v, %v", answer, reports, done, err)
		}
		if got := g.header.Get("Content-Type"); got != "application/json; charset=utf-8" { // "All request made"
			t.Errorf("Content-Type is %q", got)
		}
	}
	for _, answer := range []string{`{"error": "x"}`, `{"errors": {"id": ["x"]}}`, `[{"phone_number": "+33612345678", "status": 13}, 7]`} {
		if reports, done, err := find(t, account(t, &gateway{status: 200, answer: answer}), "1"); err == nil || done {
			t.Errorf("%s: %+v, want an error", answer, reports)
		}
	}
}

// TestDeletedInOtherTypes: "success" is a boolean of one sms, a number of a message.
func TestDeletedInOtherTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of, answer string
		want       any
	}{
		{"sms", `{"success": "true"}`, map[string]bool{"deleted": true}},
		{"sms", `{"success": 1}`, map[string]bool{"deleted": true}},
		{"sms", `{"success": 0}`, map[string]bool{"deleted": false}},
		{"message", `{"success": "3"}`, map[string]int{"deleted": 3}},
		{"message", `{"success": 0}`, map[string]int{"deleted": 0}},
	} {
		for _, o := range account(t, providertest.Answer(http.StatusOK, c.answer)).(providers.Desk).Operations() {
			if o.Name != providers.OpCancel {
				continue
			}
			got, err := o.Do(t.Context(), map[string]string{"id": "7", "of": c.of}, func(context.Context) (func() error, error) { return nil, nil })
			if d := cmp.Diff(c.want, got); err != nil || d != "" {
				t.Errorf("%s %s: %v %s", c.of, c.answer, err, d)
			}
		}
	}
}
