package status_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

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
