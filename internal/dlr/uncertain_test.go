package dlr_test

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestReportProvesThatAnUncertainMessageWasTaken(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	span := w.queue("E", number(1), number(2))
	in := w.intend(span)
	w.outcome(in, 2, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain, Code: "uncertain"})
	w.report(w.path(in), delivered(providers.Report{To: number(1), ProviderID: "x"}))
	w.wantTold("uncertain E-0", "uncertain E-1", "submitted E-0", "delivered E-0")
	if s := w.journal.State(span.Key(0)); s.State != idempotency.Closed {
		t.Errorf("E-0 is %+v", s)
	}
	if s := w.journal.State(span.Key(1)); s.State != idempotency.Unsettled || s.Intent != in {
		t.Errorf("E-1 is %+v", s)
	}
}

// The one retry of an uncertain message must not go out once the first attempt
// is known to have arrived.
// A dispatcher may free an uncertain message for its retry while a report proves
// that it was sent: whichever record comes first, it is not sent again.
func TestReportAtTheSameTimeAsTheRetryStopsIt(t *testing.T) {
	t.Parallel()
	behind, goOn := make(chan struct{}), make(chan struct{})
	w := start(t, setup{provider: &gateway{urls: true}, watch: func(_ uint64, _ time.Time, r *idempotency.Record, _ *idempotency.Effect) {
		if r.Kind == idempotency.Health { // from here on the collector knows less than the journal
			close(behind)
			<-goOn
		}
	}})
	span := w.queue("E", number(1))
	in := w.intend(span)
	w.outcome(in, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain, Code: "uncertain"})
	w.publish(idempotency.Record{Kind: idempotency.Health})
	<-behind
	w.publish(idempotency.Record{Kind: idempotency.Release, Intent: in, Spans: []idempotency.Span{span}})
	before := w.stored(bus.JournalStream)
	w.report(w.path(in), delivered(providers.Report{To: number(1), ProviderID: "x"}))
	w.until(func() bool { return w.stored(bus.JournalStream) > before })
	close(goOn)
	w.wantTold("uncertain E-0", "submitted E-0", "delivered E-0")
	if s := w.journal.State(span.Key(0)); s.State != idempotency.Closed {
		t.Errorf("E-0 is %+v: it is sent once more", s)
	}
}

func TestReportStopsTheRetryOfItsMessage(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	span := w.queue("E", number(1))
	in := w.intend(span)
	w.outcome(in, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
	w.append(idempotency.Record{Kind: idempotency.Release, Intent: in, Spans: []idempotency.Span{span}})
	w.report(w.path(in), delivered(providers.Report{To: number(1)}))
	w.wantTold("uncertain E-0", "submitted E-0", "delivered E-0")
	again := w.intend(span)
	if o, held := w.journal.Intent(again); held {
		t.Errorf("taken again: %+v", o)
	}
}
