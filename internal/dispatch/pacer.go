package dispatch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// pacer decides by which slots an account sends: those that Redis hands out to
// all dispatchers, or, while Redis is gone for everybody, those that one
// dispatcher hands out to itself.
//
// Which of the two holds is a record in the journal: it names the single sender,
// and intents of others are void from that place on. So an intent's own coming
// back tells whether it was written under the right regime, and no clock or lease
// takes part. A new regime waits until what was granted under the old one has
// left the window.
type pacer struct {
	a *account

	mu     sync.Mutex
	known  bool
	seen   string    // the single sender, up to where the watcher got: the journal may be a step ahead
	from   time.Time // when the regime may begin
	turns  uint64    // changes of the regime that were read
	others time.Time // when another dispatcher's intent was last seen
	down   time.Time // since when Redis has not answered us; zero: it does
	probed time.Time // when the single sender last asked Redis
}

const (
	silence    = 3 * time.Second  // of Redis and of all others, before somebody sends alone
	probeEvery = time.Second      // how often the single sender asks for Redis
	longAgo    = 30 * time.Second // records older than this need no waiting
)

// errNotSender says that another dispatcher is the single sender right now.
var errNotSender = errors.New("dispatch: another dispatcher sends alone while Redis is gone")

// watch is a journal.Watcher.
func (p *pacer) watch(_ uint64, at time.Time, r *idempotency.Record, e *idempotency.Effect) {
	if r.Account != p.a.o.Name {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.Kind {
	case idempotency.Intent:
		if r.Owner != p.a.j.Owner() {
			p.others = time.Now()
		}
	case idempotency.Sender:
		// Also one that came too late, or was in the checkpoint that we began with:
		// waiting is always right.
		p.turns++
		if p.known || time.Since(at) < longAgo {
			p.from = time.Now().Add(p.a.o.Hold)
		}
		if p.known && e.Acted > 0 {
			p.seen = r.Sender
		}
	}
}

// next returns the next slot under the regime in force.
func (p *pacer) next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error) {
	sender := p.a.j.Sender(p.a.o.Name)
	p.mu.Lock()
	if !p.known { // what comes from here on is news, whatever the clocks say
		p.known, p.seen = true, sender
	}
	from, seen := p.from, p.seen
	p.mu.Unlock()
	if sender != seen { // the watcher is about to say when the new regime begins
		return ratelimit.Slot{}, &ratelimit.PausedError{Until: time.Now().Add(10 * time.Millisecond)}
	}
	if wait := time.Until(from); wait > 0 {
		return ratelimit.Slot{}, &ratelimit.PausedError{Until: from}
	}
	switch sender {
	case "":
		slot, err := p.a.o.Slots.Next(ctx, messages, backlog)
		if !errors.Is(err, errUrgent) {
			p.answered(!errors.Is(err, ratelimit.ErrUnavailable) || quarantined(err))
		}
		return slot, err
	case p.a.j.Owner():
		p.lookForRedis(ctx)
		return p.a.o.Alone.Next(ctx, messages, backlog)
	}
	return ratelimit.Slot{}, errNotSender
}

// regime numbers the regime in force, as far as the journal was read. A slot is
// good under the regime that granted it: whoever waits for one compares.
func (p *pacer) regime() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turns
}

// ready asks Redis whether it grants slots, without taking one.
func (p *pacer) ready(ctx context.Context) bool {
	err := p.a.o.Slots.Ready(ctx)
	if ctx.Err() == nil {
		p.answered(!errors.Is(err, ratelimit.ErrUnavailable) || quarantined(err))
	}
	return err == nil
}

// leave gives Redis's slots that are leased and not needed to the others.
func (p *pacer) leave(ctx context.Context) {
	if err := p.a.o.Slots.Leave(ctx); err != nil {
		p.a.d.Log.Debug("slots not given up", "account", p.a.o.Name, "error", err)
	}
}

// pause stops the account for everybody who can hear of it.
func (p *pacer) pause(ctx context.Context, d time.Duration) error {
	if p.a.o.Alone != nil {
		_ = p.a.o.Alone.Pause(ctx, d) // in memory: it cannot fail
	}
	return p.a.o.Slots.Pause(ctx, d)
}

// quarantined: Redis is there, and not sure yet what it knows.
func quarantined(err error) bool {
	var q *ratelimit.QuarantineError
	return errors.As(err, &q)
}

func (p *pacer) answered(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes {
		p.down = time.Time{}
	} else if p.down.IsZero() {
		p.down = time.Now()
	}
}

// lookForRedis goes back to Redis's slots once it grants them again.
func (p *pacer) lookForRedis(ctx context.Context) {
	p.mu.Lock()
	due := time.Since(p.probed) >= probeEvery
	if due {
		p.probed = time.Now()
	}
	p.mu.Unlock()
	if !due {
		return
	}
	if p.ready(ctx) {
		p.declare(ctx, p.a.j.Owner(), "")
	}
}

// consider is asked once a second. It declares this dispatcher the single sender
// if Redis has been silent and nobody else has sent for some seconds, though
// there is something to send; and it ends the reign of one that fell silent.
// A dispatcher that alone has lost Redis sees the others' intents, and idles.
func (p *pacer) consider(ctx context.Context) {
	if p.a.o.Alone == nil {
		return // a limit that counts: alone it would begin at zero
	}
	p.mu.Lock()
	sender := p.a.j.Sender(p.a.o.Name)
	down := !p.down.IsZero() && time.Since(p.down) >= silence
	quiet := time.Since(p.others) >= silence && time.Since(p.from) >= silence // nobody could send before from
	p.mu.Unlock()
	me := p.a.j.Owner()
	if sender == me {
		p.lookForRedis(ctx)
		return
	}
	if !quiet || (sender == "" && !down) || !p.a.anythingWaits(ctx) {
		return
	}
	if sender != "" && p.ready(ctx) {
		p.declare(ctx, sender, "")
		return
	}
	p.declare(ctx, sender, me)
}

// declare changes the regime, unless somebody else has just done so.
func (p *pacer) declare(ctx context.Context, was, sender string) {
	_, effect, err := p.a.j.Append(ctx, idempotency.Record{Kind: idempotency.Sender, Account: p.a.o.Name, Was: was, Sender: sender})
	if err == nil && effect.Acted == 0 {
		return
	}
	crash.At("dispatch.after-mode")
	if err != nil {
		p.a.d.Log.Warn("sending mode not changed", "account", p.a.o.Name, "error", err)
		return
	}
	p.a.d.Log.Warn("sending mode changed", "account", p.a.o.Name, "alone", sender != "", "sender", sender)
}

// degraded reports whether the account has a single sender.
func (p *pacer) degraded() bool {
	return p.a.j.Sender(p.a.o.Name) != ""
}

// anythingWaits looks for messages here and in the queue.
func (a *account) anythingWaits(ctx context.Context) bool {
	a.mu.Lock()
	n := 0
	for _, l := range a.lanes {
		n += len(l.items)
	}
	a.mu.Unlock()
	if n > 0 {
		return true
	}
	return slices.ContainsFunc(a.lanes, func(l *lane) bool { return l.queued(ctx) })
}

// queued looks for messages in the queue. A lane without a consumer was never read, or
// has lost it: then whatever is there may wait, and who rests would never find out.
func (l *lane) queued(ctx context.Context) bool {
	waiting, unsettled, err := l.a.b.Backlog(ctx, l.a.queue, l.consumer())
	if errors.Is(err, bus.ErrNotFound) {
		_, err := l.a.b.First(ctx, l.a.queue, bus.QueueSubject(l.a.o.Name, string(l.priority), l.tenant), 1)
		return err == nil
	}
	return err == nil && waiting+uint64(unsettled) > 0
}
