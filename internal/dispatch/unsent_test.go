package dispatch_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

func TestFullReplaySendsNothing(t *testing.T) {
	r := newRig(t, "a")
	for i := range 30 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i*5, 5))
	}
	g := newGateway(20)
	stop := r.dispatcher("d1", r.account("a", g))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 150 })
	stop()
	// The consumer's state is lost: everything comes again as if for the first time.
	if err := r.bus.DeleteConsumer(t.Context(), bus.QueueStream("a"), "normal-acme"); err != nil {
		t.Fatal(err)
	}
	again := newGateway(20)
	r.dispatcher("d2", r.account("a", again))
	r.queue(r.piece("last", 900, 1))
	r.until("the new one submitted", func() bool { return r.count(envelope.Submitted) == 151 })
	eachOnce(t, again, 1)
}

func TestExpiredNeverLeaves(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("old", 0, 2, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(-time.Second) }))
	r.queue(r.piece("new", 5, 1))
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("one sent, two expired", func() bool { return r.count(envelope.Submitted) == 1 && r.count(envelope.Expired) == 2 })
	eachOnce(t, g, 1)
}

// What expires while an account is paused is told soon, not when the account
// moves again, and does not leave then.
func TestExpiredInAPausedLaneIsTold(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	j := journal.New(r.bus, journal.Options{Owner: "operator", Log: r.log})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	defer func() { stop(); <-ended }()
	pause := func(on bool) {
		if _, _, err := j.Append(t.Context(), idempotency.Record{Kind: idempotency.Mode, Account: "a", Paused: on}); err != nil {
			t.Fatal(err)
		}
	}
	pause(true)
	r.dispatcher("d1", r.account("a", g))
	r.queue(r.piece("stays", 0, 2))
	r.queue(r.piece("goes", 5, 3, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(100 * time.Millisecond) }))
	r.until("three expired", func() bool { return r.count(envelope.Expired) == 3 })
	if g.requests() != 0 {
		t.Error("something was sent while paused")
	}
	pause(false)
	r.until("the others submitted", func() bool { return r.count(envelope.Submitted) == 2 })
	eachOnce(t, g, 2)
}

func TestClosedIsNeverSent(t *testing.T) {
	r := newRig(t, "a")
	j := journal.New(r.bus, journal.Options{Owner: "ingest", Log: r.log})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	defer func() { stop(); <-ended }()
	r.queue(r.piece("e", 0, 3))
	epoch, err := r.bus.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	_, effect, err := j.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Close, Account: "a", Reason: "canceled",
		Spans: []idempotency.Span{{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 1, First: 0, End: 2}},
	})
	if err != nil || effect.Acted != 2 {
		t.Fatalf("effect = %+v, %v", effect, err)
	}
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("one sent", func() bool { return r.count(envelope.Submitted) == 1 })
	eachOnce(t, g, 1)
}

// A message that is cancelled while a dispatcher holds it, ready to go, must not
// leave: only the intent can know.
func TestCancelledInTheLastMomentIsNeverSent(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 3))
	g := newGateway(10)
	acct := r.account("a", g)
	closed := r.gated(&acct)
	r.dispatcher("d1", acct)
	<-closed.asked // the first is asked for before any message is there
	r.until("the piece is held", func() bool {
		_, unsettled, err := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-acme")
		return err == nil && unsettled == 1
	})
	j := journal.New(r.bus, journal.Options{Owner: "ingest", Log: r.log})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	defer func() { stop(); <-ended }()
	epoch, err := r.bus.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, effect, err := j.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Close, Reason: "canceled", Spans: []idempotency.Span{{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 1, First: 1, End: 2}},
	}); err != nil || effect.Acted != 1 {
		t.Fatalf("effect = %+v, %v", effect, err)
	}
	close(closed.open)
	r.until("the others submitted", func() bool { return r.count(envelope.Submitted) == 2 })
	eachOnce(t, g, 2)
	if g.times()[number(1)] != 0 {
		t.Error("a cancelled message was sent")
	}
}
