package dispatch_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// consumer is what the server knows of a lane's consumer.
func (r *rig) consumer(stream, name string) *jetstream.ConsumerInfo {
	r.t.Helper()
	nc, err := nats.Connect(r.server.ClientURL())
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := js.Consumer(r.t.Context(), stream, name)
	if err != nil { // not made yet
		return &jetstream.ConsumerInfo{}
	}
	return c.CachedInfo()
}

// What a dispatcher had read when it was killed is sent by another soon if it is
// urgent, and need not be kept by one that lives.
func TestUrgentOfADeadDispatcherIsSentSoon(t *testing.T) {
	r := newRig(t, "a")
	for i := range 5 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	}
	dead := natstest.Connect(t, r.server, nil, nil)
	acct := r.account("a", newGateway(1))
	r.gated(&acct)
	r.start("d1", dispatch.Options{Bus: dead, Accounts: []dispatch.Account{acct}, Observer: silent{}, AckWait: 15 * time.Second})
	r.until("all are held", func() bool { return r.consumer(bus.QueueStream("a"), "high-acme").NumAckPending == 5 })
	dead.Close() // it can settle nothing any more
	died := time.Now()
	g := newGateway(1)
	r.start("d2", dispatch.Options{Accounts: []dispatch.Account{r.account("a", g)}, Observer: silent{}, AckWait: 15 * time.Second})
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 5 })
	took := time.Since(died)
	t.Logf("sent %v after the death", took.Round(100*time.Millisecond))
	if took > 7*time.Second {
		t.Errorf("sent only %v after the death", took)
	}
	eachOnce(t, g, 5)
}

// What was read ahead stays this process's, however long the pool has no room for
// it, and so does what is under way while the process ends.
func TestWhatIsReadAheadIsKept(t *testing.T) {
	r := newRig(t, "a")
	for i := range 100 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	}
	g := newGateway(1)
	acct := r.account("a", g, func(a *dispatch.Account) { a.Rate = 200 })
	closed := r.gated(&acct)
	r.start("d1", dispatch.Options{Accounts: []dispatch.Account{acct}, Observer: silent{}, AckWait: time.Second})
	r.until("the pool is full, and more was read", func() bool { return r.consumer(bus.QueueStream("a"), "high-acme").NumAckPending > 80 })
	idle := r.account("a", g)
	also := r.gated(&idle)
	r.start("d2", dispatch.Options{Accounts: []dispatch.Account{idle}, Observer: silent{}, AckWait: time.Second})
	<-time.After(3 * time.Second) // three times what a dead process would have
	if n := r.consumer(bus.QueueStream("a"), "high-acme").NumRedelivered; n > 0 {
		t.Errorf("%d pieces were handed out again", n)
	}
	close(closed.open)
	close(also.open)
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 100 })
	eachOnce(t, g, 100)
}

// A dispatcher that ends in the middle of a search for a bad message hands back what it
// searches, with the rest.
func TestASearchIsHandedBackAtTheEnd(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	asked := make(chan struct{}, 10)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		return nil, &providers.Error{Class: providers.Rejected, Status: 400, Bisect: true}
	}
	r.queue(r.piece("e", 0, 10))
	acct := r.account("a", g)
	acct.Slots = &limited{Slots: acct.Slots, left: 1, over: asked}
	stop := r.start("d1", dispatch.Options{Accounts: []dispatch.Account{acct}, Observer: silent{}, AckWait: time.Minute})
	<-asked // the first step of the search waits for a slot
	stop()
	other := newGateway(10)
	r.start("d2", dispatch.Options{Accounts: []dispatch.Account{r.account("a", other)}, Observer: silent{}, AckWait: time.Minute})
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 10 })
	eachOnce(t, other, 10)
}

// limited grants some slots, tells when they are over, and then none.
type limited struct {
	dispatch.Slots
	left int
	over chan struct{}
}

func (s *limited) Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error) {
	if s.left--; s.left < 0 {
		s.over <- struct{}{}
		<-ctx.Done()
		return ratelimit.Slot{}, context.Cause(ctx)
	}
	return s.Slots.Next(ctx, messages, backlog)
}

// What comes back from a request after its account was paused, or after another
// dispatcher was named its only sender, is not kept from the others until that is over.
func TestWhatComesBackToARestingLaneIsHandedBack(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 1))
	g := newGateway(10)
	asked, answer := make(chan struct{}), make(chan struct{})
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		asked <- struct{}{}
		<-answer
		return away(b)
	}
	r.start("d1", dispatch.Options{Accounts: []dispatch.Account{r.account("a", g)}, Observer: silent{}, AckWait: time.Minute})
	<-asked
	p := r.past()
	p.write(idempotency.Record{Kind: idempotency.Sender, Sender: "another"})
	<-time.After(500 * time.Millisecond) // d1 hands back what it has, which is nothing yet
	close(answer)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	other, err := natstest.Connect(t, r.server, nil, nil).Pull(ctx, bus.Consumer{
		Stream: bus.QueueStream("a"), Name: "normal-acme", AckWait: time.Minute, MaxPending: 100_000, Filters: []string{bus.QueueSubject("a", "normal", "acme")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Stop()
	if _, err := other.Next(ctx); err != nil {
		t.Errorf("the sender does not get it: %v", err)
	}
}

// The only sender has died, and with it, or before it, what the bus knew of who reads
// the queue. Nobody reads who is not the sender, so nobody else would make that anew.
func TestADeadSenderOfAnUnreadQueueIsReplaced(t *testing.T) {
	r := newRig(t, "a")
	r.past().write(idempotency.Record{Kind: idempotency.Sender, Sender: "the dead one"})
	r.queue(r.piece("e", 0, 1))
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g, func(a *dispatch.Account) { a.Alone, a.Hold = a.Slots, 500*time.Millisecond }))
	r.until("submitted", func() bool { return r.count(envelope.Submitted) == 1 })
	eachOnce(t, g, 1)
}
