// Package dlr takes in what gateways say on their own: delivery reports and
// messages from handsets. A callback is stored raw before it is answered, so a
// storm costs one write each and a report that nobody understands yet is not
// lost. What it means is found out afterwards, from the journal.
//
// A report is matched to a message by the batch in the URL that it came to, by
// the reference it echoes, by the gateway's id, or by its number, in this order.
// One that fits no message is kept and tried again for three days; one that fits
// two settles neither.
package dlr

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// Keep is how long a report may wait for its message, and a message for its report.
const Keep = 72 * time.Hour

// Limiter hands out the account's right to make one request.
type Limiter interface {
	// Slot blocks until a request may start, or ctx is done.
	// start is asked in the instant before the first byte, and fails if the right
	// has passed by then.
	Slot(ctx context.Context) (start func() error, err error)
}

// Statuses says what is known of a message, so that no status regresses and
// none is told twice.
type Statuses interface {
	Current(messageID string) (envelope.Status, bool)
	// Tell has publish store events, and lets them count as soon as they are.
	Tell(events []envelope.Event, publish func() error) error
	// Unreported returns events for messages submitted after or longer ago of
	// which no report came and that was not told yet; id names an event by its
	// first message.
	Unreported(after time.Duration, limit int, id func(first string) string) []envelope.Event
	Ready() bool
}

// Observer is told what happens, for metrics and traces. Its methods are called
// from many goroutines and must not block.
type Observer interface {
	// Callbacks counts what became of callbacks or reports; see the classes.
	Callbacks(account string, class Class, n int)
	// Told tells of an event that reports brought about, once it is stored.
	Told(e *envelope.Event)
	// Unmatched is how many reports wait for a message, over all accounts.
	Unmatched(n int)
}

// Class is what became of a callback or report.
type Class string

// The classes.
const (
	Stored      Class = "stored"      // answered 2xx
	Repeated    Class = "repeated"    // answered 2xx: it was stored before
	Refused     Class = "refused"     // wrong token, signature, user or password
	Unavailable Class = "unavailable" // answered 503: the bus did not take it
	Matched     Class = "matched"     // belongs to a message, whether its status changed or not
	Parked      Class = "parked"      // belongs to no message yet
	Unmatched   Class = "unmatched"   // given up after three days
	Quarantined Class = "quarantined" // names a message that its batch does not have
	Unsaid      Class = "unsaid"      // says nothing of a message, or nothing of one that anything is known of
	Poison      Class = "poison"      // cannot be read; a dead letter
	Homeless    Class = "homeless"    // inbound to a number that no tenant has
)

// Classes returns all of them.
func Classes() []Class {
	return []Class{Stored, Repeated, Refused, Unavailable, Matched, Parked, Unmatched, Quarantined, Unsaid, Poison, Homeless}
}

// Account is one configured provider login.
type Account struct {
	Name     string
	Provider providers.Provider
	Secrets  []string          // callback_token, newest first
	Inbound  map[string]string // number -> tenant
	Tenant   string            // of every number if Inbound is empty; empty: of none
	Poll     Poll
	Limiter  Limiter // of look-ups; nil: they are not limited
}

// Poll says when a batch is first asked for and how often after that. The
// waiting grows to half of the batch's age.
type Poll struct{ After, Every time.Duration }

// Options of a Collector.
type Options struct {
	Bus      *bus.Bus
	Journal  *journal.Journal // must not run yet
	Statuses Statuses
	Accounts []Account
	Observer Observer // nil: none
	// AtOnce is how many callbacks of one account may be read or wait for the bus
	// at once; the others get 503. Default 2048.
	AtOnce int
	Log    *slog.Logger
	Now    func() time.Time
}

// Collector takes in callbacks and settles messages by them. Several collectors
// share the work.
type Collector struct {
	o        Options
	accounts map[string]*account
	batches  *batches
	seen     *sieve  // callbacks that are stored already
	inbound  *recent // messages from handsets that are published already
	remarked *recent // words on messages that are told already
	ready    atomic.Bool
	storing  atomic.Int64 // callbacks that wait for the bus right now
	most     atomic.Int64 // most of them since somebody last looked, about
	fresh    int          // looks at a parked report before it is stale
}

// account is an Account with what its adapter can do.
type account struct {
	Account
	reporter     providers.Reporter   // nil: no callbacks
	receiver     providers.Receiver   // nil: no inbound
	challenger   providers.Challenger // nil: the gateway checks no URL
	noticer      providers.Noticer    // nil: callbacks are reports and nothing else
	finder       providers.Finder     // nil: no look-ups
	urls         bool                 // each batch has its own callback URL
	capabilities *Capabilities        // of these URLs
	index        *index               // nil if urls, since the URL says the batch, and if there are no callbacks
	answers      *answers             // nil if not urls
	gate         gate                 // of callbacks whose URL proves whose they are
	unproved     gate                 // of those that have to be read first
}

// gate bounds how many callbacks of one account are read or wait for the bus: a
// storm of one gateway must not take the others' room, nor somebody who knows no
// token the room of who does. What comes beyond it is answered 503 before its body
// is read.
type gate chan struct{}

// enter reports whether there is room. Who entered leaves.
func (g gate) enter() bool {
	select {
	case g <- struct{}{}:
		return true
	default:
		return false
	}
}

func (g gate) leave() { <-g }

const defaultAtOnce = 2048

// New returns a Collector. It watches the journal, which must not run yet.
func New(o Options) (*Collector, error) {
	if o.Bus == nil || o.Journal == nil || o.Statuses == nil {
		return nil, errors.New("dlr: Bus, Journal and Statuses are needed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.AtOnce == 0 {
		o.AtOnce = defaultAtOnce
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	c := &Collector{o: o, accounts: map[string]*account{}, seen: newSieve(), inbound: newRecent(seenAtMost), remarked: newRecent(seenAtMost), fresh: freshLooks}
	c.batches = newBatches(o.Bus, cachedBytes)
	for _, in := range o.Accounts {
		a := &account{Account: in, urls: in.Provider.Limits().CallbackURL, capabilities: NewCapabilities(in.Secrets, in.Name), gate: make(gate, o.AtOnce), unproved: make(gate, o.AtOnce)}
		a.reporter, _ = in.Provider.(providers.Reporter)
		a.receiver, _ = in.Provider.(providers.Receiver)
		a.challenger, _ = in.Provider.(providers.Challenger)
		a.noticer, _ = in.Provider.(providers.Noticer)
		a.finder, _ = in.Provider.(providers.Finder)
		a.Inbound = map[string]string{}
		for number, tenant := range in.Inbound {
			a.Inbound[strings.TrimPrefix(number, "+")] = tenant
		}
		switch {
		case a.reporter == nil:
		case a.urls:
			a.answers = &answers{account: in.Name}
			o.Journal.Watch(a.answers.watch)
		default:
			a.index = newIndex(in.Name)
			o.Journal.Watch(a.index.watch)
		}
		c.accounts[in.Name] = a
	}
	return c, nil
}

// Ready reports whether reports are being matched. Callbacks are taken before.
func (c *Collector) Ready() bool { return c.ready.Load() }

// Run matches what was stored until ctx is done, and returns when all its
// goroutines have ended. It waits for the journal and the statuses first.
func (c *Collector) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	before := []<-chan struct{}{c.o.Journal.Ready()}
	for _, known := range c.memories() {
		remembered := make(chan struct{})
		before = append(before, remembered)
		running.Go(func() { c.remember(ctx, known, sync.OnceFunc(func() { close(remembered) })) })
	}
	for _, ready := range before {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
	}
	for !c.o.Statuses.Ready() {
		if !service.Sleep(ctx, 20*time.Millisecond) {
			return nil
		}
	}
	for _, a := range c.accounts {
		if a.reporter != nil {
			running.Go(func() { c.follow(ctx, a, source{kind: kindReport}) })
			running.Go(func() { c.follow(ctx, a, source{kind: kindParked, parked: true}) })
			running.Go(func() { c.follow(ctx, a, source{kind: kindStale, parked: true}) })
		}
		if a.receiver != nil {
			running.Go(func() { c.followInbound(ctx, a) })
		}
		if a.finder != nil {
			running.Go(func() { c.followOutcomes(ctx, a) })
		}
	}
	running.Go(func() { c.gauge(ctx) })
	running.Go(func() { c.sweep(ctx) })
	c.ready.Store(true)
	<-ctx.Done()
	c.ready.Store(false)
	return nil
}

// nobody observes nothing.
type nobody struct{}

func (nobody) Callbacks(string, Class, int) {}
func (nobody) Told(*envelope.Event)         {}
func (nobody) Unmatched(int)                {}
