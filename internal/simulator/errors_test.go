package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func mustSend(t *testing.T, s served, q request) {
	t.Helper()
	if status, _, body, err := s.send(q); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d %s %v", q.typ, status, body, err)
	}
}

func sorted(s []string) []string { s = slices.Clone(s); slices.Sort(s); return s }

func keys(m map[string][]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func recipients(n int, one string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(one, i)
	}
	return strings.Join(list, ",")
}

// Every rule of the documents, broken once.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := New(Options{Rates: map[string]int{CloudRebue: 0, SMSBox: 0, BulkSMSRates: 0, DigitalServices: 0, SMSScheduler: 0}})
	none := http.Header{"Authorization": nil}
	box := func(old, repl string) request {
		q := one(s, SMSBox)
		q.body = strings.Replace(q.body, old, repl, 1)
		return q
	}
	sched := func(old, repl string) request {
		q := one(s, SMSScheduler)
		q.body = strings.Replace(q.body, old, repl, 1)
		return q
	}
	single := func(body string) request { return request{typ: BulkSMSRates, path: "/sms/send", body: body} }
	header := func(q request, h http.Header) request { q.header = h; return q }
	tests := []struct {
		name   string
		q      request
		status int
		reason string // as in the ledger
	}{
		{"cloudrebue token missing", header(cloudSend("254712345678"), none), 401, "Unauthenticated."},
		{"cloudrebue token wrong", header(cloudSend("254712345678"), http.Header{"Authorization": {"Bearer x"}}), 401, "Unauthenticated."},
		{"cloudrebue form", header(cloudSend("254712345678"), http.Header{"Content-Type": {"text/plain"}}), 415, "Content-type"},
		{"cloudrebue accept", header(cloudSend("254712345678"), http.Header{"Accept": {"text/html"}}), 406, "Accept"},
		{"cloudrebue method", request{typ: CloudRebue, method: "GET", path: "/send-sms"}, 405, "Method"},
		{"cloudrebue path", request{typ: CloudRebue, path: "/sendsms"}, 404, "Not found"},
		{"cloudrebue no JSON", request{typ: CloudRebue, path: "/send-sms", body: "{"}, 422, "JSON"},
		{"cloudrebue 101", request{typ: CloudRebue, path: "/send-sms", body: "[" + recipients(101, `{"sender":"A","message":"x","phone":"2547000%05d"}`) + "]"}, 422, "1 to 100"},
		{"cloudrebue none", request{typ: CloudRebue, path: "/send-sms", body: "[]"}, 422, "1 to 100"},

		{"smsbox no header", header(box("", ""), none), 400, "107"},
		{"smsbox bad token", header(box("", ""), http.Header{"Authorization": {"Bearer x"}}), 401, "108"},
		{"smsbox headers wrong beside Basic", header(box("", ""), http.Header{"Api-Key": {"x"}, "Api-Secret": {"y"}}), 401, "120"},
		{"smsbox number", box("+22670000000", "0707"), 400, "101"},
		{"smsbox sender missing", box(`"source_addr":"INFO",`, ""), 400, "104"},
		{"smsbox name missing", box(`"recipient_name":"",`, ""), 400, "104"},
		{"smsbox message empty", box(`"Hi"`, `""`), 400, "109"},
		{"smsbox unicode", box(`"Hi"`, `"Hi 漢"`), 400, "110"},
		{"smsbox sender of 12", box("INFO", "TWELVELETTER"), 400, "111"},
		{"smsbox sender plus", box("INFO", "+22670000000"), 400, "111"},
		{"smsbox past", box(`"encoding"`, `"schedule_time":"2020-01-01 00:00","encoding"`), 400, "112"},
		{"smsbox unknown field", box(`"encoding"`, `"x":1,"encoding"`), 400, "113"},
		{"smsbox content type", header(box("", ""), http.Header{"Content-Type": {"text/plain"}}), 400, "113"},
		{"smsbox 1001", box(`{"recipient_name":"","dest_addr":"+22670000000"}`, recipients(1001, `{"recipient_name":"","dest_addr":"+2267%07d"}`)), 400, "114"},
		{"smsbox destination missing", box(`,"dest_addr":"+22670000000"`, ""), 400, "115"},
		{"smsbox schedule format", box(`"encoding"`, `"schedule_time":"soon","encoding"`), 400, "117"},
		{"smsbox encoding missing", box(`"encoding":0,`, ""), 400, "118"},
		{"smsbox encoding 8", box(`"encoding":0`, `"encoding":8`), 400, "118"},
		{"smsbox no recipients", box(`{"recipient_name":"","dest_addr":"+22670000000"}`, ""), 400, "119"},
		{"smsbox magic", box("+22670000000", "+22679990001"), 400, "101"},

		{"bulksmsrates secret", header(bulkSend("{}"), http.Header{"X-Api-Secret": {"x"}}), 401, "UNAUTHORIZED"},
		{"bulksmsrates key", header(bulkSend("{}"), http.Header{"X-Api-Key": {"x"}}), 401, "UNAUTHORIZED"},
		{"bulksmsrates content type", header(bulkSend("{}"), http.Header{"Content-Type": {"text/plain"}}), 400, "VALIDATION_ERROR"},
		{"bulksmsrates unknown field", bulkSend(`{"recipients":[{"to":"+447700900001","client_ref":"x"}],"from":"A","body":"x"}`), 400, "VALIDATION_ERROR"},
		{"bulksmsrates none", bulkSend(`{"recipients":[],"from":"A","body":"x"}`), 400, "VALIDATION_ERROR"},
		{"bulksmsrates 10001", bulkSend(`{"recipients":[` + recipients(10001, `{"to":"+44770%07d"}`) + `],"from":"A","body":"x"}`), 400, "VALIDATION_ERROR"},
		{"bulksmsrates sender", bulkSend(`{"recipients":[{"to":"+447700900001"}],"from":"TWELVELETTER","body":"x"}`), 400, "INVALID_SENDER_ID"},
		{"bulksmsrates sender space", bulkSend(`{"recipients":[{"to":"+447700900001"}],"from":"MY APP","body":"x"}`), 400, "INVALID_SENDER_ID"},
		{"bulksmsrates body missing", bulkSend(`{"recipients":[{"to":"+447700900001"}],"from":"A"}`), 400, "VALIDATION_ERROR"},
		{"bulksmsrates too long", bulkSend(`{"recipients":[{"to":"+447700900001"}],"from":"A","body":"` + strings.Repeat("x", 1601) + `"}`), 400, "MESSAGE_TOO_LONG"},
		{"bulksmsrates far future", bulkSend(`{"recipients":[{"to":"+447700900001"}],"from":"A","body":"x","scheduled_at":"2099-01-01T00:00:00Z"}`), 400, "VALIDATION_ERROR"},
		{"bulksmsrates template", bulkSend(`{"recipients":[{"to":"+447700900001"}],"from":"A","body":"x","template_id":"550e8400-e29b-41d4-a716-446655440001"}`), 404, "NOT_FOUND"},
		{"bulksmsrates number", single(`{"to":"447700900001","from":"A","body":"x"}`), 400, "INVALID_PHONE_NUMBER"},
		{"bulksmsrates variable", single(`{"to":"+447700900001","from":"A","body":"{{a}}","variables":{"b":"x"}}`), 400, "VALIDATION_ERROR"},
		{"bulksmsrates opted out", single(`{"to":"+447799990006","from":"A","body":"x"}`), 422, "OPT_OUT"},
		{"bulksmsrates blacklisted", single(`{"to":"+447799990012","from":"A","body":"x"}`), 422, "BLACKLISTED"},
		{"bulksmsrates unknown id", request{typ: BulkSMSRates, method: "GET", path: "/sms/550e8400-e29b-41d4-a716-446655440000"}, 404, "NOT_FOUND"},
		{"bulksmsrates page size", request{typ: BulkSMSRates, method: "GET", path: "/reports/messages?page_size=501"}, 400, "VALIDATION_ERROR"},

		{"digitalservices recipients missing", dscSend(s, "message=x"), 400, "Missing required parameter: recipients"},
		{"digitalservices message missing", dscSend(s, "recipients=250782589800"), 400, "Missing required parameter: message"},
		{"digitalservices national", dscSend(s, "recipients=250782589800,0781234567&message=x"), 400, "Invalid phone numbers"},
		{"digitalservices plus", dscSend(s, "recipients=%2B250782589800&message=x"), 400, "Invalid phone numbers"},
		{"digitalservices other country", dscSend(s, "recipients=254712345678&message=x"), 400, "Invalid phone numbers"},
		{"digitalservices JSON", header(dscSend(s, "recipients=250782589800&message=x"), http.Header{"Content-Type": {"application/json"}}), 400, "Missing required parameter: api_key"},
		{"digitalservices unknown", dscSend(s, "recipients=250782589800&message=x&to=1"), 400, "Unknown or repeated parameter: to"},
		{"digitalservices 501", dscSend(s, "recipients="+recipients(501, "250780%06d")+"&message=x"), 400, "Too many recipients"},

		{"smsscheduler token", header(sched("", ""), none), 401, "Unauthorized"},
		{"smsscheduler token wrong", header(sched("", ""), http.Header{"Authorization": {"bearer wrong"}}), 401, "Unauthorized"},
		{"smsscheduler text missing", sched(`"message_text":"Hi",`, ""), 400, "errors"},
		{"smsscheduler sender as string", sched(`"sender_id":1`, `"sender_id":"1"`), 400, "errors"},
		{"smsscheduler no such sender", sched(`"sender_id":1`, `"sender_id":999`), 400, "errors"},
		{"smsscheduler date", sched("2020-01-01 00:00:00", "2020-01-01T00:00:00Z"), 400, "errors"},
		{"smsscheduler unknown field", sched(`"sender_id"`, `"x":1,"sender_id"`), 400, "errors"},
		{"smsscheduler number", sched("+33612345678", "+123456789"), 400, "errors"},
		{"smsscheduler 501", sched(`"+33612345678"`, "["+recipients(501, `"+33612%06d"`)+"]"), 400, "errors"},
		{"smsscheduler unknown sms", request{typ: SMSScheduler, method: "GET", path: "/sms/1"}, 404, "Not Found"},
		{"smsscheduler unknown message", request{typ: SMSScheduler, method: "GET", path: "/message/x"}, 404, "Not Found"},
	}
	for _, tt := range tests {
		w := tt.q.do(s)
		entries := s.Ledger().Entries()
		last := entries[len(entries)-1]
		if w.Code != tt.status || !strings.Contains(last.Reason, tt.reason) || last.Status != tt.status || last.Accepted {
			t.Errorf("%s: %d, ledger %d %q, want %d %q: %s", tt.name, w.Code, last.Status, last.Reason, tt.status, tt.reason, w.Body)
		}
	}
	if n := s.Ledger().Messages(""); n != 0 {
		t.Errorf("%d messages taken", n)
	}
}

// Items of a CloudRebue array stand for themselves; so do recipients elsewhere.
func TestPartialSuccess(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	w := request{typ: CloudRebue, path: "/send-sms", body: `[{"sender":"A","message":"x","phone":"254712345678","correlator":"a"},
		{"sender":"A","message":"x","phone":"+25471234567","correlator":"b"},{"sender":"A","message":"","phone":"254712345678"},
		{"sender":"A","message":"x","phone":"254712345678","colour":1},{"sender":"A","message":"x","phone":"254719990001","correlator":7}]`}.do(s)
	doc := parse(t, w.Body.String())
	for i, want := range []bool{true, false, false, false, false} {
		if at(doc, i, "status") != want {
			t.Errorf("cloudrebue item %d: %v", i, at(doc, i))
		}
	}
	if at(doc, 4, "data", "correlator") != 7.0 || at(doc, 0, "data", "correlator") != "a" {
		t.Errorf("correlators: %s", w.Body)
	}
	w = bulkSend(`{"recipients":[{"to":"+447700900001","variables":{"n":"{{n}}"}},{"to":"+447799990006","variables":{"n":"x"}},
		{"to":"07700900001","variables":{"n":"x"}},{"to":"+447700900003","variables":{}}],"from":"A","body":"Hi {{n}}"}`).do(s)
	if doc := parse(t, w.Body.String()); at(doc, "data", "accepted") != 1.0 || at(doc, "data", "rejected") != 3.0 {
		t.Errorf("bulksmsrates: %s", w.Body)
	}
	w = dscSend(s, "recipients=250782589800,250789990006&message=x").do(s)
	doc = parse(t, w.Body.String())
	if at(doc, "response", 0, "status") != "sent" || at(doc, "response", 1, "status") != "failed" {
		t.Errorf("digitalservices: %s", w.Body)
	}
	var texts []string
	for r := range s.Ledger().Taken("") {
		texts = append(texts, r.To+" "+r.Text)
	}
	want := []string{"+254712345678 x", "+447700900001 Hi {{n}}", "+250782589800 x"}
	if !slices.Equal(texts, want) {
		t.Errorf("taken %q, want %q", texts, want)
	}
}
