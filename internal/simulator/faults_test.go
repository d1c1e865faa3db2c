package simulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// lastEntry waits for the newest entry of the ledger.
func lastEntry(t *testing.T, s *Simulator) Entry {
	t.Helper()
	entries := s.Ledger().Entries()
	if len(entries) == 0 {
		t.Fatal("the ledger is empty")
	}
	return entries[len(entries)-1]
}

// Each fault, on each API: what the client sees, and whether the messages were taken.
func TestRequestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		fault    Fault
		status   int // 0: no answer
		accepted bool
	}{
		{Fault{Kind: "status", Status: 500}, 500, false},
		{Fault{Kind: "status", Status: 502, After: true}, 502, true},
		{Fault{Kind: "status", Status: 503}, 503, false},
		{Fault{Kind: "status", Status: 504, After: true, Body: "empty"}, 504, true},
		{Fault{Kind: "status", Status: 307}, 307, false},
		{Fault{Kind: "throttle"}, 429, false},
		{Fault{Kind: "reset"}, 0, false},
		{Fault{Kind: "reset", Bytes: 5}, 0, false},
		{Fault{Kind: "reset", After: true}, 0, true},
		{Fault{Kind: "cut"}, 200, true},
		{Fault{Kind: "html"}, 200, false},
		{Fault{Kind: "html", After: true}, 200, true},
		{Fault{Kind: "latency", Delay: Duration(time.Millisecond), Jitter: Duration(time.Millisecond)}, 200, true},
	}
	for _, typ := range Types() {
		s := serve(t, Options{Rates: map[string]int{typ: 0}})
		s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		for _, tt := range tests {
			tt.fault.Type, tt.fault.Next = typ, 1
			if err := s.SetFaults(tt.fault); err != nil {
				t.Fatal(err)
			}
			status, header, body, err := s.send(one(s.Simulator, typ))
			if status != tt.status {
				t.Errorf("%s %+v: status %d (%v), want %d", typ, tt.fault, status, err, tt.status)
			}
			if broken := tt.status == 0 || tt.fault.Kind == "cut"; broken != (err != nil) {
				t.Errorf("%s %+v: error %v", typ, tt.fault, err)
			}
			switch tt.fault.Kind {
			case "throttle":
				if header.Get("Retry-After") != "1" {
					t.Errorf("%s: Retry-After %q", typ, header.Get("Retry-After"))
				}
			case "html":
				if !strings.HasPrefix(body, "<html>") {
					t.Errorf("%s: html is %q", typ, body)
				}
			}
			e := lastEntry(t, s.Simulator)
			if e.Accepted != tt.accepted || e.Status != tt.status || len(e.Faults) != 1 || e.Whole != (tt.fault.Bytes == 0) {
				t.Errorf("%s %+v: ledger %+v", typ, tt.fault, e)
			}
			if status, _, body, err := s.send(one(s.Simulator, typ)); err != nil || status != 200 {
				t.Errorf("%s: the fault struck twice: %d %s %v", typ, status, body, err)
			}
		}
	}
}

// A client that gives up while the gateway hangs: taken or not as the fault says.
func TestHang(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	s.client.Timeout = 50 * time.Millisecond
	for _, after := range []bool{false, true} {
		if err := s.SetFaults(Fault{Kind: "hang", After: after, Next: 1}); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := s.send(one(s.Simulator, CloudRebue)); err == nil {
			t.Error("a hanging gateway answered")
		}
		if e := lastEntry(t, s.Simulator); e.Accepted != after || e.Status != 0 {
			t.Errorf("after %v: %+v", after, e)
		}
	}
}

// A request that breaks off in the middle takes nothing.
func TestTruncatedRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	r := one(s.Simulator, CloudRebue).build(s.url, s.Simulator)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	var raw strings.Builder
	if err := r.Write(&raw); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, raw.String()[:raw.Len()-3]); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(conn) // until the simulator is done with it
	conn.Close()
	if e := lastEntry(t, s.Simulator); e.Whole || e.Accepted {
		t.Errorf("ledger %+v", e)
	}
}

func TestRetryAfterForms(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := New(Options{Now: c.Now})
	for form, want := range map[string]string{"": "1", "7": "7", "none": "", "date": "Fri, 20 Nov 2026 12:00:02 GMT"} {
		if err := s.SetFaults(Fault{Kind: "throttle", RetryAfter: form}); err != nil {
			t.Fatal(err)
		}
		if got := one(s, BulkSMSRates).do(s).Header().Get("Retry-After"); got != want {
			t.Errorf("%q: Retry-After %q, want %q", form, got, want)
		}
	}
}

func TestResultFaults(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	set := func(f Fault) {
		t.Helper()
		if err := s.SetFaults(f); err != nil {
			t.Fatal(err)
		}
	}
	batch := request{typ: CloudRebue, path: "/send-sms", body: "[" + recipients(100, `{"sender":"A","message":"x","phone":"2547000%05d","correlator":"%[1]d"}`) + "]"}
	set(Fault{Kind: "reorder"})
	if doc := parse(t, batch.do(s).Body.String()); at(doc, 0, "data", "correlator") != "99" {
		t.Error("not reordered")
	}
	set(Fault{Kind: "missing", Share: 0.3})
	if n := len(parse(t, batch.do(s).Body.String()).([]any)); n < 40 || n > 95 {
		t.Errorf("%d results told of 100", n)
	}
	set(Fault{Kind: "partial", Share: 0.3})
	before := s.Ledger().Messages(CloudRebue)
	doc := parse(t, batch.do(s).Body.String()).([]any)
	ok := 0
	for _, d := range doc {
		if at(d, "status") == true {
			ok++
		}
	}
	if taken := s.Ledger().Messages(CloudRebue) - before; len(doc) != 100 || ok < 40 || ok > 95 || taken != ok {
		t.Errorf("%d results, %d well, %d taken", len(doc), ok, taken)
	}
}

func TestMoods(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	set := func(f Fault) {
		t.Helper()
		if err := s.SetFaults(f); err != nil {
			t.Fatal(err)
		}
	}
	set(Fault{Kind: "sloppy_json"})
	w := one(s, SMSBox).do(s)
	if json.Valid(w.Body.Bytes()) || !strings.HasSuffix(w.Body.String(), ",\n  }") {
		t.Errorf("not sloppy: %s", w.Body)
	}
	set(Fault{Kind: "loose_json"})
	w = one(s, DigitalServices).do(s)
	doc := parse(t, strings.TrimPrefix(w.Body.String(), "\ufeff"))
	if _, number := at(doc, "response", "messageid").(float64); !number || at(doc, "totalmessages") != "1" || at(doc, "response", "cost") != "75" ||
		!strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.HasPrefix(w.Body.String(), "\ufeff") {
		t.Errorf("not loose: %s", w.Body)
	}
	set(Fault{Kind: "error_in_200"})
	q := one(s, SMSBox)
	q.body = strings.Replace(q.body, "INFO", smsBoxInactive, 1)
	w = q.do(s)
	if doc := parse(t, w.Body.String()); w.Code != 200 || at(doc, "code") != 111.0 || at(doc, "status") != true {
		t.Errorf("error in 200: %d %s", w.Code, w.Body)
	}
	set(Fault{Kind: "balance", Any: true})
	w = one(s, SMSBox).do(s)
	if at(parse(t, w.Body.String()), "code") != 102.0 {
		t.Errorf("balance: %s", w.Body)
	}
	w = request{typ: SMSBox, method: "GET", path: "/query_sms_balance"}.do(s)
	if at(parse(t, w.Body.String()), "data", 0, "balance_money") != 0.0 {
		t.Errorf("balance: %s", w.Body)
	}
	set(Fault{Kind: "quota"})
	w = one(s, DigitalServices).do(s)
	if w.Code != 429 || at(parse(t, w.Body.String()), "message") != "Daily SMS limit reached for testing mode" {
		t.Errorf("quota: %d %s", w.Code, w.Body)
	}
	set(Fault{Type: BulkSMSRates, Kind: "status", Status: 503})
	w = one(s, BulkSMSRates).do(s)
	if at(parse(t, w.Body.String()), "error", "code") != "SERVICE_UNAVAILABLE" {
		t.Errorf("503: %s", w.Body)
	}
	set(Fault{Type: BulkSMSRates, Kind: "status", Status: 503, Body: "html"})
	if w = one(s, BulkSMSRates).do(s); !strings.HasPrefix(w.Body.String(), "<html>") {
		t.Errorf("503: %s", w.Body)
	}
}

func TestFaultsByChanceAreSeeded(t *testing.T) {
	t.Parallel()
	run := func() (out []int) {
		s := New(Options{Seed: 7, Rates: map[string]int{BulkSMSRates: 0}})
		if err := s.SetFaults(Fault{Kind: "status", Status: 500, Probability: 0.5, Next: 20}); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			out = append(out, one(s, BulkSMSRates).do(s).Code)
		}
		return out
	}
	a, b := run(), run()
	bad := 0
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("request %d: %d, then %d", i, a[i], b[i])
		}
		if a[i] == 500 {
			bad++
		}
	}
	if bad != 20 {
		t.Errorf("struck %d times, want 20", bad)
	}
}

func TestFaultControl(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	for _, bad := range []string{`{"kind":"nonsense"}`, `{"kind":"status"}`, `[{"kind":"reset","typ":"x"}]`, `{"kind":"reset","type":"x"}`,
		`{"kind":"latency","delay":"-1s"}`, `{"kind":"partial","share":2}`, `{"kind":"throttle","after":true}`, `x`} {
		if status, _ := s.control(t, "POST", "/_sim/faults", bad); status != 400 {
			t.Errorf("%s: %d", bad, status)
		}
	}
	status, body := s.control(t, "POST", "/_sim/faults", `[{"type":"cloudrebue","kind":"latency","delay":"1ms"},{"kind":"status","status":500,"next":1}]`)
	if status != 200 || at(parse(t, body), 0, "delay") != "1ms" {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _, err := s.send(one(s.Simulator, CloudRebue)); err != nil || status != 500 {
		t.Errorf("%d %v", status, err)
	}
	_, body = s.control(t, "GET", "/_sim/faults", "")
	if l := parse(t, body).([]any); len(l) != 1 || at(l, 0, "struck") != 1.0 {
		t.Errorf("faults left: %s", body)
	}
	if status, _ = s.control(t, "POST", "/_sim/faults", "[]"); status != 200 {
		t.Errorf("%d", status)
	}
	if _, body = s.control(t, "GET", "/_sim/faults", ""); strings.TrimSpace(body) != "[]" {
		t.Errorf("faults left: %s", body)
	}
}

// Many clients at once, with everything going wrong now and then: the ledger
// counts what was taken, and every report is accounted for.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(n int, _ hook) (int, string) {
		if n%5 == 0 {
			return http.StatusServiceUnavailable, ""
		}
		return http.StatusOK, ""
	})
	s := serve(t, Options{ReportDelay: time.Millisecond, RetryScale: 0.001, Rates: map[string]int{CloudRebue: 0}})
	if err := s.SetFaults(Fault{Kind: "status", Status: 502, After: true, Probability: 0.2}, Fault{Kind: "reset", Probability: 0.2},
		Fault{Kind: "report_twice", Probability: 0.2}, Fault{Kind: "report_early", Probability: 0.2}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 40 {
				_, _, _, _ = s.send(cloudTo(fmt.Sprintf("2547%02d%06d", w, i), rec))
				_ = s.Ledger().Summary(CloudRebue)
			}
		})
	}
	wg.Wait()
	waitFor(t, s.Simulator, CloudRebue, func(c ReportCounts) bool { return c.Pending == 0 })
	sum := s.Ledger().Summary(CloudRebue)
	reset := 0
	for e := range s.Ledger().Each(CloudRebue) {
		if len(e.Faults) > 0 && e.Faults[0] == "reset" {
			reset++
		}
	}
	if sum.Requests != 320 || sum.AcceptedMessages != 320-reset || sum.Duplicates != 0 || sum.Statuses["200"]+sum.Statuses["502"] != sum.AcceptedMessages {
		t.Errorf("%d resets, summary %+v", reset, sum)
	}
	if c := sum.Reports; c.Done < sum.AcceptedMessages || c.Done+c.GivenUp != c.Planned {
		t.Errorf("reports %+v", c)
	}
}
