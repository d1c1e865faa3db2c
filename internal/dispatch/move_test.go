package dispatch_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func away(*providers.Batch) ([]providers.Result, error) {
	return nil, &providers.Error{Class: providers.Unavailable, Err: errors.New("refused")}
}

func urgent(route ...string) func(*envelope.Piece) {
	return func(p *envelope.Piece) { p.Priority, p.Route = envelope.High, route }
}

// A request that ends when the account's other messages have long moved brings its
// own back: they move, too.
func TestWhatComesBackToAMovingLaneMoves(t *testing.T) {
	r := newRig(t, "a", "b")
	ill, other := newGateway(1), newGateway(10)
	ill.answer = func(b *providers.Batch) ([]providers.Result, error) {
		if b.Messages[0].To == number(0) && len(ill.times()) == 1 {
			<-time.After(3 * time.Second) // a connection that takes its time, and fails
		}
		return away(b)
	}
	r.queue(r.piece("slow", 0, 1, urgent("b")))
	r.dispatcher("d1", r.account("a", ill, func(a *dispatch.Account) { a.Concurrency, a.Timeout = 4, 10*time.Second }), r.account("b", other))
	r.until("the first has left", func() bool { return ill.requests() == 1 })
	for i := range 3 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), 1+i, 1, urgent("b")))
	}
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 4 })
	eachOnce(t, other, 4)
}

// Messages that have no other account stand in the way of none that have.
func TestMessagesWithoutARouteLetOthersMove(t *testing.T) {
	r := newRig(t, "a", "b")
	ill, other := newGateway(5), newGateway(10)
	ill.answer = away
	for i := range 100 {
		r.queue(r.piece(fmt.Sprintf("stay%d", i), i, 1, urgent()))
	}
	for i := range 10 {
		r.queue(r.piece(fmt.Sprintf("go%d", i), 500+i, 1, urgent("b")))
	}
	r.dispatcher("d1", r.account("a", ill, func(a *dispatch.Account) { a.Rate = 8 }), r.account("b", other))
	r.until("those that can have moved", func() bool { return r.count(envelope.Submitted) == 10 })
	eachOnce(t, other, 10)
}
