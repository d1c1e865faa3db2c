package dlr_test

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func delivered(r providers.Report) providers.Report {
	r.Status, r.Code = providers.ReportDelivered, "D"
	return r
}

func undelivered(r providers.Report) providers.Report {
	r.Status, r.Code, r.Detail = providers.ReportUndelivered, "U", "absent"
	return r
}

func TestReportSettlesByURLAndNumber(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1), number(2), number(3)))
	w.outcome(in, 3, idempotency.Closed, submitted("b1"))
	if got := w.report(w.path(in), delivered(providers.Report{To: number(2), ProviderID: "x2"})); got != 200 {
		t.Fatalf("answered %d", got)
	}
	w.report(w.path(in), undelivered(providers.Report{MessageID: "E-2"}))
	w.until(func() bool { return len(w.told()) == 5 })
	m, _ := w.statuses.Message(tenant, "E-1")
	if m.Status != envelope.Delivered || m.ProviderMessageID != "x2" || m.Provider != account {
		t.Errorf("got %+v", m)
	}
	m, _ = w.statuses.Message(tenant, "E-2")
	if m.Status != envelope.Undelivered || m.Error == nil || m.Error.ProviderCode != "U" || m.Error.Detail != "absent" {
		t.Errorf("got %+v, %+v", m, m.Error)
	}
	if now, _ := w.statuses.Current("E-0"); now != envelope.Submitted {
		t.Errorf("E-0 is %s", now)
	}
}

func TestReportBeforeTheAnswerWaitsForIt(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1)))
	w.report(w.path(in), delivered(providers.Report{To: number(1)}))
	w.until(func() bool { return w.counts.of(dlr.Stored) == 1 })
	if now, _ := w.statuses.Current("E-0"); now == envelope.Delivered {
		t.Fatal("delivered before it was submitted")
	}
	w.outcome(in, 1, idempotency.Closed, submitted("b"))
	w.wantTold("submitted E-0", "delivered E-0")
}

// What a report brings about is dated when it is told, which is after what it had
// to wait for.
func TestEventsAreDatedInTheirOrder(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1)))
	w.report(w.path(in), delivered(providers.Report{To: number(1)}))
	w.until(func() bool { return w.counts.of(dlr.Stored) == 1 })
	d := journal.OutcomeDetail{Time: time.Now().UTC(), Default: journal.MessageResult{Status: envelope.Uncertain, Code: "uncertain"}}
	w.tellOutcome(in, 1, idempotency.Unsettled, &d)
	w.until(func() bool { return len(w.told()) == 3 }) // the collector may be faster than the dispatcher's events
	w.mu.Lock()
	defer w.mu.Unlock()
	at := map[envelope.Status]time.Time{}
	for _, e := range w.events {
		at[e.Status] = e.Time
	}
	if at[envelope.Submitted].Before(at[envelope.Uncertain]) || at[envelope.Delivered].Before(at[envelope.Submitted]) {
		t.Errorf("dated %v", at)
	}
}

// A dispatcher may die between an outcome and its events: the report does not
// wait for ever.
func TestReportTellsSubmittedIfNobodyDoes(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1)))
	d := journal.OutcomeDetail{Default: submitted("b")}
	w.append(w.record(in, 1, idempotency.Closed, &d))
	w.report(w.path(in), undelivered(providers.Report{To: number(1)}))
	w.wantTold("submitted E-0", "undelivered E-0")
}

// As long as the request is under way its report waits, however often it is
// looked at meanwhile.
func TestReportOnARequestUnderWayWaits(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in, other := w.intend(w.queue("E", number(1))), w.intend(w.queue("F", number(2)))
	d := journal.OutcomeDetail{Default: submitted("b")}
	w.append(w.record(other, 1, idempotency.Closed, &d))
	w.report(w.path(in), delivered(providers.Report{To: number(1)}))
	w.report(w.path(other), delivered(providers.Report{To: number(2)}))
	w.wantTold("submitted F-0", "delivered F-0") // told at the end of patience
	w.outcome(in, 1, idempotency.Closed, submitted("c"))
	w.wantTold("submitted F-0", "delivered F-0", "submitted E-0", "delivered E-0")
}

func TestRepetitionsChangeNothingAndDeliveredCorrects(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1), number(2)))
	w.outcome(in, 2, idempotency.Closed, submitted("b"))
	one, two := providers.Report{To: number(1)}, providers.Report{To: number(2)}
	w.report(w.path(in), delivered(one))
	w.until(func() bool { return w.counts.of(dlr.Matched) == 1 })
	for i, r := range []providers.Report{
		delivered(one), // the same bytes
		delivered(providers.Report{To: number(1), Time: "later"}), // the same news
		undelivered(one),                 // delivered stays
		undelivered(two), delivered(two), // delivered corrects
		undelivered(two), // once
	} {
		if got := w.report(w.path(in), r); got != 200 {
			t.Fatalf("report %d answered %d", i, got)
		}
		w.until(func() bool { return w.counts.of(dlr.Matched)+w.counts.of(dlr.Repeated) == i+2 })
	}
	w.wantTold("submitted E-0", "submitted E-1", "delivered E-0", "undelivered E-1", "delivered E-1")
	if w.counts.of(dlr.Repeated) != 2 { // the first and the last are byte for byte what came before
		t.Errorf("counted %v", w.counts.classes)
	}
}

// What this collector has told counts at once, not when the stream brings it back.
func TestOwnEventsCountAtOnce(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}, deaf: true})
	in := w.intend(w.queue("E", number(1)))
	w.outcome(in, 1, idempotency.Closed, submitted("b"))
	to := providers.Report{To: number(1)}
	for i, r := range []providers.Report{delivered(to), undelivered(to)} {
		w.report(w.path(in), r)
		w.until(func() bool { return w.counts.of(dlr.Matched) == i+1 })
	}
	// It never saw that somebody told `submitted`, so it did too: the same
	// message twice, never the report.
	w.wantTold("submitted E-0", "submitted E-0", "delivered E-0")
}

// One callback that says both leaves the message delivered, whichever is first.
func TestOneCallbackOfBothMinds(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1), number(2)))
	w.outcome(in, 2, idempotency.Closed, submitted("b"))
	w.report(w.path(in),
		delivered(providers.Report{To: number(1)}), undelivered(providers.Report{To: number(1)}),
		undelivered(providers.Report{To: number(2)}), delivered(providers.Report{To: number(2)}))
	w.wantTold("submitted E-0", "submitted E-1", "undelivered E-1", "delivered E-0", "delivered E-1")
}
