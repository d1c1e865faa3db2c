package dlr_test

import (
	"context"
	"testing"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestUnknownWordChangesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1)))
	w.outcome(in, 1, idempotency.Closed, submitted("b"))
	w.report(w.path(in), providers.Report{To: number(1), Code: "WHAT"}, providers.Report{To: number(1), Status: providers.ReportPending})
	w.until(func() bool { return w.counts.of(dlr.Unsaid) == 1 && w.counts.of(dlr.Matched) == 1 })
	w.report(w.path(in), providers.Report{To: number(1), Code: "WHAT", Time: "later"})
	w.until(func() bool { return w.counts.of(dlr.Matched) == 2 })
	w.report(w.path(in), delivered(providers.Report{To: number(1)}))
	w.until(func() bool { return w.counts.of(dlr.Matched) == 3 })
	w.report(w.path(in), providers.Report{To: number(1), Code: "EVER"})
	w.wantTold("submitted E-0", "submitted E-0", "delivered E-0", "delivered E-0")
	w.until(func() bool { m, _ := w.statuses.Message(tenant, "E-0"); return len(m.History) == 5 })
	m, _ := w.statuses.Message(tenant, "E-0")
	if h := m.History; m.Status != envelope.Delivered || h[2].Detail != "report: WHAT" || h[4].Detail != "report: EVER" {
		t.Errorf("%+v", m)
	}
}

// TestUnknownWordWaitsForTheAnswer: there is no status yet to remark on.
func TestUnknownWordWaitsForTheAnswer(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1)))
	w.report(w.path(in), providers.Report{To: number(1), Code: "WHAT"})
	w.until(func() bool { return w.counts.of(dlr.Stored) == 1 })
	w.outcome(in, 1, idempotency.Closed, submitted("b"))
	w.wantTold("submitted E-0", "submitted E-0")
}

func TestUnreadableBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1)))
	for _, body := range []string{"<html>", "panic"} {
		if got, _ := w.send("POST", w.path(in), body, nil); got != 200 {
			t.Fatalf("answered %d", got)
		}
	}
	w.until(func() bool { return w.counts.of(dlr.Poison) == 2 && w.stored(bus.DeadStream) == 2 })
	m, err := w.bus.Get(context.Background(), bus.DeadStream, 1)
	if err != nil || m.Subject != "sms.dead.gw.poison" {
		t.Errorf("dead letter %+v, %v", m, err)
	}
}
