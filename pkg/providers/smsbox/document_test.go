package smsbox_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

// TestAnswersInOtherTypes: the document's answers to send_sms, as servers that hold
// types less strictly would write them. An id of "-" stands for none.
func TestAnswersInOtherTypes(t *testing.T) {
	t.Parallel()
	for body, id := range map[string]string{
		`{"status": "true", "code": "200", "message": "Message Scheduled Successfully", "data": "message_id:sms-1"}`:                          "sms-1",
		`{"status": 1, "code": 200, "message": ["Message Scheduled Successfully"], "data": "message_id: sms-1 "}`:                             "sms-1",
		`{"status": true, "code": 200, "message": null, "error": false, "data": {"message_id": "sms-1"}}`:                                     "sms-1",
		`{"status": true, "code": 200, "error": null, "data": [{"message_id": 17}], "extra": {"a": [1]}}`:                                     "17",
		`{"status": true, "code": 200, "data": "sms-1"}`:                                                                                      "sms-1",
		`{"status": true, "code": 200, "data": "[]"}`:                                                                                         "-",
		`{"status": true, "code": 200, "data": []}`:                                                                                           "-",
		`{"status": true, "code": 200, "data": "Message Scheduled Successfully"}`:                                                             "-",
		`{"status": true, "code": 200}`:                                                                                                       "-",
		`{"status": true, "message": "Message Scheduled Successfully", "data": "message_id:sms-1"}`:                                           "sms-1", // no code
		`{"Status": true, "Code": 200, "Data": "message_id:sms-1"}`:                                                                           "sms-1",
		"\ufeff" + `{"status": true, "code": 200, "data": "message_id:sms-1",` + "\r\n}\r\n":                                                  "sms-1",
		`<?xml version="1.0"?><response><status>true</status><code>200</code><data>message_id:sms-1</data></response>`:                        "sms-1",
		`<response><status>1</status><data><message_id>sms-1</message_id></data><message>Message Scheduled Successfully</message></response>`: "sms-1",
	} {
		results, err := account(t, providertest.Answer(200, body)).Send(t.Context(), batch(2))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		want := id
		if id == "-" {
			want = ""
		}
		for _, r := range results {
			if r.Class != providers.Accepted || r.ProviderID != want {
				t.Errorf("%s: got %+v, want it taken as %q", body, r, want)
			}
		}
	}
	for body, want := range map[string]providers.Class{
		`{"status": "False", "code": 200, "data": "message_id:sms-1"}`:     providers.Uncertain, // in two minds
		`{"status": 0, "code": 200, "data": "message_id:sms-1"}`:           providers.Uncertain,
		`{"status": true, "message": "Message Scheduled Successfully"}`:    providers.Uncertain, // neither code nor id
		`{"status": false, "code": "111", "message": {"text": "no"}}`:      providers.RejectedHere,
		`{"status": true, "code": 102, "message": 7, "data": []}`:          providers.Misconfigured,
		`{"data": {"code": "120", "message": ["x"]}, "status": "false"}`:   providers.Misconfigured,
		`{"code": 120, "message": "Invalid Authorization Parameters",}`:    providers.Misconfigured,
		`{"status": true, "code": 200, "data": "message_id:sms-1"} Notice`: providers.Uncertain,
	} {
		_, err := account(t, providertest.Answer(200, body)).Send(t.Context(), batch(2))
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != want {
			t.Errorf("%s: got %v, want %v", body, err, want)
		}
	}
}

// TestSuccessUnderAnotherStatus: it may have been taken, so that it is not sent
// again by another account.
func TestSuccessUnderAnotherStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []int{302, 400, 401, 404, 409, 500} {
		_, err := account(t, providertest.Answer(status, `{"status": true, "code": 200, "data": "message_id:sms-1"}`)).Send(t.Context(), batch(2))
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Uncertain || e.Bisect {
			t.Errorf("%d: got %v, want uncertain", status, err)
		}
	}
}

func batch(n int) *providers.Batch {
	b := &providers.Batch{ID: "b"}
	for i := range n {
		b.Messages = append(b.Messages, suiteMessage(i))
	}
	return b
}

func suiteMessage(i int) providers.Message {
	return providers.Message{ID: string(rune('a' + i)), To: "+2268716152" + string(rune('0'+i)), From: "ACME", Text: "hello"}
}

func TestBalanceInOtherTypes(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"status": true, "code": 200, "data": {"balance_money": "100"}}`, `{"status": "true", "code": "200", "data": [{"balance_money": 100}], "error": null}`,
		`{"status": true, "data": [{"balance_money": 100,}],}`,
	} {
		got, err := account(t, providertest.Answer(200, body)).(providers.Balancer).Balance(t.Context(), nil)
		if err != nil || got != "100" {
			t.Errorf("%s: %q, %v", body, got, err)
		}
	}
}

// TestReportsInOtherForms: no report is documented, so none of these forms is more
// likely than another.
func TestReportsInOtherForms(t *testing.T) {
	t.Parallel()
	want := []providers.Report{{ProviderID: "sms-1", To: "+22687161524", Status: providers.ReportDelivered, Code: "Delivered"}}
	const inParts = "--b\r\nContent-Disposition: form-data; name=\"message_id\"\r\n\r\nsms-1\r\n--b\r\nContent-Disposition: form-data; name=\"dest_addr\"\r\n\r\n+22687161524\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"status\"\r\n\r\nDelivered\r\n--b--\r\n"
	r := account(t, nil).(providers.Reporter)
	for name, cb := range map[string]providers.Callback{
		"JSON":             {Body: []byte(`{"message_id": "message_id:sms-1", "dest_addr": 22687161524, "status": "Delivered", "extra": {}}`)},
		"a mark, capitals": {Body: []byte("\ufeff" + `{"Message_ID": "sms-1", "DEST_ADDR": "22687161524", "Status": "Delivered",}` + "\n")},
		"array":            {Body: []byte(`[{"reference_id": "sms-1", "phone": "+226 87161524", "status": "Delivered"}]`)},
		"form":             {Body: []byte("message_id=sms-1&dest_addr=%2B22687161524&status=Delivered")},
		"form, bare plus":  {Body: []byte("message_id=sms-1&dest_addr=+22687161524&status=Delivered&status=Delivered")},
		"form in parts":    {Body: []byte(inParts)},
		"query of a POST":  {Query: url.Values{"message_id": {"sms-1"}, "dest_addr": {"22687161524"}, "status": {"Delivered"}}},
	} {
		cb.Method = http.MethodPost
		got, err := r.ParseReports(&cb)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
}

// TestInboundInOtherForms: the table calls message a string and shows an object;
// one of the document's receivers takes forms too.
func TestInboundInOtherForms(t *testing.T) {
	t.Parallel()
	want := providers.Inbound{ID: "120a1039103910", From: "+255701000000", To: "255701000001", Text: "Test message", Time: time.Date(2017, 6, 14, 7, 0, 0, 0, time.UTC)}
	const at = "Wed, 14 Jun 2017 07:00:00 GMT"
	inParts := ""
	for _, f := range [][2]string{{"from", "+255701000000"}, {"to", "255701000001"}, {"transaction_id", want.ID}, {"timeUTC", at}, {"message", "Test message"}} {
		inParts += "--b\r\nContent-Disposition: form-data; name=\"" + f[0] + "\"\r\n\r\n" + f[1] + "\r\n"
	}
	form := func(fields ...string) []byte {
		v := url.Values{"from": {"255701000000"}, "to": {"255701000001"}, "timeUTC": {at}, "transaction_id": {want.ID}}
		for i := 0; i < len(fields); i += 2 {
			v.Set(fields[i], fields[i+1])
		}
		return []byte(v.Encode())
	}
	r := account(t, nil).(providers.Receiver)
	for name, body := range map[string][]byte{
		"a string":         []byte(`{"from":"255701000000","to":"255701000001","channel":"sms","timeUTC":"` + at + `","transaction_id":"120a1039103910","message":"Test message"}`),
		"numbers":          []byte(`{"from":255701000000,"to":255701000001,"timeUTC":"` + at + `","transaction_id":"120a1039103910","message":{"text":"Test message","media":[],"custom":[]},"billing":[]}`),
		"a mark":           []byte("\ufeff" + `{'from':'+255701000000','to':'255701000001','timeUTC':'` + at + `','transaction_id':'120a1039103910','message':{'text':'Test message',},}` + "\n"),
		"under both names": []byte(`{"from":"255701000000","source_addr":"255701000000","to":"255701000001","dest_addr":"255701000001","timeUtc":"` + at + `","transaction_id":"120a1039103910","message":{"text":"Test message"}}`),
		"form":             form("message", "Test message"),
		"form, an object":  form("message", `{"text":"Test message","media":{"mediaUrl":""},"custom":{}}`),
		"form, by parts":   form("message[text]", "Test message", "message[media][mediaUrl]", "", "billing[currency]", "TZS"),
		"form in parts":    []byte(inParts + "--b--\r\n"),
	} {
		got, contentType, answer, err := r.ParseInbound(&providers.Callback{Method: http.MethodPost, Body: body, Time: providertest.Now()})
		if d := cmp.Diff([]providers.Inbound{want}, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
		if contentType != "application/json" || string(answer) != `{"transaction_id":"120a1039103910","successful":true}` {
			t.Errorf("%s: answered %s %s", name, contentType, answer)
		}
	}
	for body, text := range map[string]string{`{"text":4711}`: "4711", `4711`: "4711", `{"text":"{\"text\":\"x\"}"}`: `{"text":"x"}`, `"{\"text\":\"x\"}"`: `{"text":"x"}`} {
		got, _, _, err := r.ParseInbound(&providers.Callback{Method: http.MethodPost, Body: []byte(`{"from":"1","to":"2","transaction_id":"3","message":` + body + `,"timeUTC":1497423600}`), Time: providertest.Now()})
		if err != nil || got[0].Text != text {
			t.Errorf("%s: %+v, %v, want %q", body, got, err, text)
		}
	}
	if _, _, _, err := r.ParseInbound(&providers.Callback{Body: []byte(`{"from":"1","source_addr":"2","to":"3","transaction_id":"4","message":"x"}`)}); err == nil {
		t.Error("from two handsets: read all the same")
	}
}
