package dlr_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// What a look-up finds of an uncertain attempt settles it: taken, taken and
// reported on, refused; what it does not find stays as it is.
func TestLookUpSettlesWhatIsUncertain(t *testing.T) {
	t.Parallel()
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{"b1": {[]providers.Report{
		{To: number(1), ProviderID: "m1", Status: providers.ReportPending},
		{To: number(2), ProviderID: "m2", Status: providers.ReportDelivered},
		{To: number(3), Status: providers.ReportRefused, Code: "BLACKLISTED"},
	}, true}}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: 10 * time.Millisecond, Every: 100 * time.Millisecond}})
	span := w.queue("E", number(1), number(2), number(3), number(4))
	in := w.intend(span)
	w.outcome(in, 4, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain, Code: "uncertain", ProviderID: "b1", Taken: 2})
	w.wantTold("uncertain E-0", "uncertain E-1", "uncertain E-2", "uncertain E-3", "submitted E-0", "submitted E-1", "failed E-2", "delivered E-1")
	for i, want := range []idempotency.State{idempotency.Closed, idempotency.Closed, idempotency.Closed, idempotency.Unsettled} {
		if s := w.journal.State(span.Key(i)); s.State != want {
			t.Errorf("message %d is %+v", i, s)
		}
	}
	gw.mu.Lock()
	defer gw.mu.Unlock()
	q := gw.asked[0]
	if q.BatchID != journal.BatchID(w.journal.Epoch(), in) || q.Size != 4 || len(q.Messages) != 4 || q.Accepted != 2 || q.Messages[3].To != number(4) {
		t.Errorf("asked %+v", q)
	}
}

// That a gateway knows nothing of a message proves nothing, and what it knows of a
// settled one changes nothing.
func TestLookUpThatFindsNothing(t *testing.T) {
	t.Parallel()
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{
		"b1": {nil, true},
		"b2": {[]providers.Report{{To: number(2), Status: providers.ReportRefused}, {To: number(3), Status: providers.ReportPending}}, true},
	}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: 10 * time.Millisecond, Every: 100 * time.Millisecond}})
	lost := w.queue("E", number(1))
	w.outcome(w.intend(lost), 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain, ProviderID: "b1"})
	taken := w.queue("F", number(2), number(3))
	w.outcome(w.intend(taken), 2, idempotency.Closed, journal.MessageResult{Status: envelope.Submitted, ProviderID: "b2"})
	w.until(func() bool {
		gw.mu.Lock()
		defer gw.mu.Unlock()
		return gw.polled >= 2
	})
	w.wantTold("uncertain E-0", "submitted F-0", "submitted F-1")
	if s := w.journal.State(lost.Key(0)); s.State != idempotency.Unsettled {
		t.Errorf("E-0 is %+v", s)
	}
}

// late gives no slots at first, as a limiter does that has just begun.
type late struct {
	mu      sync.Mutex
	refused int
}

func (l *late) Slot(context.Context) (func() error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused++; l.refused == 1 {
		return nil, errors.New("not yet")
	}
	return func() error { return nil }, nil
}

// A look-up that gets no slot is not put off for as long as one that was answered.
func TestLookUpWithoutASlotIsTriedSoon(t *testing.T) {
	t.Parallel()
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{"p1": {[]providers.Report{delivered(providers.Report{To: number(1)})}, true}}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: 10 * time.Millisecond, Every: time.Hour}, limiter: &late{}})
	w.outcome(w.intend(w.queue("E", number(1))), 1, idempotency.Closed, submitted("p1"))
	w.wantTold("submitted E-0", "delivered E-0")
	if strings.Contains(w.logs.String(), "look-up failed") {
		t.Error("logged as a failure")
	}
}

// A look-up goes by when the request left: the outcome may come long after, from
// another dispatcher.
func TestLookUpGoesByTheIntent(t *testing.T) {
	t.Parallel()
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{"b1": {nil, true}}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: 10 * time.Millisecond, Every: 100 * time.Millisecond}})
	in := w.intend(w.queue("E", number(1)))
	m, err := w.bus.Get(t.Context(), bus.JournalStream, in)
	if err != nil {
		t.Fatal(err)
	}
	w.outcome(in, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain, ProviderID: "b1"})
	w.until(func() bool {
		gw.mu.Lock()
		defer gw.mu.Unlock()
		return gw.polled > 0
	})
	gw.mu.Lock()
	defer gw.mu.Unlock()
	if got := gw.asked[0].Sent; !got.Equal(m.Time) {
		t.Errorf("sent at %v, the intent is of %v", got, m.Time)
	}
}

// never gives no slots, as while one dispatcher sends alone.
type never struct{ asked atomic.Int32 }

func (n *never) Slot(context.Context) (func() error, error) {
	n.asked.Add(1)
	return nil, errors.New("none")
}

// While there are no slots, what waits for one is not gone through again and again
// as fast as the bus can give it back.
func TestLookUpsRestWithoutSlots(t *testing.T) {
	t.Parallel()
	none := &never{}
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: time.Millisecond, Every: time.Hour}, limiter: none})
	const n = 12
	begun := time.Now()
	for i := range n {
		w.outcome(w.intend(w.queue(fmt.Sprint("E", i), number(i))), 1, idempotency.Closed, submitted(fmt.Sprint("p", i)))
	}
	w.until(func() bool { return none.asked.Load() >= n })
	if took := time.Since(begun); took < (n-1)*100*time.Millisecond {
		t.Errorf("%d asked for slots within %v", n, took)
	}
}

// A look-up says by which channel messages went: a gateway may know one of them only.
func TestLookUpSaysTheChannel(t *testing.T) {
	t.Parallel()
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{"b1": {nil, true}}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: 10 * time.Millisecond, Every: 100 * time.Millisecond}})
	span := w.queuePiece(&envelope.Piece{ID: "E", Tenant: tenant, Account: account, AcceptedAt: time.Now(), Channel: envelope.WhatsApp, Text: "x"}, number(1))
	w.outcome(w.intend(span), 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain, ProviderID: "b1"})
	w.until(func() bool {
		gw.mu.Lock()
		defer gw.mu.Unlock()
		return gw.polled > 0
	})
	gw.mu.Lock()
	defer gw.mu.Unlock()
	if got := gw.asked[0].Messages[0].Channel; got != providers.WhatsApp {
		t.Errorf("channel %q", got)
	}
}

// fragile is a gateway whose adapter falls over its first answer.
type fragile struct {
	poller
	fell bool
}

func (f *fragile) Find(ctx context.Context, q *providers.Query, start func() error) (providers.Found, error) {
	f.mu.Lock()
	fell := f.fell
	f.fell = true
	f.mu.Unlock()
	if !fell {
		panic("an adapter's bug, met at " + number(1))
	}
	return f.poller.Find(ctx, q, start)
}

func TestPanicOverALookUpIsAFailedOne(t *testing.T) {
	t.Parallel()
	gw := &fragile{poller: poller{gateway: gateway{polls: map[string]pollAnswer{"p1": {[]providers.Report{delivered(providers.Report{To: number(1)})}, true}}}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{Every: time.Second}})
	in := w.intend(w.queue("E", number(1)))
	w.outcome(in, 1, idempotency.Closed, submitted("p1"))
	w.wantTold("submitted E-0", "delivered E-0")
	if strings.Contains(w.logs.String(), number(1)) {
		t.Errorf("logged %s", w.logs)
	}
}

func TestLookUpWaitsForWhatALaggingServerHasNotYet(t *testing.T) {
	t.Parallel()
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{"p1": {[]providers.Report{delivered(providers.Report{To: number(1)})}, true}}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{Every: time.Second}})
	// The intent names a place in the queue that nothing is stored at yet.
	next := w.queue("other", number(2))
	next.Seq++
	in := w.intend(next)
	w.append(w.record(in, 1, idempotency.Closed, &journal.OutcomeDetail{Time: time.Now().UTC(), Default: submitted("p1")}))
	w.until(func() bool {
		waiting, unsettled, err := w.bus.Backlog(context.Background(), bus.JournalStream, "poll-"+account)
		return err == nil && waiting == 0 && unsettled == 1
	})
	w.queue("E", number(1))
	w.wantTold("submitted E-0", "delivered E-0")
}
