package dlr_test

import (
	"context"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

type slots struct{ taken chan struct{} }

func (s slots) Slot(ctx context.Context) (func() error, error) {
	select {
	case s.taken <- struct{}{}:
		return func() error { return nil }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestLookUps(t *testing.T) {
	t.Parallel()
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{
		"p1": {[]providers.Report{{ProviderID: "p1", To: number(1), Status: providers.ReportPending}, delivered(providers.Report{ProviderID: "p1", To: number(2)})}, false},
	}}}
	s := slots{make(chan struct{}, 100)}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: 300 * time.Millisecond, Every: 100 * time.Millisecond}, limiter: s})
	in := w.intend(w.queue("E", number(1), number(2)))
	w.outcome(in, 2, idempotency.Closed, submitted("p1"))
	w.wantTold("submitted E-0", "submitted E-1", "delivered E-1")
	gw.mu.Lock()
	gw.polls["p1"] = pollAnswer{[]providers.Report{undelivered(providers.Report{To: number(1)}), delivered(providers.Report{To: number(2)})}, true}
	gw.mu.Unlock()
	w.wantTold("submitted E-0", "submitted E-1", "delivered E-1", "undelivered E-0")
	w.until(func() bool {
		waiting, unsettled, err := w.bus.Backlog(context.Background(), bus.JournalStream, "poll-"+account)
		return err == nil && waiting == 0 && unsettled == 0
	})
	gw.mu.Lock()
	defer gw.mu.Unlock()
	if gw.polled < 2 || gw.polled != len(s.taken) {
		t.Errorf("%d look-ups in %d slots", gw.polled, len(s.taken))
	}
}

func TestLookUpsWaitAndAreSpared(t *testing.T) {
	t.Parallel()
	gw := &poller{}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: time.Hour, Every: time.Hour}})
	in := w.intend(w.queue("E", number(1)))
	w.outcome(in, 1, idempotency.Closed, submitted("p1"))
	w.until(func() bool {
		waiting, unsettled, err := w.bus.Backlog(context.Background(), bus.JournalStream, "poll-"+account)
		return err == nil && waiting == 0 && unsettled == 1
	})
	spared := start(t, setup{provider: gw, poll: dlr.Poll{}, before: func(w *world) {
		in := w.intend(w.queue("E", number(1)))
		w.outcome(in, 1, idempotency.Closed, journal.MessageResult{Status: envelope.Delivered, ProviderID: "p1"})
		w.until(func() bool { now, _ := w.statuses.Current("E-0"); return now == envelope.Delivered })
	}})
	spared.until(func() bool {
		waiting, unsettled, err := spared.bus.Backlog(context.Background(), bus.JournalStream, "poll-"+account)
		return err == nil && waiting == 0 && unsettled == 0
	})
	gw.mu.Lock()
	defer gw.mu.Unlock()
	if gw.polled != 0 {
		t.Errorf("%d look-ups", gw.polled)
	}
}

func TestMissingReportIsTold(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}, before: func(w *world) {
		in := w.intend(w.queue("E", number(1)))
		d := journal.OutcomeDetail{Time: time.Now().Add(-72*time.Hour - time.Minute), Default: submitted("b")}
		w.tellOutcome(in, 1, idempotency.Closed, &d)
		w.until(func() bool { now, _ := w.statuses.Current("E-0"); return now == envelope.Submitted })
	}})
	w.wantTold("submitted E-0", "submitted E-0")
	w.until(func() bool {
		m, _ := w.statuses.Message(tenant, "E-0")
		return m.History[len(m.History)-1].Detail == "report: none"
	})
}
