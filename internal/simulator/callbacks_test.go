package simulator

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// cloudTo sends to one number with its reports going to rec.
func cloudTo(number string, rec receiver) request {
	return cloudSend(number, `,"correlator":"c-`, number, `","endpoint":"`, rec.url, `"`)
}

func TestMagicReports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		number string
		words  []string
	}{
		{"254719990002", []string{"DeliveryImpossible"}},
		{"254719990004", []string{"DeliveredToTerminal", "DeliveredToTerminal"}},
		{"254719990008", []string{"DeliveryImpossible"}},
		{"254719990009", []string{"DeliveryNotificationNotSupported"}},
		{"254719990010", []string{"DeliveryImpossible", "DeliveredToTerminal"}},
		{"254719990003", nil},
		{"254712345678", []string{"DeliveredToTerminal"}},
	}
	for _, tt := range tests {
		t.Run(tt.number, func(t *testing.T) {
			t.Parallel()
			rec := receive(t, nil)
			s := serve(t, Options{ReportDelay: 2 * time.Millisecond})
			mustSend(t, s, cloudTo(tt.number, rec))
			for _, w := range tt.words {
				doc := parse(t, rec.next(t).body)
				if at(doc, "deliveryStatus") != w || at(doc, "correlator") != "c-"+tt.number || at(doc, "phone") != tt.number {
					t.Errorf("report %v, want %s", doc, w)
				}
			}
			if n := s.Ledger().Summary(CloudRebue).Reports.Planned; n != len(tt.words) {
				t.Errorf("%d reports planned, want %d", n, len(tt.words))
			}
		})
	}
}

// A report can overtake the answer: by the time the answer is here, it came.
func TestEarlyReport(t *testing.T) {
	t.Parallel()
	rec := receive(t, nil)
	s := serve(t, Options{ReportDelay: time.Hour})
	mustSend(t, s, cloudTo("254719990005", rec))
	if len(rec.hooks) != 1 {
		t.Errorf("%d reports before the answer, want 1", len(rec.hooks))
	}
	if err := s.SetFaults(Fault{Kind: "report_early"}); err != nil {
		t.Fatal(err)
	}
	mustSend(t, s, cloudTo("254712345678", rec))
	if len(rec.hooks) != 2 {
		t.Errorf("%d reports before the answer, want 2", len(rec.hooks))
	}
}

func TestReportFaults(t *testing.T) {
	t.Parallel()
	rec := receive(t, nil)
	s := serve(t, Options{ReportDelay: -1})
	set := func(f Fault) {
		t.Helper()
		if err := s.SetFaults(f); err != nil {
			t.Fatal(err)
		}
	}
	set(Fault{Kind: "report_lost"})
	mustSend(t, s, cloudTo("254700000001", rec))
	set(Fault{Kind: "report_late", Delay: Duration(time.Hour)})
	mustSend(t, s, cloudTo("254700000002", rec))
	set(Fault{Kind: "report_undelivered"})
	mustSend(t, s, cloudTo("254700000003", rec))
	if doc := parse(t, rec.next(t).body); at(doc, "phone") != "254700000003" || at(doc, "deliveryStatus") != "DeliveryImpossible" {
		t.Errorf("report %v", doc)
	}
	set(Fault{Kind: "report_twice", Next: 1})
	mustSend(t, s, cloudTo("254700000004", rec))
	mustSend(t, s, cloudTo("254700000005", rec))
	seen := map[any]int{}
	for range 3 {
		seen[at(parse(t, rec.next(t).body), "phone")]++
	}
	if seen["254700000004"] != 2 || seen["254700000005"] != 1 {
		t.Errorf("reports %v", seen)
	}
	c := s.Ledger().Summary(CloudRebue).Reports
	if c.Planned != 5 {
		t.Errorf("counts %+v", c)
	}
}

// A callback without 2xx comes again, unchanged, and is given up in the end.
func TestWebhookRetries(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(n int, _ hook) (int, string) {
		if n < 3 {
			return http.StatusInternalServerError, ""
		}
		return http.StatusOK, ""
	})
	s := serve(t, Options{ReportDelay: -1, RetryScale: 0.0005, Callbacks: map[string]string{BulkSMSRates: rec.url}})
	mustSend(t, s, one(s.Simulator, BulkSMSRates))
	first := rec.next(t)
	for range 2 {
		h := rec.next(t)
		if h.body != first.body || h.header.Get("X-Webhook-Id") != first.header.Get("X-Webhook-Id") ||
			h.header.Get("X-Webhook-Signature") != first.header.Get("X-Webhook-Signature") {
			t.Errorf("the retry differs: %v", h)
		}
	}
	waitFor(t, s.Simulator, BulkSMSRates, func(c ReportCounts) bool {
		return c.Sent == 3 && c.Done == 1 && c.Answered["500"] == 2 && c.Pending == 0
	})
}

// "After 3 failures → webhook marked inactive", until it is updated.
func TestWebhookInactive(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(n int, _ hook) (int, string) {
		if n <= 4 {
			return http.StatusInternalServerError, ""
		}
		return http.StatusOK, ""
	})
	s := serve(t, Options{ReportDelay: -1, RetryScale: 0.0001, Callbacks: map[string]string{BulkSMSRates: rec.url}})
	mustSend(t, s, one(s.Simulator, BulkSMSRates))
	waitFor(t, s.Simulator, BulkSMSRates, func(c ReportCounts) bool { return c.GivenUp == 1 && c.Sent == 4 })
	_, _, body, err := s.send(request{typ: BulkSMSRates, method: "GET", path: "/settings/webhooks"})
	hook := at(parse(t, body), "data", 0)
	if err != nil || at(hook, "active") != false {
		t.Fatalf("the webhook is still active: %s", body)
	}
	mustSend(t, s, one(s.Simulator, BulkSMSRates))
	if n := s.Ledger().Summary(BulkSMSRates).Reports.Planned; n != 1 {
		t.Errorf("%d reports planned on an inactive webhook", n)
	}
	mustSend(t, s, request{typ: BulkSMSRates, method: "PATCH", path: "/settings/webhooks/" + at(hook, "id").(string), body: `{"active":true}`})
	mustSend(t, s, one(s.Simulator, BulkSMSRates))
	waitFor(t, s.Simulator, BulkSMSRates, func(c ReportCounts) bool { return c.Done == 1 })
}

// waitFor waits until the counts are right: the last attempt is counted only
// after its answer is read.
func waitFor(t *testing.T, s *Simulator, typ string, right func(ReportCounts) bool) {
	t.Helper()
	counted := make(chan struct{}, 1)
	s.ledger.mu.Lock()
	s.ledger.counted = counted
	s.ledger.mu.Unlock()
	deadline := time.After(5 * time.Second)
	for !right(s.Ledger().Summary(typ).Reports) {
		select {
		case <-counted:
		case <-deadline:
			t.Fatalf("counts %+v", s.Ledger().Summary(typ).Reports)
		}
	}
}

func TestNoClientRef(t *testing.T) {
	t.Parallel()
	rec := receive(t, nil)
	s := serve(t, Options{ReportDelay: -1, Callbacks: map[string]string{BulkSMSRates: rec.url}})
	if err := s.SetFaults(Fault{Kind: "no_client_ref"}); err != nil {
		t.Fatal(err)
	}
	mustSend(t, s, request{typ: BulkSMSRates, path: "/sms/send", body: `{"to":"+447700900001","from":"A","body":"x","client_ref":"secret"}`})
	if h := rec.next(t); strings.Contains(h.body, "client_ref") {
		t.Errorf("webhook %s", h.body)
	}
	if e := lastEntry(t, s.Simulator); e.Recipients[0].Ref != "secret" {
		t.Errorf("the ledger forgot the client_ref: %+v", e)
	}
}

func TestInbound(t *testing.T) {
	t.Parallel()
	var good string
	rec := receive(t, func(_ int, h hook) (int, string) {
		return 200, strings.ReplaceAll(good, "ID", fmt.Sprint(at(parse(t, h.body), "transaction_id")))
	})
	s := serve(t, Options{Callbacks: map[string]string{SMSBoxInbound: rec.url}})
	in := `{"from":"+255701000000","to":"15000","text":"Test message","transaction_id":"120a1039103910"}`
	good = `{"transaction_id":"ID","successful":true}`
	if status, body := s.control(t, "POST", "/_sim/inbound", in); status != 200 || at(parse(t, body), "ok") != true {
		t.Errorf("%d %s", status, body)
	}
	h := rec.next(t)
	doc := documented(t, "smsbox/inbound.json")
	got := parse(t, h.body)
	if a, b := fmt.Sprint(shape(doc)), fmt.Sprint(shape(got)); a != b {
		t.Errorf("callback differs from the document:\n%s\n%s", a, b)
	}
	if at(got, "from") != "255701000000" || at(got, "message", "text") != "Test message" || h.header.Get("api-key") != "demo-smsbox-key" {
		t.Errorf("callback %s %v", h.body, h.header)
	}
	for _, bad := range []string{``, `{"transaction_id":"other","successful":true}`, `{"transaction_id":"ID","successful":false}`} {
		good = bad
		if status, body := s.control(t, "POST", "/_sim/inbound", in); status != 502 {
			t.Errorf("answer %q was taken: %d %s", bad, status, body)
		}
	}
	if status, _ := s.control(t, "POST", "/_sim/inbound", `{"from":1}`); status != 400 {
		t.Errorf("%d", status)
	}
}

// docs/simulator.md names every magic number and every kind of fault.
func TestDocsAreComplete(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		suffix := fmt.Sprintf("`…%07d`", magicBase+n)
		if (magic(uint64(254710000000+magicBase+n)) != plan{}) != strings.Contains(string(doc), suffix) {
			t.Errorf("docs and magic disagree on %s", suffix)
		}
	}
	for _, kind := range []string{faultStatus, faultThrottle, faultReset, faultHang, faultCut, faultHTML, faultLatency, faultPartial,
		faultMissing, faultReorder, faultBalance, faultQuota, faultSloppyJSON, faultErrorIn200, faultNoClientRef, faultLooseJSON,
		faultReportEarly, faultReportLate, faultReportTwice, faultReportLost, faultReportUndelivered} {
		if kindOf(kind) == 0 || !strings.Contains(string(doc), "`"+kind+"`") {
			t.Errorf("docs do not name %s", kind)
		}
	}
}
