package dlr_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestReportOnNothingWaitsForItsMessage(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{}})
	if got := w.report("/dlr/"+account+"/"+secret, delivered(providers.Report{ProviderID: "later"})); got != 200 {
		t.Fatalf("answered %d", got)
	}
	w.until(func() bool { return w.counts.of(dlr.Parked) == 1 })
	in := w.intend(w.queue("E", number(1)))
	w.outcome(in, 1, idempotency.Closed, submitted("later"))
	w.wantTold("submitted E-0", "delivered E-0")
}

// Others may send with the same account: their reports match nothing, for three days
// each, and must not take the room of those whose message is about to come.
func TestReportsOnNothingLeaveRoomForTheOthers(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{}, stale: 2})
	stream, err := natstest.ByHand(t, w.server).Stream(t.Context(), bus.CallbackStream)
	if err != nil {
		t.Fatal(err)
	}
	var parked jetstream.Consumer
	w.until(func() bool { // the collector makes it once it has begun
		parked, err = stream.Consumer(t.Context(), "unmatched-"+account)
		return err == nil
	})
	const room = 3
	spec := parked.CachedInfo().Config
	spec.MaxAckPending = room
	if _, err := stream.UpdateConsumer(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	for i := range room {
		w.report("/dlr/"+account+"/"+secret, delivered(providers.Report{ProviderID: fmt.Sprint("foreign ", i)}))
	}
	w.until(func() bool { return w.counts.of(dlr.Parked) == room })
	w.report("/dlr/"+account+"/"+secret, delivered(providers.Report{ProviderID: "later"}))
	w.until(func() bool { return w.counts.of(dlr.Parked) == room+1 })
	in := w.intend(w.queue("E", number(1)))
	w.outcome(in, 1, idempotency.Closed, submitted("later"))
	w.wantTold("submitted E-0", "delivered E-0")
}

func TestBatchReferenceThatTheGatewayEchoes(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{signs: true}})
	a, b := w.intend(w.queue("A", number(1))), w.intend(w.queue("B", number(1)))
	w.outcome(a, 1, idempotency.Closed, submitted("x"))
	w.outcome(b, 1, idempotency.Closed, submitted("y"))
	body := `[{"BatchID":"` + journal.BatchID(w.journal.Epoch(), b) + `","To":"` + number(1) + `","Status":2}]`
	header := http.Header{"X-Webhook-Signature": {"good"}, "X-Webhook-Id": {"wh1"}}
	if got, _ := w.send("POST", "/dlr/"+account, body, header); got != 200 {
		t.Fatalf("answered %d", got)
	}
	w.wantTold("submitted A-0", "submitted B-0", "delivered B-0")
	// Each webhook id once, whatever comes under it.
	if got, _ := w.send("POST", "/dlr/"+account, `[{"To":"x"}]`, header); got != 200 || w.counts.of(dlr.Repeated) != 1 {
		t.Errorf("answered %d, counted %v", got, w.counts.classes)
	}
}

func TestReportWithNothingButANumber(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{}})
	path := "/dlr/" + account + "/" + secret
	old := w.intend(w.queue("OLD", number(1), number(2)))
	w.outcome(old, 2, idempotency.Closed, submitted("x"))
	w.report(path, delivered(providers.Report{To: number(1), ProviderID: "unheard of"}))
	w.wantTold("submitted OLD-0", "submitted OLD-1", "delivered OLD-0")

	// The only one that waits for a report gets the next one.
	next := w.intend(w.queue("NEW", number(1), number(2)))
	w.outcome(next, 2, idempotency.Closed, submitted("y"))
	w.report(path, undelivered(providers.Report{To: number(1)}))
	w.until(func() bool { return slices.Contains(w.told(), "undelivered NEW-0") })

	// Where two wait, neither gets it.
	w.report(path, undelivered(providers.Report{To: number(2)}))
	w.until(func() bool { return w.counts.of(dlr.Parked) == 1 })
	if told := w.told(); slices.Contains(told, "undelivered OLD-1") || slices.Contains(told, "undelivered NEW-1") {
		t.Errorf("told %v", told)
	}
}

// A message that was sent again is one message, in two batches.
func TestNumberOfAMessageInTwoBatches(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{}})
	span := w.queue("E", number(1))
	first := w.intend(span)
	w.outcome(first, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
	w.append(idempotency.Record{Kind: idempotency.Release, Intent: first, Spans: []idempotency.Span{span}})
	second := w.intend(span)
	w.outcome(second, 1, idempotency.Closed, submitted("x"))
	w.report("/dlr/"+account+"/"+secret, delivered(providers.Report{To: number(1)}))
	w.wantTold("uncertain E-0", "submitted E-0", "delivered E-0")
}

func TestReportOnAnothersNumberIsKeptAndCounted(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1), number(2)))
	other := w.intend(w.queue("F", number(9)))
	w.outcome(in, 2, idempotency.Closed, submitted("b"))
	w.outcome(other, 1, idempotency.Closed, submitted("c"))
	for _, r := range []providers.Report{{To: number(9)}, {MessageID: "F-0"}, {MessageID: "E-0", To: number(2)}, {ProviderID: "b"}} {
		if got := w.report(w.path(in), delivered(r)); got != 200 {
			t.Errorf("answered %d", got)
		}
	}
	w.until(func() bool { return w.counts.of(dlr.Quarantined) == 4 })
	if told := w.told(); len(told) != 3 {
		t.Errorf("told %v", told)
	}
	if n := w.stored(bus.CallbackStream); n != 4 {
		t.Errorf("%d callbacks kept", n)
	}
}

func TestReportsStoredWhileNobodyMatches(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}, before: func(w *world) {
		in := w.intend(w.queue("E", number(1)))
		w.outcome(in, 1, idempotency.Closed, submitted("b"))
		data := `{"time":"2026-12-01T08:00:00Z","method":"POST","batch":"` + journal.BatchID(w.journal.Epoch(), in) + `","body":"W3siVG8iOiIrMjU0NzAwMDAwMDAxIiwiU3RhdHVzIjoyfV0="}`
		if _, err := w.bus.Publish(context.Background(), bus.Out{Subject: bus.CallbackSubject(account, "dlr"), Data: []byte(data)}); err != nil {
			w.Fatal(err)
		}
	}})
	w.wantTold("submitted E-0", "delivered E-0")
}

// Two collectors share the reports; each report is told by one of them.
func TestTwoCollectors(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}, collectors: 2})
	var numbers []string
	for i := range 200 {
		numbers = append(numbers, number(i))
	}
	in := w.intend(w.queue("E", numbers...))
	w.outcome(in, len(numbers), idempotency.Closed, submitted("b"))
	for _, n := range numbers {
		w.report(w.path(in), delivered(providers.Report{To: n}))
	}
	w.until(func() bool { return len(w.told()) >= 2*len(numbers) })
	w.until(func() bool {
		waiting, unsettled, err := w.bus.Backlog(context.Background(), bus.CallbackStream, "dlr-"+account)
		return err == nil && waiting == 0 && unsettled == 0
	})
	if n := len(w.told()); n != 2*len(numbers) {
		t.Errorf("%d changes told, want %d", n, 2*len(numbers))
	}
}
