package status_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
