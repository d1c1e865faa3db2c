package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

func soon(o *ingest.Options) { o.TellAfter = 200 * time.Millisecond }

// scheduled accepts a submission to be sent later, and waits until it is known.
func (r *rig) scheduled(rest string) (a ingest.Answer, spans []idempotency.Span) {
	r.t.Helper()
	a = r.accepted(`{"recipients":[{"to":"+12025550121"},{"to":"+12025550122"},{"to":"+12025550123"}],"from":"ACME","text":"x",` + rest +
		`"send_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}`)
	r.eventually("known", func() bool {
		e, ok := r.status.Envelope("acme", a.ID)
		return ok && e.Counts[envelope.Scheduled] == 3
	})
	o, _, _ := r.status.Origin("acme", a.ID)
	return a, []idempotency.Span{{Stream: o.Stream, Epoch: o.Epoch, Seq: o.Seq, End: 3}}
}

func (r *rig) toldOnce(id string, events []envelope.Event, detail string, indices ...int) {
	r.t.Helper()
	want := map[string]bool{}
	for _, i := range indices {
		want[envelope.MessageID(id, i)] = true
	}
	for _, e := range events {
		for _, m := range e.Messages {
			if !want[m.ID] || e.Detail != detail {
				r.t.Errorf("told %s, detail %q", m.ID, e.Detail)
			}
			delete(want, m.ID)
		}
	}
	if len(want) > 0 {
		r.t.Errorf("not told: %v", want)
	}
}

// The process that cancelled died before it told.
func TestCancelOfADeadProcessIsTold(t *testing.T) {
	t.Parallel()
	r := start(t, soon)
	a, spans := r.scheduled("")
	if _, _, err := r.journal.Append(t.Context(), idempotency.Record{Kind: idempotency.Intent, Account: "world", Spans: []idempotency.Span{{Stream: spans[0].Stream, Epoch: spans[0].Epoch, Seq: spans[0].Seq, First: 1}}}); err != nil {
		t.Fatal(err)
	}
	if _, e, err := r.journal.Append(t.Context(), idempotency.Record{Kind: idempotency.Close, Owes: true, Reason: "canceled", Tenant: "acme", ID: a.ID, Spans: spans}); err != nil || e.Acted != 2 {
		t.Fatalf("effect %+v, %v", e, err)
	}
	r.toldOnce(a.ID, r.events("acme", envelope.Canceled, 2), "", 0, 2)
}

// So did the one that refused what no account carries any more.
func TestRefusalOfADeadProcessIsTold(t *testing.T) {
	t.Parallel()
	r := start(t, soon)
	a, spans := r.scheduled("")
	spans[0].First, spans[0].End = 1, 2
	if _, _, err := r.journal.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Close, Owes: true, Reason: "refused", Tenant: "acme", ID: a.ID, Spans: spans, Detail: json.RawMessage(`{"1":{"code":"no_route"}}`),
	}); err != nil {
		t.Fatal(err)
	}
	events := r.events("acme", envelope.Rejected, 1)
	r.toldOnce(a.ID, events, "", 1)
	if e := events[0].Messages[0].Error; e == nil || e.Code != "no_route" {
		t.Errorf("error %+v", e)
	}
}

// And the one whose submission superseded another.
func TestSupersededByADeadProcessIsTold(t *testing.T) {
	t.Parallel()
	r := start(t, soon)
	a, _ := r.scheduled(`"supersede_key":"k",`)
	var rec idempotency.Record
	r.eventually("the record", func() bool {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		_ = r.bus.Tail(ctx, bus.Tail{Stream: bus.JournalStream}, func(m *bus.Msg) { _ = json.Unmarshal(m.Data, &rec) }, stop)
		return rec.Kind == idempotency.Supersede
	})
	rec.ID, rec.At, rec.Owes = "NEWER", rec.At+1, true
	rec.Spans[0].Seq += 1000
	if _, e, err := r.journal.Append(t.Context(), rec); err != nil || e.SupersededID != a.ID {
		t.Fatalf("effect %+v, %v", e, err)
	}
	r.toldOnce(a.ID, r.events("acme", envelope.Canceled, 3), "superseded", 0, 1, 2)
}

// What was told in time is not told again.
func TestWhatWasToldIsNotOwed(t *testing.T) {
	t.Parallel()
	r := start(t, soon)
	a, _ := r.scheduled("")
	if c := r.cancel("/v1/envelopes/" + a.ID); c.Canceled != 3 {
		t.Fatalf("%+v", c)
	}
	b, spans := r.scheduled("")
	if _, _, err := r.journal.Append(t.Context(), idempotency.Record{Kind: idempotency.Close, Owes: true, Reason: "canceled", Tenant: "acme", ID: b.ID, Spans: spans}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the second told", func() bool {
		e, _ := r.status.Envelope("acme", b.ID)
		return e.Counts[envelope.Canceled] == 3
	})
	if events := r.events("acme", envelope.Canceled, 6); len(events) != 2 {
		t.Errorf("%d events: %s", len(events), fmt.Sprint(events))
	}
}
