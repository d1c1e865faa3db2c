package journal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A server takes 1 MiB unless told otherwise. An event of a thousand messages
// whose tenant likes long references full of what JSON escapes is larger: it must
// not stop what is told after it.
func TestEventsFitTheServer(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(t.Context(), embedded.Options{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), MaxPayload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	b := natstest.Connect(t, s, []string{"acme"}, nil)
	e := envelope.Event{ID: "event", Time: time.Now().UTC(), Tenant: "acme", Status: envelope.Undelivered, Provider: "gw"}
	for i := range envelope.MaxEventMessages {
		e.Messages = append(e.Messages, envelope.EventMessage{
			ID: envelope.MessageID("01M7WHGBGJDW7VQWX646HWV2QV", i), EnvelopeID: "01M7WHGBGJDW7VQWX646HWV2QV", To: fmt.Sprintf("+2547%08d", i),
			Ref: strings.Repeat("<", 128), Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			ProviderMessageID: "550e8400-e29b-41d4-a716-446655440000", Segments: 1, Attempts: 1,
			Error: &envelope.EventError{Code: "undelivered", ProviderCode: "message.failed", Detail: "Absent subscriber"},
		})
	}
	for range 2 { // whoever tells it again tells the same
		if err := journal.Tell(t.Context(), b, []envelope.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	got := map[string]int{}
	_ = b.Tail(ctx, bus.Tail{Stream: bus.EventStream}, func(m *bus.Msg) {
		var e envelope.Event
		if err := json.Unmarshal(m.Data, &e); err != nil || e.ID != m.Get("Nats-Msg-Id") {
			t.Errorf("%q, %v", e.ID, err)
		}
		for i := range e.Messages {
			got[e.Messages[i].ID]++
		}
	}, stop)
	if len(got) != len(e.Messages) {
		t.Errorf("%d messages told of %d", len(got), len(e.Messages))
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s told %d times", id, n)
		}
	}
}

func TestMembersAreReadBackFromTheQueue(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	put := func(p envelope.Piece) uint64 {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		ack, err := b.Publish(t.Context(), bus.Out{Subject: bus.QueueSubject("a", "bulk", "acme"), Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return ack.Seq
	}
	epoch, err := b.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	many := envelope.Piece{ID: "many", Tenant: "acme", Ref: "r", Traceparent: "tp", Origin: &envelope.Origin{Stream: "SMS_SUBMIT_acme", Epoch: 5, Seq: 77}}
	for i := range 5 {
		many.Messages = append(many.Messages, envelope.Message{Index: 10 + i, To: fmt.Sprintf("+1%d", i)})
	}
	at := put(many)
	for i := range 3 {
		put(envelope.Piece{ID: fmt.Sprintf("one%d", i), Tenant: "acme", Messages: []envelope.Message{{To: fmt.Sprintf("+2%d", i)}}})
	}
	r := idempotency.Record{Account: "a", Spans: []idempotency.Span{
		{Stream: "SMS_SUBMIT_acme", Epoch: 5, Seq: 77, First: 12, End: 14, At: at},
		{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: at + 1, Run: 3},
		{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 900},
		{Stream: "SMS_SUBMIT_acme", Epoch: 4, Seq: 77, First: 12, At: at},     // of a stream that was there before
		{Stream: "SMS_SUBMIT_acme", Epoch: 5, Seq: 78, First: 12, At: at},     // of another submission
		{Stream: bus.QueueStream("a"), Epoch: epoch - 1, Seq: at + 1, Run: 2}, // of the queue before this one
	}}
	members, err := journal.Members(t.Context(), b, &r)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range members {
		got = append(got, fmt.Sprintf("%s %s %v", m.ID, m.To, m.Found))
	}
	want := []string{"many-12 +12 true", "many-13 +13 true", "one0-0 +20 true", "one1-0 +21 true", "one2-0 +22 true", "  false", "  false", "  false", "  false", "  false"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEventsAreTheSameEachTimeTheyAreTold(t *testing.T) {
	t.Parallel()
	var members []journal.Member
	for i := range 2500 {
		tenant := "acme"
		if i%5 == 0 {
			tenant = "other"
		}
		members = append(members, journal.Member{EventMessage: envelope.EventMessage{ID: fmt.Sprintf("e-%d", i)}, Tenant: tenant, Found: i != 3})
	}
	d := &journal.OutcomeDetail{
		Default: journal.MessageResult{Status: envelope.Submitted, ProviderID: "p"},
		Each:    map[uint32]journal.MessageResult{7: {Status: envelope.Failed, Code: "rejected"}, 8: {}},
	}
	first, again := journal.Events("a", 9, members, d), journal.Events("a", 9, members, d)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Fatal(diff)
	}
	seen, n := map[string]bool{}, 0
	for _, e := range first {
		if seen[e.ID] || len(e.Messages) > envelope.MaxEventMessages || len(e.Messages) == 0 {
			t.Errorf("event %s with %d messages", e.ID, len(e.Messages))
		}
		seen[e.ID] = true
		n += len(e.Messages)
	}
	if n != 2498 {
		t.Errorf("%d messages told of, want all but the one not found and the one freed", n)
	}
	if other := journal.Events("a", 10, members, d); other[0].ID == first[0].ID {
		t.Error("another outcome has the same event id")
	}
}

// A thousand messages of one price tell it once, and each gets it.
func TestBillsAreToldOnce(t *testing.T) {
	t.Parallel()
	d := &journal.OutcomeDetail{Each: map[uint32]journal.MessageResult{}}
	var members []journal.Member
	for i := range 1000 {
		bill := journal.Bill{Cost: "75 RWF"}
		switch i {
		case 7:
			bill = journal.Bill{}
		case 8:
			bill = journal.Bill{Segments: 2, Cost: "150 RWF", Operator: "mtn"}
		}
		members = append(members, journal.Member{EventMessage: envelope.EventMessage{ID: fmt.Sprintf("e-%d", i), Segments: 1}, Tenant: "acme", Found: true})
		d.Each[uint32(i)] = journal.MessageResult{Status: envelope.Submitted, Bill: d.AddBill(bill)}
	}
	if len(d.Bills) != 2 {
		t.Errorf("%d bills, want each once", len(d.Bills))
	}
	e := journal.Events("a", 9, members, d)[0]
	for i, want := range map[int]string{0: "1 75 RWF ", 7: "1  ", 8: "2 150 RWF mtn", 999: "1 75 RWF "} {
		m := e.Messages[i]
		if got := fmt.Sprintf("%d %s %s", m.Segments, m.Cost, m.Operator); got != want {
			t.Errorf("message %d: %q, want %q", i, got, want)
		}
	}
	if got := d.Bill(journal.MessageResult{Bill: 3}); got != (journal.Bill{}) {
		t.Errorf("a place that is none: %+v", got)
	}
}
