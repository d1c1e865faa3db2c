package dispatch

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// errNotCounted ends a breaker's turn that says nothing about the gateway.
var errNotCounted = errors.New("not counted")

// errUrgent ends the wait for a slot that was asked for before something urgent
// came: it is asked for anew.
var errUrgent = errors.New("urgent")

// lead is how long before its slot a batch is chosen: the time an intent needs.
const lead = 15 * time.Millisecond

// account is one account at work in this process.
type account struct {
	d       *Options
	o       Account
	b       *bus.Bus
	j       *journal.Journal
	breaker *gobreaker.TwoStepCircuitBreaker[any]
	pace    *pacer
	lanes   []*lane           // most urgent first, tenants within
	sweeps  int               // the janitor's, as is swept
	swept   map[string]uint64 // where the next sweep of a lane begins, by subject
	queue   string            // the stream
	tripped atomic.Bool       // the breaker opened: what follows is a probe

	wake chan struct{} // something changed that the pump may wait for
	news chan news     // for the other dispatchers

	mu           sync.Mutex // guards all below, and the lanes' items and held
	inFlight     int
	peak         int                               // the most in flight since it was last told
	passed       int                               // picks in a row that passed over a lower priority
	turn         int                               // counts the picks that made up for it
	used         [len(envelope.Priorities)]float64 // the least that a lane which waits has used, by priority: newcomers begin there
	hasten       context.CancelCauseFunc           // ends the wait for a slot that was asked for with a backlog; nil: none is waited for
	blockedWhy   string
	blockedSince time.Time
	blockedUntil time.Time
	failing      time.Time // since when its gateway is to blame for it, tries in between included; zero: it is not
	failures     int       // requests in a row that were surely not sent, for the back-off
	ramp         int       // most messages of a request after trouble; 0: no bound
	ceiling      int       // most messages that a counted limit's window takes; 0: no bound
	ill          bool      // what was told to the others and not taken back
	refused      bool      // the same, of the account itself: its credentials, balance or quota
	search       *search
	requests     int       // since measured
	slotUse      float64   // as last told
	measured     time.Time // when the slot use was last told
	lastError    string

	unwritten atomic.Bool    // the journal did not take the last intent
	missing   atomic.Int32   // requests that missed their slots and ask for others
	attempts  sync.WaitGroup // requests in flight; only the pump adds
}

func newAccount(d *Options, o Account) *account {
	if limit := o.Provider.Limits().MaxBatch; o.BatchSize <= 0 || o.BatchSize > limit {
		o.BatchSize = limit
	}
	o.Concurrency = max(1, o.Concurrency)
	a := &account{
		d: d, o: o, b: d.Bus, j: d.Journal, queue: bus.QueueStream(o.Name),
		wake: make(chan struct{}, 1), news: make(chan news, 16), swept: map[string]uint64{},
	}
	a.pace = &pacer{a: a}
	a.breaker = newBreaker(a)
	for _, p := range envelope.Priorities {
		for _, t := range o.Tenants {
			a.lanes = append(a.lanes, newLane(a, p, t))
		}
	}
	return a
}

// run works until take is done, then ends what is in flight under work.
func (a *account) run(take, work context.Context) error {
	var parts sync.WaitGroup
	keep, over := context.WithCancel(work) // what is held stays ours until the last request has ended
	defer over()
	for _, l := range a.lanes {
		parts.Go(func() { l.keep(keep) })
		parts.Go(func() { l.run(take, work) })
	}
	parts.Go(func() { a.returnDue(take) })
	parts.Go(func() { a.janitor(take, work) })
	parts.Go(func() { a.herald(take) })
	a.pump(take, work)
	a.attempts.Wait()
	a.endSearch()
	over()
	parts.Wait()
	for _, l := range a.lanes {
		l.handBack(anyPiece)
	}
	return nil
}

// pump is the account's only chooser: it waits until something may be sent,
// asks for a slot, and only shortly before that slot picks what is most urgent
// by then.
func (a *account) pump(take, work context.Context) {
	// A limiter that is new to its Redis stays shut for some seconds. Asked now, it
	// is open by the time that the first message comes.
	a.pace.ready(take)
	defer a.pace.leave(work)
	for {
		highOnly, ok := a.waitReady(take)
		if !ok {
			return
		}
		if !a.writable(take) {
			continue
		}
		finish, err := a.breaker.Allow()
		if err != nil {
			a.block(journal.IllBreaker, a.d.Now().Add(200*time.Millisecond))
			continue
		}
		regime := a.pace.regime()
		slot, messages, err := a.slot(take)
		if err != nil {
			finish(errNotCounted)
			continue
		}
		if !service.Sleep(take, time.Until(slot.At)-lead) {
			finish(errNotCounted)
			return
		}
		crash.At("dispatch.after-slot")
		b := a.choose(a.d.Now(), messages, highOnly)
		b.regime = regime
		if len(b.items) == 0 { // what was waiting has expired or was cancelled
			finish(errNotCounted)
			a.o.Slots.Unused(take, slot)
			a.release(work, b)
			continue
		}
		a.attempts.Go(func() { a.attempt(work, b, slot, finish) })
	}
}

// slot asks for the next slot, and for how many messages it is good: refusals
// block the account.
func (a *account) slot(ctx context.Context) (slot ratelimit.Slot, messages int, err error) {
	a.mu.Lock()
	n, behind, urgent, most := 0, 0, 0, a.limit()
	for _, l := range a.lanes {
		if n += len(l.items); len(l.items) > 0 {
			behind += l.behind // there is always a request's worth in the pool, and never the backlog
		}
		if l.priority == envelope.High {
			urgent += len(l.items)
		}
	}
	if messages = most; a.o.Counted {
		messages = max(1, min(n, most))
	}
	if a.search != nil && a.search.idle {
		messages = max(messages, len(a.search.next()))
	}
	backlog := (n + behind + most - 1) / most
	ask, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	switch {
	case urgent > 0 && urgent <= most:
		backlog = 1 // who asks for one comes before those who lease for a backlog
	case urgent == 0 && backlog > 1:
		a.hasten = stop
	}
	a.mu.Unlock()
	slot, err = a.pace.next(ask, messages, backlog)
	for messages > 1 && a.farOff(err) {
		messages /= 2
		slot, err = a.pace.next(ask, messages, backlog)
	}
	a.mu.Lock()
	a.hasten = nil
	a.mu.Unlock()
	var paused *ratelimit.PausedError
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, errUrgent):
	case errors.As(err, &paused):
		a.block("rate", paused.Until)
	case errors.Is(err, ratelimit.ErrTooLarge): // a window takes less than a batch
		a.mu.Lock()
		a.ceiling = max(1, messages/2)
		a.mu.Unlock()
	default:
		// Without slots nothing is sent: slower, never over the limit.
		a.block(noRedis, a.d.Now().Add(250*time.Millisecond))
	}
	return slot, messages, err
}

// restless is how long a request may be made to wait for room in a counted window:
// a larger batch is worth a minute, but not the night. What is left of a day's
// allowance goes in smaller ones.
const restless = time.Minute

// farOff reports whether a limit that counts has no room for a request for longer
// than restless.
func (a *account) farOff(err error) bool {
	var full *ratelimit.PausedError
	return a.o.Counted && errors.As(err, &full) && full.Full && time.Until(full.Until) > restless
}

// limit is the most messages of a request right now. Callers hold mu.
func (a *account) limit() int {
	n := a.o.BatchSize
	if a.ceiling > 0 {
		n = min(n, a.ceiling)
	}
	if a.ramp > 0 {
		n = min(n, a.ramp)
	}
	return n
}

// waitReady blocks until there is something to send, nothing forbids it and a
// place in flight is free. highOnly: the free place is one of those reserved
// for high priority. It returns false when ctx is done.
func (a *account) waitReady(ctx context.Context) (highOnly, ok bool) {
	for {
		wait := a.readyIn(&highOnly)
		if wait <= 0 {
			return highOnly, ctx.Err() == nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return false, false
		case <-a.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// readyIn says how long to wait unless woken; 0: go.
func (a *account) readyIn(highOnly *bool) time.Duration {
	const untilWoken = time.Minute
	if a.j.Paused(a.o.Name) || a.j.Full() != "" {
		return 100 * time.Millisecond
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.d.Now()
	if d := a.blockedUntil.Sub(now); d > 0 {
		return d
	}
	reserve := 0
	if a.o.Concurrency > 1 {
		reserve = max(1, a.o.Concurrency/32) // more would cost use where a gateway takes its time
	}
	if a.inFlight >= a.o.Concurrency {
		return untilWoken
	}
	*highOnly = a.inFlight >= a.o.Concurrency-reserve
	if a.search != nil && a.search.idle && !*highOnly {
		return 0
	}
	wait := untilWoken
	for _, l := range a.lanes {
		if *highOnly && l.priority != envelope.High {
			continue
		}
		wait = min(wait, l.readyIn(now, a.limit(), a.o.Linger))
	}
	return wait
}

// refusal is the reason for which a gateway refuses the account as such, whatever
// it is sent; empty: it does not. A day's allowance that is used up comes as a 429
// and is no pacing: the account is ill until tomorrow, and others may carry what
// waits for it.
func refusal(class providers.Class, e *providers.Error) string {
	switch {
	case class == providers.Throttled && e.Need == providers.NeedQuota:
		return journal.IllQuota
	case class == providers.Misconfigured && e.Need == providers.NeedBalance:
		return journal.IllBalance
	case class == providers.Misconfigured:
		return journal.IllAccount
	}
	return ""
}

// after takes a request's class into account: what the whole account does next.
// usedUp is how long the limit is used up for by what an answer that was well says:
// the next request would be refused, so there is none, for everybody.
func (a *account) after(ctx context.Context, class providers.Class, e *providers.Error, usedUp time.Duration) {
	now := a.d.Now()
	wait := usedUp
	if e != nil {
		wait = e.RetryAfter
	}
	refused := refusal(class, e)
	switch {
	case refused != "":
		// Every further request would be refused, and some gateways lock an account
		// after five. Look again in a minute, or when the gateway says.
		a.d.Log.Error("account refused", "account", a.o.Name, "reason", refused, "status", e.Status, "code", e.Code, "detail", e.Detail)
		wait = max(wait, time.Minute)
		a.block(refused, now.Add(wait))
		a.found(refused, wait)
	case class == providers.Throttled || usedUp > 0:
		if class == providers.Throttled {
			wait = max(wait, time.Second)
		}
		if err := a.pace.pause(ctx, wait); err != nil {
			a.d.Log.Warn("pause not shared", "account", a.o.Name, "error", err)
		}
		a.block("rate", now.Add(wait))
	case class == providers.Unavailable:
		a.mu.Lock()
		a.failures++
		backoff := min(time.Second<<min(a.failures-1, 9), 5*time.Minute)
		a.mu.Unlock()
		a.block(unreachable, now.Add(max(wait, backoff/2+rand.N(backoff/2))))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch class {
	case providers.Unavailable, providers.Uncertain:
		a.ramp = 10 // small batches until it is known to work again
		if a.ill {
			a.ramp = 1
		}
	case providers.Accepted, providers.Rejected, providers.RejectedHere:
		a.refused = false
		if a.ill {
			a.ill = false
			a.found(journal.Well, 0)
		}
		a.failures, a.blockedSince, a.failing = 0, time.Time{}, time.Time{}
		if a.ramp *= 4; a.ramp >= a.o.BatchSize {
			a.ramp = 0
		}
	}
	if a.tripped.Swap(false) || refused != "" {
		a.ramp, a.ill = 1, true // the others know, and the next request is a probe
	}
	a.refused = a.refused || refused != ""
	a.d.Observer.Mode(a.o.Name, "account", a.refused)
	if e != nil {
		a.lastError = e.Error()
	}
}

func (a *account) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
