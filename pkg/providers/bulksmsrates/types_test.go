package bulksmsrates_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

// TestAnswersInOtherTypes: the document's answers, as servers that hold types less
// strictly would write them, and as its own examples contradict each other.
func TestAnswersInOtherTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer string
		n      int
		want   providers.Result
	}{
		{`{"id": 17, "messageId": 17, "status": "queued", "segments": "2", "cost_micros": "35000", "cost": "0.035"}`, 1, providers.Result{ProviderID: "17", Code: "queued", Segments: 2, Cost: "0.035"}},
		{`{"id": "a", "status": "queued", "data": {}}`, 1, providers.Result{ProviderID: "a", Code: "queued"}},
		{`{"id": "a", "status": "queued", "data": [], "error": null}`, 1, providers.Result{ProviderID: "a", Code: "queued"}},
		{`{"data": [{"message_id": "a", "status": "QUEUED"}], "meta": {"request_id": "r"}}`, 1, providers.Result{ProviderID: "a", Code: "QUEUED"}},
		{`{"data": {"message_id": "a", "cost": {"amount": 1}, "segments": null}}`, 1, providers.Result{ProviderID: "a"}},
		{"\ufeff" + `{"messageId": "a"}` + "\n", 1, providers.Result{ProviderID: "a"}},
		{`{"messageId": "a", "status": "FAILED"}`, 1, providers.Result{Class: providers.RejectedHere, ProviderID: "a", Code: "FAILED"}},
		{`{"data": {"batch_id": 17, "accepted": "2", "rejected": "0", "cost_estimate": "700", "currency": "GBP"}}`, 2, providers.Result{ProviderID: "17", Cost: "3.50 GBP"}},
		{`{"data": [{"batch_id": "b", "accepted": 2, "rejected": null}], "error": null}`, 2, providers.Result{ProviderID: "b"}},
		{`{"batch_id": "b", "accepted": 2, "rejected": 0}`, 2, providers.Result{ProviderID: "b"}},
		{`{"data": {"batch_id": "b", "accepted": 2, "rejected": 0, "cost_estimate": {"x": 1}}}`, 2, providers.Result{ProviderID: "b"}},
	} {
		b := batch([]string{"x", "x"}[:c.n]...)
		for i := range b.Messages {
			b.Messages[i].Segments = 1
		}
		results, err := account(t, &gateway{status: 201, answer: c.answer}, nil).Send(t.Context(), b)
		if c.want.Class == 0 {
			c.want.Class = providers.Accepted
		}
		if err != nil || len(results) != c.n {
			t.Errorf("%s: %v", c.answer, err)
			continue
		}
		if d := cmp.Diff(c.want, results[0]); d != "" {
			t.Errorf("%s: %s", c.answer, d)
		}
	}
}

// TestCodesUnderOtherStatuses: "Check the code field for programmatic handling".
func TestCodesUnderOtherStatuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		answer string
		want   providers.Error
	}{
		{200, `{"error": {"code": "OPT_OUT", "message": "x"}, "meta": {"request_id": "r"}}`, providers.Error{Class: providers.Rejected, OptOut: true, Code: "OPT_OUT"}},
		{200, `{"error": {"code": "INVALID_PHONE_NUMBER"}, "data": null}`, providers.Error{Class: providers.Rejected, Code: "INVALID_PHONE_NUMBER"}},
		{200, `{"error": {"code": "INSUFFICIENT_BALANCE", "message": 7}}`, providers.Error{Class: providers.Misconfigured, Need: providers.NeedBalance, Code: "INSUFFICIENT_BALANCE"}},
		{200, `{"error": {"code": "RATE_LIMITED"}}`, providers.Error{Class: providers.Throttled, Code: "RATE_LIMITED"}},
		{200, `{"error": {"code": "INTERNAL_ERROR"}}`, providers.Error{Class: providers.Uncertain, Code: "INTERNAL_ERROR"}},
		{200, `{"error": {"code": "NEW_REASON"}}`, providers.Error{Class: providers.Uncertain, Code: "NEW_REASON"}},
		{400, `{"error": {"code": "OPT_OUT", "message": ["x"], "details": []}}`, providers.Error{Class: providers.Rejected, OptOut: true, Code: "OPT_OUT"}},
		{402, `{"error": {"code": "INSUFFICIENT_BALANCE"}}`, providers.Error{Class: providers.Misconfigured, Need: providers.NeedBalance, Code: "INSUFFICIENT_BALANCE"}},
		{403, `{"error": {"code": "BLACKLISTED"}}`, providers.Error{Class: providers.Rejected, OptOut: true, Code: "BLACKLISTED"}},
		{422, `{"error": {"code": "invalid_sender_id"}}`, providers.Error{Class: providers.RejectedHere, Code: "INVALID_SENDER_ID"}},
		{422, `{"error": {"code": "opt_out"}}`, providers.Error{Class: providers.Rejected, OptOut: true, Code: "OPT_OUT"}},
		{422, `{"code": "OPT_OUT", "message": "x"}`, providers.Error{Class: providers.Rejected, OptOut: true, Code: "OPT_OUT"}},
		{422, `{"error": "OPT_OUT"}`, providers.Error{Class: providers.RejectedHere}},
		{503, `{"error": {"code": "RATE_LIMITED"}}`, providers.Error{Class: providers.Unavailable, Code: "RATE_LIMITED"}}, // its own body, not a proxy's
		{503, `{"error": "down"}`, providers.Error{Class: providers.Uncertain}},
		{502, `{"error": {"code": "SERVICE_UNAVAILABLE"}}`, providers.Error{Class: providers.Uncertain, Code: "SERVICE_UNAVAILABLE"}},
	} {
		_, err := account(t, providertest.Answer(c.status, c.answer), nil).Send(t.Context(), batch("x"))
		var e *providers.Error
		if !errors.As(err, &e) {
			t.Errorf("%d %s: %v", c.status, c.answer, err)
			continue
		}
		got := providers.Error{Class: e.Class, OptOut: e.OptOut, Need: e.Need, Code: e.Code}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%d %s: %s", c.status, c.answer, d)
		}
	}
}

func TestBalanceInOtherTypes(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"data": {"balance": "1250", "credit_limit": "0", "available": "1250", "currency": "GBP"}}`: "12.50 GBP",
		`{"data": {"balance": 1250.0, "available": null, "currency": null}}`:                         "12.50",
		`{"balance": 1250, "currency": "GBP"}`:                                                       "12.50 GBP",
		`{"data": {"available": -350, "currency": "GBP", "auto_topup_enabled": "no"}}`:               "-3.50 GBP",
	} {
		got, err := account(t, providertest.Answer(200, answer), nil).(providers.Balancer).Balance(t.Context(), nil)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", answer, got, err)
		}
	}
	for _, answer := range []string{`{"data": {"available": 12.345}}`, `{"data": {}}`, `{"data": {"available": "much"}}`} {
		if got, err := account(t, providertest.Answer(200, answer), nil).(providers.Balancer).Balance(t.Context(), nil); err == nil {
			t.Errorf("%s: %q", answer, got)
		}
	}
}

// TestSignatureInBase64: the document does not say how the HMAC is written.
func TestSignatureInBase64(t *testing.T) {
	t.Parallel()
	cb := signed(payload, providertest.Now())
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strconv.FormatInt(providertest.Now().Unix(), 10) + "." + payload))
	r := account(t, nil, nil).(providers.Reporter)
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		cb.Header["X-Webhook-Signature"] = []string{"sha256=" + encoding.EncodeToString(mac.Sum(nil))}
		if err := r.VerifyReport(cb); err != nil {
			t.Errorf("%s: %v", cb.Header.Get("X-Webhook-Signature"), err)
		}
	}
	mac.Write([]byte("x"))
	cb.Header["X-Webhook-Signature"] = []string{"sha256=" + base64.StdEncoding.EncodeToString(mac.Sum(nil))}
	if err := r.VerifyReport(cb); err == nil {
		t.Error("a signature of another body counts")
	}
}

// TestReportsInOtherForms: the payload of the document, in other types and shapes;
// "dlr" is the event's name where webhooks are configured.
func TestReportsInOtherForms(t *testing.T) {
	t.Parallel()
	one := func(status providers.ReportStatus, code string) []providers.Report {
		return []providers.Report{{ProviderID: "17", To: "+447700900123", Status: status, Code: code}}
	}
	const delivered, undelivered = providers.ReportDelivered, providers.ReportUndelivered
	r := account(t, nil, nil).(providers.Reporter)
	for body, want := range map[string][]providers.Report{
		`{"event": "MESSAGE.DELIVERED", "data": {"message_id": 17, "destination": 447700900123, "carrier_status": null}}`:         one(delivered, "MESSAGE.DELIVERED"),
		`{"event": "message.failed", "data": {"messageId": "17", "destination": "+447700900123", "carrier_status": {"a": 1}}}`:    one(undelivered, "message.failed"),
		`{"event": "message.expired", "created_at": {"a": 1}, "data": [{"message_id": "17", "destination": "00447700900123"}]}`:   one(undelivered, "message.expired"),
		`{"event": "dlr", "data": {"message_id": "17", "destination": "447700900123", "status": "Delivered"}}`:                    one(delivered, "Delivered"),
		`{"event": "dlr", "data": {"message_id": "17", "destination": "447700900123", "status": "expired"}}`:                      one(undelivered, "expired"),
		`{"event": "dlr", "data": {"message_id": "17", "destination": "447700900123", "status": "parked"}}`:                       one(providers.ReportUnknown, "parked"),
		`{"event": "dlr", "data": {"message_id": "17", "destination": "447700900123"}}`:                                           one(providers.ReportUnknown, "dlr"),
		`{"event": "message.delivered", "data": {"message_id": "17", "destination": "447700900123", "status": "failed"}}`:         one(delivered, "message.delivered"),
		"\ufeff" + `{"event": "message.delivered", "data": {"message_id": "17", "destination": "447700900123"}}` + "\n":           one(delivered, "message.delivered"),
		`[{"event": "message.delivered", "data": {"message_id": "17", "destination": "447700900123"}}, {"event": "balance.low"}]`: one(delivered, "message.delivered"),
	} {
		got, err := r.ParseReports(&providers.Callback{Method: http.MethodPost, Body: []byte(body)})
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", body, err, d)
		}
	}
	got, err := r.ParseReports(&providers.Callback{Body: []byte(`[{"event": "message.delivered", "data": {"message_id": "1"}}, 7, {"event": "message.failed", "data": [{"message_id": "2"}, {"message_id": "3"}]}]`)})
	if err == nil || len(got) != 3 || got[0].ProviderID != "1" || got[2].ProviderID != "3" || got[2].Status != undelivered {
		t.Errorf("several: %+v, %v, want three and an error", got, err)
	}
	notices, err := account(t, nil, nil).(providers.Noticer).ParseNotices(&providers.Callback{Body: []byte(`[{"event": "balance.low"}, {"event": "Opt_Out", "data": {"phone": 447700900123}}]`)})
	if err != nil || len(notices) != 2 || notices[1].Number != "+447700900123" {
		t.Errorf("notices: %+v, %v", notices, err)
	}
}

// TestLookUpInOtherTypes: numbers stand for themselves, however long, and states
// are read in any case.
func TestLookUpInOtherTypes(t *testing.T) {
	t.Parallel()
	const id = "9007199254740993" // no float64 has it
	m := message(0, "", nil)
	q := &providers.Query{BatchID: "batch-1", ProviderIDs: []string{id}, Size: 1, Messages: []providers.Message{m}}
	for _, answer := range []string{
		`{"data": {"message_id": ` + id + `, "status": "Delivered", "destination": ` + m.To[1:] + `}}`,
		"\ufeff" + `{"id": "` + id + `", "status": "DELIVERED"}`,
	} {
		found, err := account(t, providertest.Answer(200, answer), nil).(providers.Finder).Find(t.Context(), q, nil)
		if err != nil || !found.Done || len(found.Reports) != 1 || found.Reports[0].Status != providers.ReportDelivered || found.Reports[0].ProviderID != id {
			t.Errorf("%s: %+v, %v", answer, found, err)
		}
	}
	q = queryOf(1, theBatch)
	q.Size = 2
	for _, answer := range []string{
		`{"data": [{"message_id": 1, "status": "FAILED", "destination": "` + m.To + `", "campaign_id": "` + theBatch + `"}], "pagination": {"total": "1", "page_size": "50", "has_more": "false", "cursor": null}}`,
		`{"data": {"message_id": 1, "status": "failed", "destination": "` + m.To + `", "batch_id": "` + theBatch + `"}, "pagination": null}`,
	} {
		found, err := account(t, providertest.Answer(200, answer), nil).(providers.Finder).Find(t.Context(), q, nil)
		if err != nil || len(found.Reports) != 1 || found.Reports[0].Status != providers.ReportUndelivered {
			t.Errorf("%s: %+v, %v", answer, found, err)
		}
	}
}

// TestSeveralMessagesInOneCall: none of them is lost, whatever is wrong with another.
func TestSeveralMessagesInOneCall(t *testing.T) {
	t.Parallel()
	const one = `{"from": "44770090012%[1]d", "id": "wamid.%[1]d", "type": "text", "text": {"body": "no. %[1]d"}}`
	meta := func(messages string) string {
		return `{"changes": [{"value": {"metadata": {"display_phone_number": "447700900999"}, "messages": ` + messages + `}}]}`
	}
	r := account(t, nil, nil).(providers.Receiver)
	for body, want := range map[string]string{
		`{"entry": [` + meta("["+fmt.Sprintf(one, 1)+","+fmt.Sprintf(one, 2)+"]") + `,` + meta("["+fmt.Sprintf(one, 3)+"]") + `]}`: "wamid.1 wamid.2 wamid.3",
		`{"entry": ` + meta(fmt.Sprintf(one, 1)) + `}`:                                                                                             "wamid.1",
		`{"entry": [` + meta("["+fmt.Sprintf(one, 1)+`, {"id": "x"}, `+fmt.Sprintf(one, 2)+"]") + `]}`:                                             "wamid.1 wamid.2 error",
		`[{"event": "whatsapp.message", "data": ` + fmt.Sprintf(one, 1) + `}, {"event": "whatsapp.message", "data": ` + fmt.Sprintf(one, 2) + `}]`: "wamid.1 wamid.2",
		`{"entry": []}`: "error",
	} {
		list, _, _, err := r.ParseInbound(&providers.Callback{Method: http.MethodPost, Body: []byte(body)})
		got := ""
		for _, in := range list {
			if in.Text != "no. "+in.ID[len(in.ID)-1:] || in.From != "+44770090012"+in.ID[len(in.ID)-1:] {
				t.Errorf("%+v", in)
			}
			got += " " + in.ID
		}
		if err != nil {
			got += " error"
		}
		if got != " "+want {
			t.Errorf("%s: got%s, want %s", body, got, want)
		}
	}
}
