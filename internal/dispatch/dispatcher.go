// Package dispatch takes messages from the accounts' queues and sends them
// through the accounts' gateways: fetch from the lanes, group what can share a
// request, slot, intent, POST, outcome, events, ack.
//
// Two rules hold everywhere: no request without a durable intent that this
// process won, and no ack without a durable outcome.
package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// Slots hands out the instants at which requests may start.
type Slots interface {
	Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error)
	Ready(ctx context.Context) error               // whether there would be any; takes none
	Unused(ctx context.Context, sl ratelimit.Slot) // gives up one in which nothing started; once
	Leave(ctx context.Context) error               // gives up what was leased ahead
	Pause(ctx context.Context, d time.Duration) error
}

// Observer is told what happens, for metrics and traces. Its methods are called
// from many goroutines and must not block.
type Observer interface {
	Request(account string, class providers.Class)
	Messages(account string, status envelope.Status, n int)
	Mode(account, mode string, on bool)
	Uncertain(account string, n, bound int)
	SlotUse(account string, share float64)
	Backlog(account string, p envelope.Priority, n int, oldest time.Duration)
	Sendable(account string, n int)
	// Attempt opens the batch's span; the returned function ends it.
	Attempt(ctx context.Context, a Attempt) (context.Context, func(class providers.Class, accepted int))
}

// Attempt describes one request for the Observer.
type Attempt struct {
	Account, Type, Batch string
	Messages             []envelope.EventMessage
}

// Account is one configured provider login, ready to send.
type Account struct {
	Name, Type string
	Provider   providers.Provider
	Slots      Slots
	// Alone hands out slots while Redis is gone and this process sends alone; nil:
	// then nothing is sent without Redis.
	Alone Slots
	// Hold is how long a change between the two waits, so that what was granted
	// before has left every window: 2 s, the longest window and the lease-ahead.
	Hold        time.Duration
	MessageRate float64  // messages per second of the tightest limit that counts them; 0: none does
	Rate        float64  // requests per second of the tightest limit, for the slot use that is told
	Counted     bool     // a limit counts messages: a slot is good for as many as it was asked for
	Tenants     []string // whose lanes this account has
	BatchSize   int
	Linger      time.Duration
	Concurrency int // requests in flight of this process
	Timeout     time.Duration
	Failures    int           // that open the breaker, within a minute
	OpenFor     time.Duration // how long it stays open
	OnUncertain envelope.Policy
	Callback    func(batchID string) string // nil: no callback URLs
}

// Options of a Dispatcher.
type Options struct {
	Bus      *bus.Bus
	Journal  *journal.Journal
	Accounts []Account
	Observer Observer
	Log      *slog.Logger
	Now      func() time.Time
	// AckWait is how long a dead dispatcher's messages wait before others see
	// them; urgent ones wait 4 s at most. Default 15 s.
	AckWait time.Duration
	// MoveAfter is how long queued messages wait for an account that its gateway
	// fails before they go to the next one of their route; urgent ones wait 2 s at
	// most. Default 5 min.
	MoveAfter time.Duration
	// SweepEvery is how often lanes that do not move are looked through for what
	// has expired. Default 30 s.
	SweepEvery time.Duration
	// TellAfter is how long a process has to tell what it wrote into the journal,
	// before others do. Default 10 s.
	TellAfter time.Duration
	// MeasureEvery is how often Backlog, Sendable and what else is looked up is
	// told. Default 5 s.
	MeasureEvery time.Duration
}

// Dispatcher sends for a set of accounts.
type Dispatcher struct {
	o        Options
	accounts []*account
}

// New returns a Dispatcher. It watches the journal, which must not run yet.
func New(o Options) *Dispatcher {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.AckWait == 0 {
		o.AckWait = 15 * time.Second
	}
	if o.MoveAfter == 0 {
		o.MoveAfter = 5 * time.Minute
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = 30 * time.Second
	}
	if o.TellAfter == 0 {
		o.TellAfter = 10 * time.Second
	}
	if o.MeasureEvery == 0 {
		o.MeasureEvery = 5 * time.Second
	}
	d := &Dispatcher{o: o}
	for _, a := range o.Accounts {
		d.accounts = append(d.accounts, newAccount(&d.o, a))
	}
	for _, a := range d.accounts {
		o.Journal.Watch(a.pace.watch)
		o.Journal.Watch(a.heard)
	}
	return d
}

// Run dispatches until take is done. Then nothing new is taken, requests in
// flight end and are recorded as long as work lives, what was not tried goes
// back to the queue, and Run returns.
func (d *Dispatcher) Run(take, work context.Context) error {
	select {
	case <-d.o.Journal.Ready():
	case <-take.Done():
		return nil
	}
	g, take := errgroup.WithContext(take)
	g.Go(func() error { d.o.Bus.FireStuck(take, bus.DelayQueue, d.o.Now); return nil })
	for _, a := range d.accounts {
		g.Go(func() error { return a.run(take, work) })
	}
	return g.Wait()
}

// State is an account as operators see it.
type State struct {
	Name, Breaker, Blocked string
	Until                  time.Time
	LastError              string
	Waiting, InFlight      int
	SlotUse                float64 // of this process, 0 to 1
}

// States returns all accounts of this process.
func (d *Dispatcher) States() []State {
	var out []State
	for _, a := range d.accounts {
		out = append(out, a.state())
	}
	return out
}

func (a *account) state() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := State{Name: a.o.Name, Breaker: a.breaker.State().String(), Until: a.blockedUntil, LastError: a.lastError, InFlight: a.inFlight, SlotUse: a.slotUse}
	if a.d.Now().Before(a.blockedUntil) {
		s.Blocked = a.blockedWhy
	}
	for _, l := range a.lanes {
		s.Waiting += len(l.items)
	}
	return s
}

func newBreaker(a *account) *gobreaker.TwoStepCircuitBreaker[any] {
	failures := uint32(max(1, a.o.Failures))
	return gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name: a.o.Name, MaxRequests: 1, Interval: time.Minute, BucketPeriod: 10 * time.Second, Timeout: a.o.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.ConsecutiveFailures >= failures || (c.TotalFailures >= 2*failures && 2*c.TotalFailures >= c.Requests)
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errNotCounted) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			a.d.Log.Warn("breaker", "account", name, "from", from.String(), "to", to.String())
			a.d.Observer.Mode(name, "breaker", to == gobreaker.StateOpen)
			if to == gobreaker.StateOpen {
				a.tripped.Store(true)
				a.found(journal.IllBreaker, a.o.OpenFor)
			}
		},
	})
}
