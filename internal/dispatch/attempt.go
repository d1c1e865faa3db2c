package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

var (
	errLeaseOver = errors.New("dispatch: the lease on these messages is over")
	errExpired   = errors.New("dispatch: expired before it left")
	errRegime    = errors.New("dispatch: the slot is of a mode that is over")
	errProved    = errors.New("dispatch: a message was sent by an earlier attempt")
)

// attempt carries one batch from intent to acks.
type attempt struct {
	a      *account
	batch  batch
	items  []item // what the intent won
	all    int    // messages of the intent, won or not
	pos    []uint32
	seq    uint64 // the intent
	asked  time.Time
	proofs uint64      // that the journal had when the intent was asked for
	finish func(error) // ends the breaker's turn

	optOuts []string                // numbers that the answer says want nothing any more
	told    []envelope.EventMessage // of items, as far as it is known before the outcome
	waiting atomic.Bool             // the request is ready and waits for its slot
}

func (a *account) attempt(ctx context.Context, b batch, slot ratelimit.Slot, finish func(error)) {
	a.closeExpired(ctx, b.expired)
	defer a.landed()
	t := &attempt{a: a, batch: b, finish: finish}
	if !t.intend(ctx) {
		finish(errNotCounted)
		a.o.Slots.Unused(ctx, slot)
		t.searched(ctx, nil)
		return
	}
	results, err := t.send(ctx, slot)
	crash.At("dispatch.after-answer")
	if t.local(err) {
		finish(errNotCounted)
	} else {
		t.account(ctx, results, err)
	}
	t.conclude(ctx, results, err)
}

// start is asked before the request's first byte leaves, when all of it is ready
// and its connection is there: however long a large request took to write, it
// leaves in its slot.
func (t *attempt) start(ctx context.Context, slot ratelimit.Slot) error {
	t.waiting.Store(true)
	if err := t.await(ctx, slot); err != nil {
		return err
	}
	// The intent's coming back brought every change of the mode before it.
	if t.a.pace.regime() != t.batch.regime {
		return errRegime
	}
	if !t.timely() {
		return errExpired
	}
	t.waiting.Store(false)
	crash.At("dispatch.before-first-byte")
	t.a.mu.Lock()
	t.a.requests++
	t.a.mu.Unlock()
	return nil
}

// local reports whether a failure is our own and says nothing about the gateway:
// the request ended while it waited for its slot, was held back at its end, or gave
// its slot to what had to come first.
func (t *attempt) local(err error) bool {
	if err == nil {
		return false
	}
	return t.waiting.Load() || errors.Is(err, errLeaseOver) || errors.Is(err, errProved) || errors.Is(err, providers.ErrAgain)
}

// landed gives the place in flight back.
func (a *account) landed() {
	a.mu.Lock()
	a.inFlight--
	a.mu.Unlock()
	a.signal()
}

// intend writes the intent and keeps what it won. Messages that somebody else
// has or had are given up; they come again if need be.
func (t *attempt) intend(ctx context.Context) bool {
	a, items := t.a, t.batch.items
	if a.j.Full() != "" {
		a.block(noJournal, a.d.Now().Add(time.Second))
		a.back(items)
		return false
	}
	placed := make([]idempotency.PlacedKey, len(items))
	for i, it := range items {
		placed[i] = it.placed()
	}
	crash.At("dispatch.before-intent")
	t.proofs = a.j.Proofs()
	t.asked = time.Now()
	bounded, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	seq, effect, err := a.j.Append(bounded, idempotency.Record{
		Kind: idempotency.Intent, Account: a.o.Name, Spans: idempotency.Spans(placed), LeaseMillis: leaseOf(a.o.Timeout).Milliseconds(),
	})
	if err != nil {
		a.d.Log.Warn("no intent, nothing sent", "account", a.o.Name, "messages", len(items), "error", err)
		a.notWritten()
		a.abandon(items)
		return false
	}
	t.seq, t.all = seq, len(items)
	crash.At("dispatch.after-intent")
	if len(effect.Lost) == 0 {
		t.items = items
		return true
	}
	lost := positions(effect.Lost)
	var gone []item
	for i, it := range items {
		if _, ok := lost[uint32(i)]; ok {
			gone = append(gone, it)
			continue
		}
		t.items, t.pos = append(t.items, it), append(t.pos, uint32(i))
	}
	a.abandon(gone)
	return len(t.items) > 0
}

// position of the i-th won message in the intent.
func (t *attempt) position(i int) uint32 {
	if t.pos == nil {
		return uint32(i)
	}
	return t.pos[i]
}

// won is the place in items of the message at a position of the intent; -1: it is
// another's.
func (t *attempt) won(pos uint32) int {
	if t.pos == nil && int(pos) < len(t.items) {
		return int(pos)
	}
	if i, ok := slices.BinarySearch(t.pos, pos); ok {
		return i
	}
	return -1
}

// await sleeps until a usable slot. One that was missed is given up for the
// next, as long as the lease has room: nothing has left by then.
func (t *attempt) await(ctx context.Context, slot ratelimit.Slot) error {
	for {
		if err := slot.Wait(ctx); err != nil {
			return err
		}
		if slot.Usable(time.Now()) {
			return ctx.Err() // nobody would read the answer
		}
		t.a.o.Slots.Unused(ctx, slot)
		if !mayStart(time.Since(t.asked)) {
			return errLeaseOver
		}
		t.batch.regime = t.a.pace.regime()
		var err error
		if slot, err = t.anew(ctx); err != nil {
			return err
		}
	}
}

// anew asks for another slot: together with the others that missed theirs, in one
// call, unless it is urgent.
func (t *attempt) anew(ctx context.Context) (ratelimit.Slot, error) {
	together := int(t.a.missing.Add(1))
	defer t.a.missing.Add(-1)
	if t.items[0].h.l.priority == envelope.High {
		together = 1
	}
	return t.a.pace.next(ctx, len(t.items), together)
}

// timely reports, in the instant before the request, whether no message's time
// has run out since it was chosen. If one has, all go back and are chosen anew.
func (t *attempt) timely() bool {
	now := t.a.d.Now()
	for _, it := range t.items {
		if !it.h.p.ExpiresAt.After(now) {
			return false
		}
	}
	return true
}

// send makes the request, whose first byte leaves within the slot.
func (t *attempt) send(ctx context.Context, slot ratelimit.Slot) ([]providers.Result, error) {
	a := t.a
	b := &providers.Batch{ID: journal.BatchID(a.j.Epoch(), t.seq), Messages: make([]providers.Message, len(t.items)), Fence: t.fence}
	t.told = t.eventMessages()
	for i, it := range t.items {
		b.Messages[i] = it.as(t.told[i].ID)
	}
	if a.o.Callback != nil && a.o.Provider.Limits().CallbackURL {
		b.CallbackURL = a.o.Callback(b.ID)
	}
	ctx, end := a.d.Observer.Attempt(ctx, Attempt{Account: a.o.Name, Type: a.o.Type, Batch: b.ID, Messages: t.told})
	ctx, cancel := context.WithTimeout(ctx, a.o.Timeout)
	defer cancel()
	b.Start = func() error { return t.start(ctx, slot) }
	results, err := a.request(ctx, b)
	if err == nil && len(results) != len(b.Messages) {
		err = &providers.Error{Class: providers.Uncertain, Detail: fmt.Sprintf("%d results for %d messages", len(results), len(b.Messages))}
	}
	class, accepted := overall(results, err)
	end(class, accepted)
	return results, err
}

func (t *attempt) eventMessages() []envelope.EventMessage {
	out := make([]envelope.EventMessage, len(t.items))
	for i, it := range t.items {
		out[i] = journal.EventMessage(&it.h.p, it.msg())
	}
	return out
}

// overall sums a request up for breaker, metrics and spans.
func overall(results []providers.Result, err error) (class providers.Class, accepted int) {
	if e := failure(err); e != nil {
		return e.Class, 0
	}
	class = providers.Accepted
	for _, r := range results {
		if r.Class == providers.Accepted {
			accepted++
		} else if r.Class == providers.Uncertain {
			class = providers.Uncertain
		}
	}
	return class, accepted
}

// failure returns err as the adapters' error; whatever is not one says nothing
// and is uncertain.
func failure(err error) *providers.Error {
	if err == nil {
		return nil
	}
	var e *providers.Error
	if errors.As(err, &e) {
		return e
	}
	return &providers.Error{Class: providers.Uncertain, Err: err}
}

// account lets the whole account learn from the answer.
func (t *attempt) account(ctx context.Context, results []providers.Result, err error) {
	class, _ := overall(results, err)
	e := failure(err)
	switch class {
	case providers.Unavailable, providers.Uncertain:
		t.finish(fmt.Errorf("%s", class))
	case providers.Throttled, providers.Misconfigured:
		t.finish(errNotCounted)
	default:
		t.finish(nil)
	}
	t.a.after(ctx, class, e, usedUp(results))
	t.a.d.Observer.Request(t.a.o.Name, class)
}

// usedUp is how long the gateway says that its limit is used up for, beside an
// answer that is well.
func usedUp(results []providers.Result) (wait time.Duration) {
	for i := range results {
		if results[i].Class == providers.Accepted {
			wait = max(wait, results[i].RetryAfter)
		}
	}
	return wait
}

// conclude records the outcome, tells it, and only then lets go of the messages.
func (t *attempt) conclude(ctx context.Context, results []providers.Result, err error) {
	a := t.a
	vs, detail := t.verdicts(results, failure(err))
	rec := idempotency.Record{Kind: idempotency.Outcome, Account: a.o.Name, Owes: true, Intent: t.seq, Runs: t.runs(vs)}
	class, _ := overall(results, err)
	rec.Class = class.String()
	rec.Detail = detail.Append(nil)
	seq, effect, aerr := a.persist(ctx, rec)
	if errors.Is(aerr, bus.ErrTooLarge) {
		a.d.Log.Error("outcome recorded without what the gateway said of each message: it is too large", "account", a.o.Name, "batch", journal.BatchID(a.j.Epoch(), t.seq), "bytes", len(rec.Detail))
		rec.Detail = detail.Short().Append(nil)
		seq, effect, aerr = a.persist(ctx, rec)
	}
	if aerr != nil { // the messages come again and others call them uncertain
		a.d.Log.Error("outcome not recorded", "account", a.o.Name, "batch", journal.BatchID(a.j.Epoch(), t.seq), "messages", len(t.items), "error", aerr)
		a.abandon(t.items)
		return
	}
	t.log(rec.Class, failure(err))
	crash.At("dispatch.after-outcome")
	vs, complete := t.keep(ctx, vs, effect)
	if !complete {
		defer t.searched(ctx, nil)
	}
	if !a.tell(ctx, t.events(seq, vs, detail, effect)) {
		a.abandon(t.items)
		return
	}
	crash.At("dispatch.after-events")
	t.follow(ctx, seq, vs, detail)
	if complete {
		t.searched(ctx, vs)
	}
}

// persist appends an outcome, trying until the drain time is over: without it
// the messages would become uncertain although we know better. What is too large will
// not be smaller the next time.
func (a *account) persist(ctx context.Context, rec idempotency.Record) (uint64, idempotency.Effect, error) {
	for {
		seq, effect, err := a.j.Append(ctx, rec)
		if err == nil || errors.Is(err, bus.ErrTooLarge) || !service.Sleep(ctx, 200*time.Millisecond) {
			return seq, effect, err
		}
	}
}

// tell publishes events, trying until the drain time is over.
func (a *account) tell(ctx context.Context, events []envelope.Event) bool {
	for {
		err := journal.Tell(ctx, a.b, events)
		if err == nil {
			for i := range events {
				a.d.Observer.Messages(a.o.Name, events[i].Status, len(events[i].Messages))
			}
			return true
		}
		a.d.Log.Warn("events not stored yet", "account", a.o.Name, "error", err)
		if !service.Sleep(ctx, 200*time.Millisecond) {
			return false
		}
	}
}

func (t *attempt) log(class string, e *providers.Error) {
	attrs := []any{"account", t.a.o.Name, "batch", journal.BatchID(t.a.j.Epoch(), t.seq), "messages", len(t.items), "class", class,
		"elapsed_ms", time.Since(t.asked).Milliseconds(), "envelope", t.items[0].h.p.ID, "tenant", t.items[0].h.p.Tenant}
	if e != nil {
		attrs = append(attrs, "status", e.Status, "code", e.Code, "detail", e.Detail)
		if e.Err != nil { // adapters' errors quote nothing of a request or an answer: their suite sees to it
			attrs = append(attrs, "error", e.Err)
		}
		if errors.Is(e, providers.ErrAgain) {
			t.a.d.Log.Info("request made way", attrs...)
			return
		}
		t.a.d.Log.Warn("request failed", attrs...)
		return
	}
	t.a.d.Log.Info("request done", attrs...)
}

func cause(seq uint64) string { return "j" + strconv.FormatUint(seq, 10) }
