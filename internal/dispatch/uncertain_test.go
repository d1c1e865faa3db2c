package dispatch_test

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// counted is an Observer of what is uncertain, and of the most that may become so.
type counted struct {
	silent
	mu         *sync.Mutex
	now, bound *int
}

func (c counted) Uncertain(_ string, n, bound int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.now, *c.bound = n, max(*c.bound, bound)
}

// What a dead dispatcher leaves is told, counted and buried for an operator; a
// report takes it off the count. The bound holds for what was in flight.
func TestUncertainIsCountedAndBounded(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 4))
	p := r.past()
	p.write(idempotency.Record{Kind: idempotency.Intent, LeaseMillis: 100, Spans: p.of(0, 4)})
	g := newGateway(3)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		return nil, &providers.Error{Class: providers.Uncertain}
	}
	var mu sync.Mutex
	now, bound := 0, 0
	is := func(n int) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return now == n }
	}
	o := counted{mu: &mu, now: &now, bound: &bound}
	r.start("d1", dispatch.Options{Accounts: []dispatch.Account{r.account("a", g)}, Observer: o, MeasureEvery: 50 * time.Millisecond})
	r.until("four uncertain", func() bool { return r.count(envelope.Uncertain) == 4 && is(4)() && len(r.dead) > 0 })
	r.queue(r.piece("f", 10, 3))
	r.until("seven uncertain", func() bool { return r.count(envelope.Uncertain) == 7 && is(7)() })
	mu.Lock()
	if bound < 3 {
		t.Errorf("the bound was %d, and a request of three was in flight", bound)
	}
	mu.Unlock()
	p.write(idempotency.Record{Kind: idempotency.Close, Reason: journal.Reported, Spans: p.of(0, 2)})
	r.until("two are settled", is(5))
}

func TestUncertainIsHeldForAnOperator(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	g.answer = func(*providers.Batch) ([]providers.Result, error) {
		return nil, &providers.Error{Class: providers.Uncertain, Err: errors.New("reset")}
	}
	r.queue(r.piece("e", 0, 3))
	r.dispatcher("d1", r.account("a", g))
	r.until("uncertain and dead", func() bool { return r.count(envelope.Uncertain) == 3 && len(r.dead) == 1 })
	if d := r.dead[0]; d.Reason != envelope.DeadUncertain || len(d.Piece.Messages) != 3 {
		t.Errorf("dead letter = %+v", d)
	}
	eachOnce(t, g, 3)
}

func TestUncertainHighPriorityIsRetriedOnce(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	g.answer = func(*providers.Batch) ([]providers.Result, error) {
		return nil, &providers.Error{Class: providers.Uncertain, Err: errors.New("reset")}
	}
	r.queue(r.piece("e", 0, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	r.dispatcher("d1", r.account("a", g))
	r.until("held after the second try", func() bool { return len(r.dead) == 1 })
	if n := g.times()[number(0)]; n != 2 {
		t.Errorf("sent %d times, want 2", n)
	}
}

func TestDeadOwnersMessagesBecomeUncertain(t *testing.T) {
	r := newRig(t, "a")
	p := r.piece("e", 0, 4)
	r.queue(p)
	epoch, err := r.bus.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	rec := idempotency.Record{
		Kind: idempotency.Intent, Account: "a", Owner: "dead", LeaseMillis: 300,
		Spans: []idempotency.Span{{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 1, First: 1, End: 3}},
	}
	data, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: bus.JournalSubject("intent", "a"), Data: data}); err != nil {
		t.Fatal(err)
	}
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("two sent, two uncertain", func() bool {
		return r.count(envelope.Submitted) == 2 && r.count(envelope.Uncertain) == 2 && len(r.dead) > 0
	})
	eachOnce(t, g, 2)
	if g.times()[number(1)]+g.times()[number(2)] != 0 {
		t.Error("a message that a dead process may have sent was sent again")
	}
}
