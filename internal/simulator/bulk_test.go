package simulator

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bulkCall makes one request, checks its status and returns the answer.
func bulkCall(t *testing.T, s *Simulator, method, path, body string, status int, header ...string) any {
	t.Helper()
	q := request{typ: BulkSMSRates, method: method, path: path, body: body, header: http.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		q.header[header[i]] = []string{header[i+1]}
	}
	w := q.do(s)
	if w.Code != status {
		t.Fatalf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	if w.Body.Len() == 0 || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		return w.Body.String()
	}
	return parse(t, w.Body.String())
}

func (s served) bulk(t *testing.T, method, path, body string, status int) any {
	t.Helper()
	return bulkCall(t, s.Simulator, method, path, body, status)
}

const bulkLogInBody = `{"email":"demo@example.com","password":"demo-password"}`

// bulkBearer asks with a token instead of the key pair.
func bulkBearer(s *Simulator, token string) int {
	return request{typ: BulkSMSRates, method: "GET", path: "/billing/balance", header: http.Header{
		"X-Api-Key": nil, "X-Api-Secret": nil, "Authorization": {"Bearer " + token},
	}}.do(s).Code
}

func TestBulkTokens(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := New(Options{Now: c.Now})
	first := bulkCall(t, s, "POST", "/auth/login", bulkLogInBody, 200)
	access, refresh := at(first, "data", "access_token").(string), at(first, "data", "refresh_token").(string)
	if got := bulkBearer(s, access); got != 200 {
		t.Errorf("a new token: %d", got)
	}
	if got := bulkBearer(s, "eyJ.other.sim"); got != 401 {
		t.Errorf("another: %d", got)
	}
	second := bulkCall(t, s, "POST", "/auth/refresh", `{"refresh_token":"`+refresh+`"}`, 200)
	bulkCall(t, s, "POST", "/auth/refresh", `{"refresh_token":"`+refresh+`"}`, 401) // "rotated on use"
	c.add(15 * time.Minute)
	if got := bulkBearer(s, access); got != 401 {
		t.Errorf("15 minutes old: %d", got)
	}
	refresh = at(second, "data", "refresh_token").(string)
	c.add(7*24*time.Hour - 15*time.Minute)
	bulkCall(t, s, "POST", "/auth/refresh", `{"refresh_token":"`+refresh+`"}`, 401) // seven days old
	third := bulkCall(t, s, "POST", "/auth/login", bulkLogInBody, 200)
	refresh = at(third, "data", "refresh_token").(string)
	bulkCall(t, s, "POST", "/auth/logout", `{"refresh_token":"`+refresh+`"}`, 200)
	bulkCall(t, s, "POST", "/auth/refresh", `{"refresh_token":"`+refresh+`"}`, 401)
}

func TestBulkLock(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := New(Options{Now: c.Now})
	wrong := `{"email":"demo@example.com","password":"x"}`
	for range 4 {
		if got := at(bulkCall(t, s, "POST", "/auth/login", wrong, 401), "error", "code"); got != "UNAUTHORIZED" {
			t.Error(got)
		}
	}
	if got := at(bulkCall(t, s, "POST", "/auth/login", wrong, 401), "error", "code"); got != "ACCOUNT_LOCKED" {
		t.Errorf("the fifth failure: %v", got)
	}
	if got := at(bulkCall(t, s, "POST", "/auth/login", bulkLogInBody, 429), "error", "code"); got != "ACCOUNT_LOCKED" {
		t.Error(got)
	}
	c.add(bulkLocked)
	bulkCall(t, s, "POST", "/auth/login", bulkLogInBody, 200)
}

func TestBulkCampaign(t *testing.T) {
	t.Parallel()
	rec := receive(t, nil)
	c := newClock()
	s := serve(t, Options{Now: c.Now, ReportDelay: time.Second, Callbacks: map[string]string{BulkSMSRates: rec.url}})
	allEvents(t, s)
	status := func(id string) any { return at(s.bulk(t, "GET", "/campaigns/"+id, "", 200), "data", "status") }
	id := at(s.bulk(t, "POST", "/campaigns", `{"name":"Spring Sale 2026","from":"MyShop","body":"Hi {{name}}"}`, 200), "data", "id").(string)
	s.bulk(t, "POST", "/campaigns/"+id+"/submit", "", 409) // nobody is in it
	s.bulk(t, "POST", "/campaigns/"+id+"/recipients", `{"recipients":[{"to":"+447700900001","variables":{"name":"Asha"}}]}`, 200)
	s.bulk(t, "POST", "/campaigns/"+id+"/pause", "", 409)
	s.bulk(t, "POST", "/campaigns/"+id+"/submit", "", 200)
	s.bulk(t, "POST", "/campaigns/"+id+"/recipients", `{"recipients":[{"to":"+447700900002"}]}`, 409) // no draft any more
	if got := status(id); got != "pending_approval" {
		t.Errorf("submitted: %v", got)
	}
	c.add(time.Second)
	s.bulk(t, "POST", "/campaigns/"+id+"/pause", "", 200)
	s.bulk(t, "POST", "/campaigns/"+id+"/pause", "", 409)
	c.add(time.Hour)
	if got := status(id); got != "paused" || len(rec.hooks) != 0 {
		t.Errorf("an hour of pause: %v, %d reports", got, len(rec.hooks))
	}
	s.bulk(t, "POST", "/campaigns/"+id+"/resume", "", 200)
	if got := status(id); got != "sending" {
		t.Errorf("resumed: %v", got)
	}
	c.add(2 * time.Second)
	if got := status(id); got != "completed" {
		t.Errorf("in the end: %v", got)
	}
	s.bulk(t, "POST", "/campaigns/"+id+"/cancel", "", 409)
	told := map[any]int{} // callbacks are sent side by side
	for range 2 {
		told[at(parse(t, rec.next(t).body), "event")]++
	}
	if d := cmp.Diff(map[any]int{"message.delivered": 1, "campaign.completed": 1}, told); d != "" {
		t.Error(d)
	}
	if n := len(at(s.bulk(t, "GET", "/reports/messages?campaign_id="+id, "", 200), "data").([]any)); n != 1 {
		t.Errorf("%d messages in its log", n)
	}
}

// allEvents has the first webhook get every event.
func allEvents(t *testing.T, s served) {
	t.Helper()
	s.bulk(t, "PATCH", "/settings/webhooks/wh_1", `{"events":["dlr","opt_out","campaign.completed","campaign.failed","balance.low","whatsapp.message"]}`, 200)
}

// TestBulkCancel: what is cancelled is reported failed; a draft is just cancelled,
// and what was rejected sends nothing.
func TestBulkCancel(t *testing.T) {
	t.Parallel()
	rec := receive(t, nil)
	c := newClock()
	s := serve(t, Options{Now: c.Now, ReportDelay: time.Second, Callbacks: map[string]string{BulkSMSRates: rec.url}})
	id := at(s.bulk(t, "POST", "/sms/bulk", `{"recipients":[{"to":"+447700900001"}],"from":"A","body":"x"}`, 200), "data", "batch_id").(string)
	s.bulk(t, "POST", "/campaigns/"+id+"/cancel", "", 200)
	s.bulk(t, "POST", "/campaigns/"+id+"/resume", "", 409)
	got := s.bulk(t, "GET", "/campaigns/"+id, "", 200)
	if at(got, "data", "status") != "cancelled" || at(got, "data", "failed") != 1.0 {
		t.Error(got)
	}
	c.add(2 * time.Second)
	if event := at(parse(t, rec.next(t).body), "event"); event != "message.failed" {
		t.Error(event)
	}

	draft := func() string {
		return at(s.bulk(t, "POST", "/campaigns", `{"name":"n","from":"A","body":"x"}`, 200), "data", "id").(string)
	}
	id = draft()
	s.bulk(t, "POST", "/campaigns/"+id+"/cancel", "", 200)
	s.bulk(t, "POST", "/campaigns/"+id+"/recipients", `{"recipients":[{"to":"+447700900001"}]}`, 409)
	id = draft()
	s.bulk(t, "POST", "/campaigns/"+id+"/recipients", `{"recipients":[{"to":"+447709990018"}]}`, 200)
	s.bulk(t, "POST", "/campaigns/"+id+"/submit", "", 200)
	c.add(time.Second)
	if got := at(s.bulk(t, "GET", "/campaigns/"+id, "", 200), "data", "status"); got != "rejected" {
		t.Error(got)
	}
	if n := s.Ledger().Messages(BulkSMSRates); n != 1 {
		t.Errorf("%d messages taken", n)
	}
}

func TestBulkWhatsApp(t *testing.T) {
	t.Parallel()
	s := New(Options{ReportDelay: time.Hour, Rates: map[string]int{BulkSMSRates: 0}})
	send := func(to, name, components string) string {
		return `{"to":"` + to + `","type":"template","template":{"name":"` + name + `","language":"en","components":[` + components + `]}}`
	}
	two := `{"type":"body","parameters":[{"type":"text","text":"Alice"},{"type":"text","text":"ORD-12345"}]}`
	for body, status := range map[string]int{
		send("+447700900123", "order_shipped", two):                                             200,
		send("+447700900123", "order_shipped", ""):                                              400, // lacks parameters
		send("+447700900123", "order_shipped", two+","+two):                                     400,
		send("+447700900123", "no_such", two):                                                   404,
		send("447700900123", "order_shipped", two):                                              400,
		send("+447709990006", "order_shipped", two):                                             422,
		strings.Replace(send("+447700900123", "order_shipped", two), `"template"`, `"text"`, 1): 400,
		strings.Replace(send("+447700900123", "order_shipped", two), `"to"`, `"client_ref"`, 1): 400,
		strings.Replace(send("+447700900123", "order_shipped", two), `"en"`, `"fr"`, 1):         404,
	} {
		bulkCall(t, s, "POST", "/whatsapp/send", body, status)
	}
	var taken []Recipient
	for r := range s.Ledger().Taken(BulkSMSRates) {
		taken = append(taken, r)
	}
	if len(taken) != 1 || taken[0].Channel != "whatsapp" || taken[0].Text != "Hi Alice, your order ORD-12345 has been shipped." {
		t.Errorf("taken %+v", taken)
	}
	if n := len(at(bulkCall(t, s, "GET", "/sms", "", 200), "data").([]any)); n != 0 {
		t.Errorf("%d WhatsApp messages in the SMS log", n)
	}

	made := `{"name":"hi","language":"en","category":"UTILITY","components":[{"type":"body","text":"Hi"}]}`
	bulkCall(t, s, "POST", "/whatsapp/templates", made, 200)
	bulkCall(t, s, "POST", "/whatsapp/templates", made, 409)
	bulkCall(t, s, "POST", "/whatsapp/send", send("+447700900123", "hi", ""), 404) // Meta has not approved it
	if n := len(at(bulkCall(t, s, "GET", "/whatsapp/templates", "", 200), "data").([]any)); n != 3 {
		t.Errorf("%d templates", n)
	}
	bulkCall(t, s, "DELETE", "/whatsapp/templates/hi", "", 200)
	bulkCall(t, s, "DELETE", "/whatsapp/templates/hi", "", 404)

	hub := "/whatsapp/webhook?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
	if got := bulkCall(t, s, "GET", hub+"demo-verify-token", "", 200, "X-Api-Key", ""); got != "1158201444" {
		t.Errorf("hub check: %v", got)
	}
	bulkCall(t, s, "GET", hub+"guess", "", 403)
}

// TestBulkEvents: what is no delivery report, told by magic numbers and by hand, to
// webhooks that want it.
func TestBulkEvents(t *testing.T) {
	t.Parallel()
	rec := receive(t, nil)
	s := serve(t, Options{ReportDelay: -1, Callbacks: map[string]string{BulkSMSRates: rec.url}})
	if status, _ := s.control(t, "POST", "/_sim/bulksmsrates/event", `{"event":"balance.low"}`); status != 409 {
		t.Errorf("nobody wants it: %d", status)
	}
	allEvents(t, s)
	event := func() (name any, h hook) {
		h = rec.next(t)
		if h.header.Get("X-Webhook-Signature") != signature("demo-webhook-secret", h.header.Get("X-Webhook-Timestamp"), h.body) {
			t.Errorf("signature of %s", h.body)
		}
		return at(parse(t, h.body), "event"), h
	}
	for number, want := range map[string]string{"14": "opt_out", "15": "balance.low", "16": "campaign.failed", "17": "whatsapp.message"} {
		mustSend(t, s, bulkSend(`{"recipients":[{"to":"+4477099900`+number+`"}],"from":"A","body":"x"}`))
		seen := map[any]bool{}
		for range 2 {
			name, _ := event()
			seen[name] = true
		}
		if !seen["message.delivered"] || !seen[want] {
			t.Errorf("…%s: %v", number, seen)
		}
	}
	s.bulk(t, "POST", "/sms/send", `{"to":"+447709990014","from":"A","body":"x"}`, 422) // opted out
	for path, body := range map[string]string{
		"opt-out": `{"number":"+447700900077"}`, "inbound": `{"from":"+447700900123","text":"Hello"}`, "event": `{"event":"campaign.completed","data":{"campaign_id":"c"}}`,
	} {
		if status, answer := s.control(t, "POST", "/_sim/bulksmsrates/"+path, body); status != 202 {
			t.Errorf("%s: %d %s", path, status, answer)
		}
		event()
	}
	for path, body := range map[string]string{"opt-out": `{"number":"x"}`, "inbound": `{}`, "event": `{"event":"dlr"}`, "nonsense": `{}`} {
		if status, _ := s.control(t, "POST", "/_sim/bulksmsrates/"+path, body); status != 400 {
			t.Errorf("%s %s: %d", path, body, status)
		}
	}
	if n := len(at(s.bulk(t, "GET", "/contacts", "", 200), "data").([]any)); n != 2 {
		t.Errorf("%d contacts", n)
	}
	meta := `{"entry":[{"changes":[{"value":{"messages":[{"from":"447700900123","id":"wamid.1","text":{"body":"Hi"}}]}}]}]}`
	s.bulk(t, "POST", "/whatsapp/webhook", meta, 200)
	if name, h := event(); name != "whatsapp.message" || at(parse(t, h.body), "data", "message_id") != "wamid.1" {
		t.Error(h.body)
	}
	s.Reset()
	s.bulk(t, "POST", "/sms/send", `{"to":"+447700900077","from":"A","body":"x"}`, 200)
}

func TestBulkAccount(t *testing.T) {
	t.Parallel()
	s := New(Options{Rates: map[string]int{BulkSMSRates: 0}})
	mine := bulkCall(t, s, "POST", "/settings/webhooks", `{"url":"https://a.example","events":["dlr"]}`, 200)
	if at(mine, "data", "secret") != "demo-webhook-secret" {
		t.Error(mine)
	}
	bulkCall(t, s, "POST", "/settings/webhooks", `{"url":"https://a.example","events":["sms"]}`, 400)
	bulkCall(t, s, "POST", "/settings/sender-ids", `{"sender_id":"MyShop"}`, 200)
	bulkCall(t, s, "POST", "/settings/sender-ids", `{"sender_id":"MyShop"}`, 409)
	bulkCall(t, s, "POST", "/settings/sender-ids", `{"sender_id":"My Shop"}`, 400)
	if got := at(bulkCall(t, s, "GET", "/settings/sender-ids", "", 200), "data", 0, "status"); got != "pending" {
		t.Error(got)
	}
	bulkCall(t, s, "POST", "/sms/send", `{"to":"+447700900001","from":"A","body":"x","template_id":"`+bulkSavedTemplate+`","variables":{"name":"Asha","code":"12"},"unicode":true}`, 200)
	for r := range s.Ledger().Taken(BulkSMSRates) {
		if r.Text != "Hi Asha, code: 12" {
			t.Errorf("the kept text: %q", r.Text)
		}
	}
	if got := at(bulkCall(t, s, "GET", "/billing/usage", "", 200), "data", "segments"); got != 1.0 {
		t.Error(got)
	}
	bulkCall(t, s, "GET", "/sandbox/reset", "", 200, "X-Sandbox", "true")
	bulkCall(t, s, "GET", "/sandbox/reset", "", 404)
}

// TestBulkRateHeaders: tokens of the bucket that the document names.
func TestBulkRateHeaders(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := New(Options{Now: c.Now, Rates: map[string]int{BulkSMSRates: 3}})
	remaining := func() string {
		h := request{typ: BulkSMSRates, method: "GET", path: "/billing/balance"}.do(s).Header()
		if h.Get("X-RateLimit-Limit") != "3" || h.Get("X-RateLimit-Reset") == "" {
			t.Error(h)
		}
		return h.Get("X-RateLimit-Remaining")
	}
	var got []string
	for range 4 {
		got = append(got, remaining())
	}
	c.add(time.Second)
	got = append(got, remaining())
	if d := cmp.Diff([]string{"2", "1", "0", "0", "2"}, got); d != "" {
		t.Error(d)
	}
}
