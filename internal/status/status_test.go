package status_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

var start = time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func at(d time.Duration) time.Time { return start.Add(d) }

func piece(id string, indices ...int) *envelope.Piece {
	p := &envelope.Piece{
		ID: id, Tenant: "acme", Account: "cloudrebue-ke", AcceptedAt: start, ExpiresAt: at(48 * time.Hour), Traceparent: trace, Ref: "r",
	}
	for _, i := range indices {
		p.Messages = append(p.Messages, envelope.Message{Index: i, To: fmt.Sprintf("+2547%08d", i), Segments: 1})
	}
	return p
}

func origin(seq uint64) envelope.Origin {
	return envelope.Origin{Stream: "SMS_SUBMIT_acme", Epoch: 7, Seq: seq}
}

func event(s envelope.Status, when time.Duration, ids ...string) *envelope.Event {
	e := &envelope.Event{ID: fmt.Sprint(s, when), Time: at(when), Tenant: "acme", Status: s, Provider: "cloudrebue-ke"}
	for _, id := range ids {
		env, i, _ := envelope.SplitMessageID(id)
		e.Messages = append(e.Messages, envelope.EventMessage{
			ID: id, EnvelopeID: env, To: fmt.Sprintf("+2547%08d", i), Traceparent: trace, ProviderMessageID: "p" + id, Attempts: 1,
		})
	}
	return e
}

func newStore() (*status.Store, *time.Time) {
	now := start
	return status.New(status.Options{Now: func() time.Time { return now }}), &now
}

func TestMessageIsTheContractsJSON(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	s.Register(piece("E", 0), origin(1))
	s.Apply(event(envelope.Submitted, time.Second, "E-0"))
	failed := event(envelope.Undelivered, 2*time.Second, "E-0")
	failed.Messages[0].Error = &envelope.EventError{Code: "undelivered", ProviderCode: "U", Detail: "absent"}
	s.Apply(failed)
	m, ok := s.Message("acme", "E-0")
	if !ok {
		t.Fatal("not found")
	}
	got, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "id": "E-0",
 "envelope_id": "E",
 "to": "+254700000000",
 "status": "undelivered",
 "provider": "cloudrebue-ke",
 "provider_message_id": "pE-0",
 "segments": 1,
 "attempts": 1,
 "error": {
  "code": "undelivered",
  "provider_code": "U",
  "detail": "absent"
 },
 "ref": "r",
 "history": [
  {
   "status": "accepted",
   "time": "2026-12-01T08:00:00Z",
   "provider": "",
   "detail": ""
  },
  {
   "status": "submitted",
   "time": "2026-12-01T08:00:01Z",
   "provider": "cloudrebue-ke",
   "detail": ""
  },
  {
   "status": "undelivered",
   "time": "2026-12-01T08:00:02Z",
   "provider": "cloudrebue-ke",
   "detail": "absent"
  }
 ],
 "waiting": null,
 "trace_id": "0af7651916cd43dd8448eb211c80319c"
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestAnotherTenantsIsNotFound(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	s.Register(piece("E", 0), origin(1))
	s.Apply(event(envelope.Submitted, time.Second, "E-0"))
	foreign := event(envelope.Delivered, time.Second, "E-0")
	foreign.Tenant = "mallory"
	s.Apply(foreign)
	if _, ok := s.Message("mallory", "E-0"); ok {
		t.Error("message found")
	}
	if _, ok := s.Envelope("mallory", "E"); ok {
		t.Error("envelope found")
	}
	if _, _, ok := s.Messages("mallory", "E", "", "", 0); ok {
		t.Error("messages found")
	}
	if _, _, ok := s.Origin("mallory", "E"); ok {
		t.Error("origin found")
	}
	if got, _ := s.Current("E-0"); got != envelope.Submitted {
		t.Errorf("another tenant's event made it %s", got)
	}
	for _, id := range []string{"", "E", "E-", "E-1", "E--1", "F-0", "E-00"} {
		if _, ok := s.Message("acme", id); ok {
			t.Errorf("message %q found", id)
		}
	}
}

func TestLateSubmittedFindsItsPlaceBelowTheReport(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	s.Register(piece("E", 0), origin(1))
	uncertain, report := event(envelope.Uncertain, time.Second, "E-0"), event(envelope.Delivered, 2*time.Second, "E-0")
	late := event(envelope.Submitted, 3*time.Second, "E-0")
	for _, e := range []*envelope.Event{uncertain, report, late, late, event(envelope.Undelivered, 4*time.Second, "E-0"), report} {
		s.Apply(e)
	}
	m, _ := s.Message("acme", "E-0")
	var got []envelope.Status
	for _, h := range m.History {
		got = append(got, h.Status)
	}
	want := []envelope.Status{envelope.Accepted, envelope.Uncertain, envelope.Submitted, envelope.Delivered}
	if diff := cmp.Diff(want, got); diff != "" || m.Status != envelope.Delivered {
		t.Errorf("%s: %s", m.Status, diff)
	}
}

// Whatever the order and however often events come, the status is that of the
// contract's order, and all orders agree where one event may follow another.
func TestStatusDoesNotDependOnRepetitionOrOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		statuses := []envelope.Status{
			envelope.Accepted, envelope.Scheduled, envelope.Uncertain, envelope.Submitted,
			rapid.SampledFrom([]envelope.Status{envelope.Undelivered, envelope.Failed, envelope.Expired, envelope.Canceled}).Draw(t, "final"),
			envelope.Delivered,
		}
		n := rapid.IntRange(1, len(statuses)).Draw(t, "events")
		var events []*envelope.Event
		for i := range n {
			e := event(statuses[i], time.Duration(i)*time.Second, "E-0")
			events = append(events, e, e)
		}
		shuffled := rapid.Permutation(events).Draw(t, "order")
		s, _ := newStore()
		if rapid.Bool().Draw(t, "piece first") {
			s.Register(piece("E", 0), origin(1))
		}
		for _, e := range shuffled {
			s.Apply(e)
		}
		s.Register(piece("E", 0), origin(1))
		m, _ := s.Message("acme", "E-0")
		if m.Status != statuses[n-1] {
			t.Fatalf("status %s, want %s", m.Status, statuses[n-1])
		}
		if got := m.History[len(m.History)-1].Status; got != m.Status {
			t.Fatalf("history ends with %s, status is %s", got, m.Status)
		}
		seen := map[envelope.Status]bool{}
		for _, h := range m.History {
			if seen[h.Status] {
				t.Fatalf("%s twice in the history", h.Status)
			}
			seen[h.Status] = true
		}
	})
}

// Messages of one event share what they have in common and nothing else.
func TestMessagesOfOneEventKeepTheirOwnErrors(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	s.Register(piece("E", 0, 1, 2, 3), origin(1))
	e := event(envelope.Undelivered, time.Second, "E-0", "E-1", "E-2", "E-3")
	for i, code := range []string{"A", "A", "B", ""} {
		if code != "" {
			e.Messages[i].Error = &envelope.EventError{Code: "undelivered", ProviderCode: code}
		}
	}
	s.Apply(e)
	for i, want := range []string{"A", "A", "B", ""} {
		m, _ := s.Message("acme", envelope.MessageID("E", i))
		got := ""
		if m.Error != nil {
			got = m.Error.ProviderCode
		}
		if got != want || m.ProviderMessageID != "p"+m.ID {
			t.Errorf("message %d: %q, %q", i, got, m.ProviderMessageID)
		}
	}
}

// What the provider's answer tells of price and parts stays, whatever comes
// later, and whichever is read first.
func TestPriceIsKept(t *testing.T) {
	t.Parallel()
	taken := event(envelope.Submitted, time.Second, "E-0", "E-1", "E-2")
	for i, cost := range []string{"75 RWF", "75 RWF", ""} {
		taken.Messages[i].Cost, taken.Messages[i].Segments = cost, 3
	}
	taken.Messages[1].Operator = "safaricom"
	remark := event(envelope.Submitted, 2*time.Second, "E-0", "E-1", "E-2")
	remark.Detail = envelope.Remark + "none"
	later := event(envelope.Delivered, 3*time.Second, "E-0", "E-1", "E-2")
	for i := range later.Messages {
		later.Messages[i].Segments = 1 // as counted
	}
	for _, pieceFirst := range []bool{true, false} {
		s, _ := newStore()
		if pieceFirst {
			s.Register(piece("E", 0, 1, 2), origin(1))
		}
		for _, e := range []*envelope.Event{taken, remark, later} {
			s.Apply(e)
		}
		if !pieceFirst {
			s.Register(piece("E", 0, 1, 2), origin(1))
		}
		for i, want := range []string{"3 75 RWF/", "3 75 RWF/safaricom", "3 /"} {
			m, _ := s.Message("acme", envelope.MessageID("E", i))
			if got := fmt.Sprintf("%d %s/%s", m.Segments, m.Cost, m.Operator); got != want || m.Status != envelope.Delivered {
				t.Errorf("message %d: %q, %s; want %q", i, got, m.Status, want)
			}
		}
	}
}

func TestLateNewsDoNotReplaceTheProvidersID(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	s.Apply(event(envelope.Delivered, 2*time.Second, "E-0"))
	late := event(envelope.Submitted, time.Second, "E-0")
	late.Messages[0].ProviderMessageID = "older"
	s.Apply(late)
	if m, _ := s.Message("acme", "E-0"); m.ProviderMessageID != "pE-0" || len(m.History) != 2 {
		t.Errorf("got %+v", m)
	}
}

func TestHistoriesAreBounded(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	s.Apply(event(envelope.Delivered, time.Hour, "E-0"))
	for i := range 1000 {
		s.Apply(event(envelope.Submitted, time.Duration(i), "E-0"))
	}
	if m, _ := s.Message("acme", "E-0"); len(m.History) > 100 {
		t.Errorf("%d steps", len(m.History))
	}
	for i := range 1000 {
		s.Apply(event(envelope.Uncertain, time.Duration(i), "F-0"))
	}
	s.Apply(event(envelope.Delivered, time.Hour, "F-0"))
	if m, _ := s.Message("acme", "F-0"); len(m.History) > 100 || m.Status != envelope.Delivered {
		t.Errorf("%s after %d steps", m.Status, len(m.History))
	}
}

func TestEnvelopeCountsAndPages(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	s.Register(piece("E", 7, 8, 9), origin(4)) // pieces come in any order
	s.Register(piece("E", 0, 1, 2), origin(4))
	s.Register(piece("E", 3, 4, 6), origin(4))
	s.Apply(event(envelope.Submitted, time.Second, "E-1", "E-2", "E-8", "E-5")) // 5: its piece is not read yet
	s.Register(piece("E", 5), origin(4))
	s.Apply(event(envelope.Delivered, 2*time.Second, "E-2"))
	e, ok := s.Envelope("acme", "E")
	want := map[envelope.Status]int{envelope.Accepted: 6, envelope.Submitted: 3, envelope.Delivered: 1}
	if diff := cmp.Diff(want, e.Counts); !ok || diff != "" || e.Messages != 10 {
		t.Errorf("%d messages: %s", e.Messages, diff)
	}
	var ids []string
	for cursor, pages := "", 0; ; pages++ {
		page, next, ok := s.Messages("acme", "E", envelope.Accepted, cursor, 2)
		if !ok || len(page) != 2 || pages == 3 {
			t.Fatalf("page %d: %v, %v", pages, page, ok)
		}
		ids = append(ids, page[0].ID, page[1].ID)
		if cursor = next; next == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"E-0", "E-3", "E-4", "E-6", "E-7", "E-9"}, ids); diff != "" {
		t.Error(diff)
	}
	if _, _, ok := s.Messages("acme", "E", "", "../x", 2); ok {
		t.Error("took a cursor that is none")
	}
	o, indices, ok := s.Origin("acme", "E")
	if !ok || o != origin(4) || !cmp.Equal(indices, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("origin %+v %v %v", o, indices, ok)
	}
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	later := at(time.Hour)
	p := piece("E", 0)
	p.SendAt = &later
	s.Register(p, envelope.Origin{})
	if m, _ := s.Message("acme", "E-0"); m.Waiting == nil || m.Waiting.Reason != "queue" {
		t.Errorf("waiting = %+v", m.Waiting)
	}
	if _, _, ok := s.Origin("acme", "E"); ok {
		t.Error("an origin out of nothing")
	}
	s.Apply(event(envelope.Scheduled, 0, "E-0"))
	if m, _ := s.Message("acme", "E-0"); m.Waiting == nil || m.Waiting.Reason != "schedule" || !m.Waiting.Until.Equal(later) {
		t.Errorf("waiting = %+v", m.Waiting)
	}
	s.Apply(event(envelope.Submitted, 2*time.Hour, "E-0"))
	if m, _ := s.Message("acme", "E-0"); m.Waiting != nil {
		t.Errorf("waiting = %+v", m.Waiting)
	}
}

func TestForgottenAfterTheLastChange(t *testing.T) {
	t.Parallel()
	s, now := newStore()
	s.Register(piece("E", 0, 1), origin(1))
	s.Register(piece("F", 0), origin(2))
	s.Apply(event(envelope.Submitted, 60*time.Hour, "E-1"))
	*now = at(100 * time.Hour)
	if _, ok := s.Envelope("acme", "F"); ok {
		t.Error("F is still there")
	}
	if _, ok := s.Message("acme", "E-0"); !ok {
		t.Error("E is gone though one of its messages changed")
	}
	*now = at(140 * time.Hour)
	if _, ok := s.Message("acme", "E-0"); ok {
		t.Error("E is still there")
	}
}

func TestUnreportedIsToldOnce(t *testing.T) {
	t.Parallel()
	s, now := newStore()
	s.Register(piece("E", 0, 1, 2, 3), origin(1))
	s.Apply(event(envelope.Submitted, time.Second, "E-0", "E-1", "E-2"))
	s.Apply(event(envelope.Delivered, time.Minute, "E-1"))
	*now = at(72 * time.Hour)
	name := func(first string) string { return "none " + first }
	if got := s.Unreported(72*time.Hour, 10, name); len(got) != 0 {
		t.Fatalf("too early: %+v", got)
	}
	*now = at(72*time.Hour + time.Minute)
	got := s.Unreported(72*time.Hour, 10, name)
	if len(got) != 1 || len(got[0].Messages) != 2 || got[0].Detail != status.NoReport || got[0].ID != "none E-0" || got[0].Tenant != "acme" {
		t.Fatalf("got %+v", got)
	}
	s.Apply(&got[0])
	m, _ := s.Message("acme", "E-2")
	if m.Status != envelope.Submitted || m.History[len(m.History)-1].Detail != status.NoReport {
		t.Errorf("got %+v", m)
	}
	if got := s.Unreported(72*time.Hour, 10, name); len(got) != 0 {
		t.Errorf("told again: %+v", got)
	}
	s.Apply(event(envelope.Delivered, 73*time.Hour, "E-2")) // a later report still counts
	if got, _ := s.Current("E-2"); got != envelope.Delivered {
		t.Errorf("got %s", got)
	}
}

// TestRemarksChangeNothing: a word that no table knows is a detail of the status
// that the message has, its error included, final or not, and is kept once.
func TestRemarksChangeNothing(t *testing.T) {
	t.Parallel()
	s, now := newStore()
	s.Register(piece("E", 0), origin(1))
	remark := func(st envelope.Status, when time.Duration, word string) *envelope.Event {
		e := event(st, when, "E-0")
		e.Detail = envelope.Remark + word
		return e
	}
	uncertain := event(envelope.Uncertain, time.Second, "E-0")
	uncertain.Messages[0].Error = &envelope.EventError{Code: "uncertain", ProviderCode: "502"}
	s.Apply(uncertain)
	s.Apply(remark(envelope.Uncertain, 2*time.Second, "BUFFERED"))
	if m, _ := s.Message("acme", "E-0"); m.Status != envelope.Uncertain || m.Error == nil || m.Error.ProviderCode != "502" {
		t.Errorf("%+v", m)
	}
	s.Apply(event(envelope.Submitted, 3*time.Second, "E-0"))
	s.Apply(remark(envelope.Submitted, 4*time.Second, "ENROUTE"))
	s.Apply(remark(envelope.Submitted, 5*time.Second, "ENROUTE"))
	*now = at(80 * time.Hour)
	if got := s.Unreported(72*time.Hour, 10, func(string) string { return "x" }); len(got) != 0 {
		t.Errorf("there was a report: %+v", got)
	}
	*now = at(time.Minute)
	s.Apply(event(envelope.Delivered, 6*time.Second, "E-0"))
	s.Apply(remark(envelope.Delivered, 7*time.Second, "ARCHIVED"))
	s.Apply(remark(envelope.Submitted, 4500*time.Millisecond, "LATE"))
	m, _ := s.Message("acme", "E-0")
	var got []string
	for _, h := range m.History {
		got = append(got, string(h.Status)+" "+h.Detail)
	}
	want := []string{"accepted ", "uncertain 502", "uncertain report: BUFFERED", "submitted ", "submitted report: ENROUTE",
		"submitted report: LATE", "delivered ", "delivered report: ARCHIVED"}
	if d := cmp.Diff(want, got); d != "" || m.Status != envelope.Delivered || m.Error != nil {
		t.Errorf("%s\n%+v", d, m)
	}
}

// A million envelopes of one recipient, each submitted and delivered, must fit
// into 260 MB, and 10,000 recipients of one envelope must cost less each.
func TestMemoryPerMessage(t *testing.T) {
	if testing.Short() {
		t.Skip("allocates 100,000 envelopes")
	}
	const n = 100_000
	s, _ := newStore()
	single := measure(n, func() {
		for i := range n {
			id := ulid(i)
			p := piece(id, 0)
			p.Ref = ""
			s.Register(p, origin(uint64(i+1)))
			m := envelope.MessageID(id, 0)
			s.Apply(event(envelope.Submitted, time.Second, m))
			s.Apply(event(envelope.Delivered, 2*time.Second, m))
		}
	})
	many := measure(n, func() {
		for e := range 10 {
			id := ulid(n + e)
			for i := 0; i < 10_000; i += 100 {
				var indices []int
				var ids []string
				for j := range 100 {
					indices, ids = append(indices, i+j), append(ids, envelope.MessageID(id, i+j))
				}
				s.Register(piece(id, indices...), origin(uint64(n+e)))
				s.Apply(event(envelope.Submitted, time.Second, ids...))
				for _, m := range ids {
					s.Apply(event(envelope.Delivered, time.Duration(i)*time.Second, m))
				}
			}
		}
	})
	runtime.KeepAlive(s)
	t.Logf("bytes per message: %d alone, %d among 10,000", single, many)
	if single > 260 || many > 130 {
		t.Errorf("too much: %d alone, %d among 10,000", single, many)
	}
}

func measure(n int, fn func()) int {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	fn()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int(after.HeapAlloc-before.HeapAlloc) / n
}

func ulid(i int) string { return fmt.Sprintf("01J%023d", i) }

func BenchmarkApply(b *testing.B) {
	s, _ := newStore()
	var events []*envelope.Event
	for e := range 100 {
		var ids []string
		for i := range 1000 {
			ids = append(ids, envelope.MessageID(ulid(e), i))
		}
		events = append(events, event(envelope.Submitted, time.Second, ids...))
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Apply(events[rand.IntN(len(events))])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/message")
}

// An id is found by its own spelling only, whether it is a ULID or not.
func TestIDsAreSpelledOneWay(t *testing.T) {
	t.Parallel()
	s, _ := newStore()
	for i, id := range []string{"01J8ZQ6V3N0000000000000ABC", "81J8ZQ6V3N0000000000000ABC", "01j8zq6v3n0000000000000abd", "short"} {
		s.Register(piece(id, 0), origin(uint64(i+1)))
		if m, ok := s.Message("acme", id+"-0"); !ok || m.EnvelopeID != id {
			t.Errorf("%s: %+v", id, m)
		}
	}
	for _, id := range []string{"01j8zq6v3n0000000000000abc", "01J8ZQ6V3N0000000000000ABD", "01J8ZQ6V3N0000000000000AB", "SHORT"} {
		if _, ok := s.Envelope("acme", id); ok {
			t.Errorf("%s is known", id)
		}
	}
}
