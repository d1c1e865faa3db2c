package status_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

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
