package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := New(Options{Now: c.Now, Rates: map[string]int{CloudRebue: 3}})
	code := func() int { return one(s, CloudRebue).do(s).Code }
	for i := range 3 {
		if got := code(); got != 200 {
			t.Errorf("request %d: %d", i, got)
		}
		c.add(100 * time.Millisecond)
	}
	c.add(699 * time.Millisecond) // 999 ms after the first
	w := one(s, CloudRebue).do(s)
	if w.Code != 429 || w.Header().Get("Retry-After") != "1" || at(parse(t, w.Body.String()), "status") != false {
		t.Errorf("over the limit: %d %v %s", w.Code, w.Header(), w.Body)
	}
	c.add(time.Millisecond) // the window is half-open: the first is out of it
	if got := code(); got != 200 {
		t.Errorf("a second after the first: %d", got)
	}
	sum := s.Ledger().Summary(CloudRebue)
	if sum.Violations[slidingWindow] != 2 || sum.Violations[clockSecond] != 1 || sum.Violations[firstHit] != 1 || sum.MaxPerSecond != 4 || sum.AcceptedMessages != 4 {
		t.Errorf("summary %+v", sum)
	}
	w = one(s, BulkSMSRates).do(s)
	if w.Header().Get("X-RateLimit-Limit") != "100" || w.Header().Get("X-RateLimit-Remaining") != "99" || w.Header().Get("X-RateLimit-Reset") == "" {
		t.Errorf("rate headers %v", w.Header())
	}
}

// The ring's answer is that of counting; so is MaxInWindow's.
func TestWindowAgainstCounting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		gaps := rapid.SliceOfN(rapid.IntRange(0, 600), 1, 60).Draw(t, "gaps")
		w := newWindow(limit)
		l := &Ledger{}
		var now time.Duration
		var all []time.Duration
		over, most := 0, 0
		for _, g := range gaps {
			now += time.Duration(g) * time.Millisecond
			all = append(all, now)
			l.entries = append(l.entries, &entry{typ: CloudRebue, at: now})
			n := 0
			for _, a := range all {
				if now-a < time.Second {
					n++
				}
			}
			most = max(most, n)
			if n > limit {
				over++
			}
			v := w.arrive(now, time.Unix(0, int64(now)))
			if v.remaining < 0 || v.over && n <= limit {
				t.Fatalf("refused although only %d came", n)
			}
		}
		if w.violations[slidingWindow] != over || l.MaxInWindow(CloudRebue, time.Second) != most {
			t.Fatalf("violations %d, want %d; most %d, want %d", w.violations[slidingWindow], over, l.MaxInWindow(CloudRebue, time.Second), most)
		}
	})
}

func TestIDs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seed, n := rapid.Uint64().Draw(t, "seed"), rapid.Uint64Max(1<<48-1).Draw(t, "n")
		id := uuid("kind", seed, n)
		if got, ok := number("kind", seed, id); !ok || got != n {
			t.Fatalf("%s gives %d, want %d", id, got, n)
		}
		if _, ok := number("other", seed, id); ok {
			t.Fatalf("%s is taken for another kind", id)
		}
	})
}

func TestShelf(t *testing.T) {
	t.Parallel()
	var s shelf
	for i := range 50 {
		s.add(&batch{parts: i % 3, recipients: make([]recipient, i%4)})
	}
	for _, b := range s.all() {
		if got, ok := s.batch(b.index); !ok || got != b {
			t.Fatalf("batch %d not found", b.index)
		}
		for i := range b.recipients {
			for p := range max(b.parts, 1) {
				if m, ok := s.find((message{b, i}).n() + uint64(p)); !ok || m.b != b || m.i != i {
					t.Fatalf("message %d of batch %d not found", i, b.index)
				}
			}
		}
	}
	if _, ok := s.find(s.next); ok {
		t.Error("found what is not there")
	}
}

// The ledger's final texts, for each API's way of variables.
func TestFinalTexts(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	for _, q := range []request{
		{typ: SMSBox, path: "/send_sms", body: `{"source_addr":"INFO","encoding":"0","message":"Hello [{RECEIVERNAME}], [{RECEIVERNAME}]","recipients":[{"recipient_name":"Alex","dest_addr":"+22687161524"}]}`},
		bulkSend(`{"recipients":[{"to":"+447700900001","variables":{"name":"Alice"}}],"from":"A","body":"Hi {{name}}","client_ref":"b-1"}`),
		bulkSend(`{"recipients":[{"to":"+447700900002"}],"from":"A","body":"Hi {{name}}"}`),
		{typ: SMSScheduler, path: "/sms", body: `{"message_text":"Hi","message_stop":true,"delivery_date":"2020-12-25 12:45:59","sender_id":123,"phone_numbers":"0404-040-404"}`},
	} {
		if w := q.do(s); w.Code != 200 {
			t.Fatalf("%s", w.Body)
		}
	}
	var got []string
	for r := range s.Ledger().Taken("") {
		got = append(got, r.From+" "+r.To+" "+r.Text+" "+r.Ref)
	}
	want := []string{"INFO +22687161524 Hello Alex, Alex ", "A +447700900001 Hi Alice b-1", "A +447700900002 Hi {{name}} ", "123 +33404040404 Hi\nSTOP "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLedgerLinesAndSummary(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := serve(t, Options{Ledger: &out})
	q := cloudSend("254712345678", `,"correlator":"m-1","endpoint":"http://127.0.0.1:1/x"`)
	for range 2 {
		mustSend(t, s, q)
	}
	mustSend(t, s, one(s.Simulator, SMSBox))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	_, got := s.control(t, "GET", "/_sim/ledger", "")
	if diff := cmp.Diff(lines, strings.Split(strings.TrimSpace(got), "\n")); diff != "" || len(lines) != 3 {
		t.Fatalf("lines: %s", diff)
	}
	var e Entry
	if err := json.Unmarshal([]byte(lines[0]), &e); err != nil {
		t.Fatal(err)
	}
	want := Recipient{To: "+254712345678", From: "ACME", Text: "Hello", Ref: "m-1", Callback: "http://127.0.0.1:1/x", ID: e.Recipients[0].ID}
	if diff := cmp.Diff([]Recipient{want}, e.Recipients); diff != "" || !e.Accepted || !e.Whole || e.Status != 200 || e.Size != 1 || e.MonoNS <= 0 || len(want.ID) != 36 {
		t.Errorf("entry %+v %s", e, diff)
	}
	if n := s.Ledger().CountByNumber(CloudRebue)["+254712345678"]; n != 2 {
		t.Errorf("counted %d", n)
	}
	_, got = s.control(t, "GET", "/_sim/summary?type=cloudrebue", "")
	var sum Summary
	if err := json.Unmarshal([]byte(got), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Requests != 2 || sum.AcceptedMessages != 2 || sum.Distinct != 1 || sum.Duplicates != 1 || sum.BatchSizes["1"] != 2 || sum.Statuses["200"] != 2 {
		t.Errorf("summary %+v", sum)
	}
	if status, _ := s.control(t, "GET", "/_sim/summary?type=x", ""); status != 400 {
		t.Errorf("%d", status)
	}
	if status, _ := s.control(t, "POST", "/_sim/reset", ""); status != 204 || s.Ledger().Requests("") != 0 {
		t.Errorf("reset: %d", status)
	}
}

// Scheduler statuses move with the clock; deleting works until it was sent.
func TestSchedulerStatuses(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := New(Options{Now: c.Now, ReportDelay: 10 * time.Second})
	body := `{"message_text":"Hi","delivery_date":"2026-11-20 12:01:00","sender_id":1,"phone_numbers":["+33612345678","+33619990002","+33619990003","+33619990006","+33619990008"]}`
	id := number64(at(parse(t, request{typ: SMSScheduler, path: "/sms", body: body}.do(s).Body.String()), "message_id"))
	statuses := func() (out []any) {
		for _, l := range parse(t, request{typ: SMSScheduler, method: "GET", path: "/message/" + id}.do(s).Body.String()).([]any) {
			out = append(out, at(l, "status"))
		}
		return out
	}
	steps := []struct {
		wait time.Duration
		want []any
	}{
		{0, []any{10.0, 10.0, 10.0, 26.0, 10.0}},
		{61 * time.Second, []any{11.0, 11.0, 11.0, 26.0, 11.0}},
		{20 * time.Second, []any{13.0, 38.0, 12.0, 26.0, 32.0}},
	}
	for i, step := range steps {
		c.add(step.wait)
		if diff := cmp.Diff(step.want, statuses()); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
	one := request{typ: SMSScheduler, path: "/sms", body: strings.ReplaceAll(body, "12:01:00", "12:03:00")}.do(s)
	other := number64(at(parse(t, one.Body.String()), "message_id"))
	del := request{typ: SMSScheduler, method: "DELETE", path: "/message/" + other}
	if w := del.do(s); at(parse(t, w.Body.String()), "success") != 5.0 {
		t.Errorf("delete: %s", w.Body)
	}
	if w := (request{typ: SMSScheduler, method: "GET", path: "/message/" + other}).do(s); w.Code != 404 {
		t.Errorf("deleted message: %d", w.Code)
	}
	del.path = "/message/" + id
	if w := del.do(s); at(parse(t, w.Body.String()), "success") != 0.0 {
		t.Errorf("delete what was sent: %s", w.Body)
	}
}

func TestMessageLog(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := New(Options{Now: c.Now, ReportDelay: time.Second, Rates: map[string]int{BulkSMSRates: 0}})
	get := func(path string) any {
		t.Helper()
		w := request{typ: BulkSMSRates, method: "GET", path: path}.do(s)
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return parse(t, w.Body.String())
	}
	w := bulkSend(`{"recipients":[` + recipients(25, `{"to":"+4477009%05d"}`) + `,{"to":"+447799990002"}],"from":"A","body":"x","client_ref":"b-1"}`).do(s)
	batchID := at(parse(t, w.Body.String()), "data", "batch_id").(string)
	var seen []string
	cursor := ""
	for range 3 {
		page := get("/reports/messages?page_size=10" + cursor)
		for _, m := range at(page, "data").([]any) {
			seen = append(seen, at(m, "message_id").(string))
		}
		if at(page, "pagination", "total") != 26.0 {
			t.Errorf("total %v", at(page, "pagination"))
		}
		if at(page, "pagination", "has_more") == true {
			cursor = "&cursor=" + at(page, "pagination", "cursor").(string)
		}
	}
	slices.Sort(seen)
	if n, unique := len(seen), len(slices.Compact(seen)); n != 26 || unique != 26 {
		t.Errorf("%d messages seen in pages, %d of them different, want 26", n, unique)
	}
	if st := at(get("/sms/"+seen[0]), "data", "status"); st != "queued" {
		t.Errorf("status %v", st)
	}
	if st := at(get("/campaigns/"+batchID), "data", "status"); st != "sending" {
		t.Errorf("campaign %v", st)
	}
	one := "/reports/messages?destination=%2B447799990002"
	before := at(get(one), "data", 0, "status")
	c.add(5 * time.Second)
	if cached := at(get(one), "data", 0, "status"); cached != before {
		t.Errorf("the log is cached for 10 s, but went from %v to %v", before, cached)
	}
	c.add(5 * time.Second)
	if st := at(get(one), "data", 0, "status"); st != "failed" {
		t.Errorf("status %v", st)
	}
	camp := at(get("/campaigns/"+batchID), "data")
	if at(camp, "status") != "completed" || at(camp, "delivered") != 25.0 || at(camp, "failed") != 1.0 {
		t.Errorf("campaign %v", camp)
	}
	if st := at(get("/reports/dlr-stats"), "data", "delivered"); st != 25.0 {
		t.Errorf("stats %v", st)
	}
}

// A hundred thousand personal messages stay within 300 bytes each.
func TestMemory(t *testing.T) {
	s := New(Options{Rates: map[string]int{BulkSMSRates: 0}})
	const batches, size = 20, 5000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range batches {
		body := `{"recipients":[` + recipients(size, `{"to":"+4477`+fmt.Sprintf("%03d", i)+`%05d","variables":{"n":"%[1]d"}}`) + `],"from":"A","body":"Hi {{n}}, your order is ready!"}`
		if w := bulkSend(body).do(s); w.Code != 200 {
			t.Fatal(w.Body)
		}
	}
	if per := (heap() - before) / (batches * size); per > 300 {
		t.Errorf("%d bytes a message", per)
	} else {
		t.Logf("%d bytes a message", per)
	}
	if sum := s.Ledger().Summary(BulkSMSRates); sum.Distinct != batches*size {
		t.Errorf("distinct %d", sum.Distinct)
	}
}
