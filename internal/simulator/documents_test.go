package simulator

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The documents' own example requests are accepted, and the answers have the
// documented keys and kinds of values.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	fill := strings.NewReplacer("XXXXXXYZ", "12345679", "XXXXXXXX", "12345678", "YOUR APPROVED SENDER ID", "INFO")
	tests := []struct {
		name, typ, path, request, answer string
		edit                             func(string) string
		header                           http.Header
		messages                         int
	}{
		{name: "cloudrebue single", typ: CloudRebue, path: "/send-sms", request: "cloudrebue/single.json", answer: "cloudrebue/single.answer.json", messages: 1,
			edit: func(s string) string {
				return strings.Replace(s, "{", `{"link_id": "link-id-here", "endpoint": "https://example.com/delivery",`, 1)
			}},
		{name: "cloudrebue list", typ: CloudRebue, path: "/send-sms", request: "cloudrebue/list.json", answer: "cloudrebue/list.answer.json", messages: 2,
			edit: func(s string) string {
				return strings.Replace(s, "{", `{"link_id": "link-id-here", "endpoint": "https://example.com/delivery",`, 1)
			}},
		{name: "cloudrebue batch", typ: CloudRebue, path: "/send-sms", request: "cloudrebue/batch.json", answer: "cloudrebue/batch.answer.json", messages: 2},
		{name: "smsbox json", typ: SMSBox, path: "/send_sms", request: "smsbox/send.json", answer: "smsbox/send.answer.json", messages: 2},
		{name: "smsbox xml", typ: SMSBox, path: "/send_sms", request: "smsbox/send.xml", answer: "smsbox/send.answer.json", messages: 2,
			header: http.Header{"Content-Type": {"application/xml"}}},
		{name: "bulksmsrates send", typ: BulkSMSRates, path: "/sms/send", request: "bulksmsrates/send.json", answer: "bulksmsrates/send.answer.json", messages: 1},
		{name: "bulksmsrates bulk", typ: BulkSMSRates, path: "/sms/bulk", request: "bulksmsrates/bulk.json", answer: "bulksmsrates/bulk.answer.json", messages: 2},
		{name: "bulksmsrates scheduled", typ: BulkSMSRates, path: "/sms/bulk", request: "bulksmsrates/scheduled.json", answer: "bulksmsrates/bulk.answer.json", messages: 1},
		{name: "bulksmsrates sandbox", typ: BulkSMSRates, path: "/sms/send", request: "bulksmsrates/sandbox.json", answer: "bulksmsrates/sandbox.answer.json",
			header: http.Header{"X-Sandbox": {"true"}}},
		{name: "digitalservices", typ: DigitalServices, path: "/sms/send", request: "digitalservices/send.form", answer: "digitalservices/send.answer.json", messages: 2,
			edit: func(s string) string { return strings.ReplaceAll(s, "\n", "") }},
		{name: "smsscheduler", typ: SMSScheduler, path: "/sms", request: "smsscheduler/send.json", answer: "smsscheduler/send.answer.json", messages: 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{Credentials: map[string]map[string]string{
				DigitalServices: {"api_key": "your_api_key", "username": "your_username", "password": "your_password"}}})
			body := fill.Replace(fixture(t, tt.request))
			if tt.edit != nil {
				body = tt.edit(body)
			}
			w := request{typ: tt.typ, path: tt.path, body: body, header: tt.header}.do(s)
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			want, got := shape(documented(t, tt.answer)), shape(parse(t, w.Body.String()))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answer differs from the document (-document +simulator):\n%s", diff)
			}
			if n := s.Ledger().Messages(tt.typ); n != tt.messages {
				t.Errorf("%d messages taken, want %d", n, tt.messages)
			}
		})
	}
}

func TestDocumentedLookups(t *testing.T) {
	t.Parallel()
	s := New(Options{ReportDelay: -1})
	long := strings.Repeat("long ", 40)
	created := request{typ: SMSScheduler, path: "/sms", body: `{"message_text":"` + long +
		`","delivery_date":"2020-01-01 00:00:00","sender_id":1,"phone_numbers":["+33612345678"]}`}.do(s)
	message := number64(at(parse(t, created.Body.String()), "message_id"))
	sms := number64(at(parse(t, created.Body.String()), "sms_ids", "+33612345678", 1))
	scheduled := time.Now().UTC().Add(time.Hour).Format("2006-01-02 15:04")
	sent := request{typ: SMSBox, path: "/send_sms", body: strings.Replace(one(s, SMSBox).body, "{", `{"schedule_time": "`+scheduled+`",`, 1)}.do(s)
	box := strings.TrimPrefix(at(parse(t, sent.Body.String()), "data").(string), "message_id:")
	if !regexp.MustCompile(`^sms-[0-9]{14}[0-9a-f]{20}$`).MatchString(box) {
		t.Errorf("SMSBox id %q has not the documented form", box)
	}
	bulkSend(fixture(t, "bulksmsrates/bulk.json")).do(s)
	bulkSend(fixture(t, "bulksmsrates/bulk.json")).do(s)

	tests := []struct{ name, typ, method, path, body, answer string }{
		{"scheduler sms", SMSScheduler, "GET", "/sms/" + sms, "", "smsscheduler/sms.answer.json"},
		{"scheduler message", SMSScheduler, "GET", "/message/" + message, "", "smsscheduler/message.answer.json"},
		{"scheduler delete sms", SMSScheduler, "DELETE", "/sms/" + sms, "", "smsscheduler/delete_sms.answer.json"},
		{"scheduler delete message", SMSScheduler, "DELETE", "/message/" + message, "", "smsscheduler/delete_message.answer.json"},
		{"smsbox balance", SMSBox, "GET", "/query_sms_balance", "", "smsbox/balance.answer.json"},
		{"smsbox change", SMSBox, "GET", "/change_sms_info?scheduled_status=0&message_id=" + box, "", "smsbox/change.answer.json"},
		{"smsbox change unknown", SMSBox, "GET", "/change_sms_info?scheduled_status=0&message_id=sms-1", "", "smsbox/change.403.json"},
		{"smsbox names", SMSBox, "GET", "/query_sender_names", "", "smsbox/names.answer.json"},
		{"smsbox request name", SMSBox, "POST", "/request_sender_name", `{"senderid":"NEW","sample_content":"orders on their way"}`, "smsbox/request_name.answer.json"},
		{"smsbox request name twice", SMSBox, "POST", "/request_sender_name", `{"senderid":"NEW","sample_content":"orders on their way"}`, "smsbox/request_name.409.json"},
		{"bulksmsrates balance", BulkSMSRates, "GET", "/billing/balance", "", "bulksmsrates/balance.answer.json"},
	}
	for _, tt := range tests {
		w := request{typ: tt.typ, method: tt.method, path: tt.path, body: tt.body}.do(s)
		if diff := cmp.Diff(shape(documented(t, tt.answer)), shape(parse(t, w.Body.String()))); diff != "" {
			t.Errorf("%s (status %d): answer differs from the document (-document +simulator):\n%s", tt.name, w.Code, diff)
		}
	}
	w := request{typ: BulkSMSRates, method: "GET", path: "/reports/messages?page_size=3"}.do(s)
	page := at(parse(t, w.Body.String())).(map[string]any)
	page["data"] = []any{}
	if diff := cmp.Diff(shape(documented(t, "bulksmsrates/list.answer.json")), shape(page)); diff != "" {
		t.Errorf("list differs from the document:\n%s", diff)
	}
}

func number64(v any) string {
	f, _ := v.(float64)
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// The error examples of the documents, word for word.
func TestDocumentedErrors(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	bad := http.Header{"Authorization": {"Bearer wrong"}}
	w := request{typ: CloudRebue, path: "/send-sms", header: bad}.do(s)
	if diff := cmp.Diff(documented(t, "cloudrebue/401.json"), parse(t, w.Body.String())); diff != "" || w.Code != 401 {
		t.Errorf("cloudrebue 401: %d %s", w.Code, diff)
	}
	w = request{typ: SMSBox, path: "/send_sms", body: strings.Replace(one(s, SMSBox).body, "INFO", smsBoxInactive, 1)}.do(s)
	if diff := cmp.Diff(documented(t, "smsbox/400.json"), parse(t, w.Body.String())); diff != "" || w.Code != 400 {
		t.Errorf("smsbox 400: %d %s", w.Code, diff)
	}
	w = request{typ: SMSBox, path: "/send_sms", header: http.Header{"Authorization": {"Basic d3Jvbmc6d3Jvbmc="}}}.do(s)
	if diff := cmp.Diff(shape(documented(t, "smsbox/401.json")), shape(parse(t, w.Body.String()))); diff != "" || w.Code != 401 {
		t.Errorf("smsbox 401: %d %s", w.Code, diff)
	}
	w = dscSend(s, "recipients=250782589800&message=x&api_key=").do(s)
	if w.Code != 400 {
		t.Errorf("digitalservices repeated api_key: %d", w.Code)
	}
	q := dscSend(s, "recipients=250782589800&message=x")
	q.body = strings.Replace(q.body, "api_key=", "api_key=x", 1)
	w = q.do(s)
	if diff := cmp.Diff(documented(t, "digitalservices/error.json"), parse(t, w.Body.String())); diff != "" || w.Code != 401 {
		t.Errorf("digitalservices 401: %d %s", w.Code, diff)
	}
	w = request{typ: SMSScheduler, path: "/sms", body: `{"message_text":"x","message_stop":"no","delivery_date":"2020-01-01 00:00:00","sender_id":1,"phone_numbers":[1]}`}.do(s)
	errs := at(parse(t, w.Body.String()), "errors")
	doc := at(documented(t, "smsscheduler/400.json"), "errors")
	if w.Code != 400 || at(errs, "message_stop", 0) != at(doc, "message_stop", 0) || at(errs, "phone_numbers", 0) != at(doc, "phone_numbers", 0) {
		t.Errorf("smsscheduler 400: %d %v", w.Code, errs)
	}
	w = request{typ: SMSScheduler, path: "/sms", body: strings.Replace(one(s, SMSScheduler).body, "+33612345678", "+123456789", 1)}.do(s)
	if got := at(parse(t, w.Body.String()), "errors", "phone_numbers", 0); got != at(doc, "phone_numbers", 1) {
		t.Errorf("smsscheduler invalid number: %v", got)
	}
	if err := s.SetFaults(Fault{Kind: "balance"}); err != nil {
		t.Fatal(err)
	}
	w = bulkSend(fixture(t, "bulksmsrates/bulk.json")).do(s)
	if diff := cmp.Diff(shape(documented(t, "bulksmsrates/error.json")), shape(parse(t, w.Body.String()))); diff != "" || w.Code != 422 {
		t.Errorf("bulksmsrates 422: %d %s", w.Code, diff)
	}
	if n := s.Ledger().Messages(""); n != 0 {
		t.Errorf("%d messages taken by refused requests", n)
	}
}

// What each gateway reports has the documented form.
func TestDocumentedCallbacks(t *testing.T) {
	t.Parallel()
	rec := receive(t, nil)
	s := serve(t, Options{ReportDelay: -1, Callbacks: map[string]string{BulkSMSRates: rec.url + "/bulk", SMSBox: rec.url + "/box"}})

	mustSend(t, s, cloudSend("0712345678", `,"correlator":2,"endpoint":"`, rec.url, `/cloud"`))
	h := rec.next(t)
	if diff := cmp.Diff(shape(documented(t, "cloudrebue/report.json")), shape(parse(t, h.body))); diff != "" || h.method != "POST" {
		t.Errorf("cloudrebue: %s %s", h.method, diff)
	}

	mustSend(t, s, bulkSend(fixture(t, "bulksmsrates/bulk.json")))
	want := append(shape(documented(t, "bulksmsrates/webhook.json")), ".data.client_ref string")
	for range 2 {
		h = rec.next(t)
		if diff := cmp.Diff(sorted(want), shape(parse(t, h.body))); diff != "" {
			t.Errorf("bulksmsrates: %s", diff)
		}
		stamp := h.header.Get("X-Webhook-Timestamp")
		if sig := h.header.Get("X-Webhook-Signature"); sig != signature("demo-webhook-secret", stamp, h.body) {
			t.Errorf("signature %q", sig)
		}
		if at(parse(t, h.body), "data", "client_ref") != "batch-001" || !strings.HasPrefix(h.header.Get("X-Webhook-Id"), "wh_evt_") {
			t.Errorf("webhook %v %s", h.header, h.body)
		}
	}

	mustSend(t, s, one(s.Simulator, SMSBox))
	h = rec.next(t)
	id := at(parse(t, h.body), "message_id").(string)
	if !strings.HasPrefix(id, "sms-") || at(parse(t, h.body), "dest_addr") != "+22670000000" || at(parse(t, h.body), "status") != "DELIVERED" {
		t.Errorf("smsbox: %s", h.body)
	}

	dlr := strings.Replace(strings.TrimSpace(fixture(t, "digitalservices/dlrurl.txt")), "https://yourdomain.com", rec.url, 1)
	mustSend(t, s, dscSend(s.Simulator, "recipients=250782589800&message=Hi&dlrurl="+url.QueryEscape(dlr)))
	mustSend(t, s, dscSend(s.Simulator, "recipients=250782589800&message=Hi&dlrurl="+url.QueryEscape(rec.url+"/api/dlr-handler")))
	doc, _ := url.Parse(strings.TrimSpace(fixture(t, "digitalservices/callback.txt")))
	for range 2 {
		h = rec.next(t)
		got, err := url.Parse(h.url)
		if err != nil || h.method != "GET" {
			t.Fatalf("digitalservices: %s %v", h.method, err)
		}
		q := got.Query()
		if diff := cmp.Diff(keys(doc.Query()), keys(q)); diff != "" {
			t.Errorf("digitalservices: %s", diff)
		}
		if q.Get("dnis") != "250782589800" || q.Get("dlvrMsgStat") != "D" || len(q.Get("dlvrMsgId")) != 9 {
			t.Errorf("digitalservices: %v", q)
		}
	}
}
