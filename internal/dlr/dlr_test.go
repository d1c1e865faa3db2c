package dlr_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
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

func TestInbound(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}, inbound: map[string]string{"+15000": tenant}})
	path := "/inbound/" + account + "/" + secret
	body := `{"id":"t1","from":"+254700000001","to":"15000","text":"hi"}`
	for range 2 {
		if got, answer := w.send("POST", path, body, nil); got != 200 || answer != `{"ok":"t1"}` {
			t.Fatalf("answered %d %s", got, answer)
		}
	}
	// The same message with other bytes around it is still the same message.
	w.send("POST", path, body+" ", nil)
	w.send("POST", path, `{"id":"t2","from":"+254700000001","to":"99999","text":"hi"}`, nil)
	w.send("POST", path, `rubbish`, nil)
	w.until(func() bool {
		return w.counts.of(dlr.Matched) == 1 && w.counts.of(dlr.Homeless) == 1 && w.counts.of(dlr.Repeated) == 2 && w.counts.of(dlr.Poison) == 1
	})
	if n := w.stored(bus.InboundStream); n != 1 {
		t.Fatalf("%d inbound messages", n)
	}
	var got []string
	ctx, stop := context.WithCancel(context.Background())
	_ = w.bus.Tail(ctx, bus.Tail{Stream: bus.InboundStream}, func(m *bus.Msg) { got = append(got, m.Subject, string(m.Data)) }, stop)
	if len(got) != 2 || got[0] != "sms.inbound.acme.gw" {
		t.Errorf("got %v", got)
	}
}
