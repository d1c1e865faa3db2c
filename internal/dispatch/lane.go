package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// lane is one priority of one tenant: a consumer of the account's queue, and a
// pool of what it brought that waits for a request.
type lane struct {
	a        *account
	priority envelope.Priority
	tenant   string
	room     chan struct{} // the pool has shrunk
	fullFor  time.Duration // the last such wait; the reader's own

	// Guarded by account.mu.
	items  []item
	used   float64   // requests that it has had, or its shares of them
	held   []*held   // pieces handed out to us and not settled, in no order
	full   time.Time // until when the queues of other accounts are left alone: one was full
	behind int       // pieces that were in the queue behind the last one that came
	grew   time.Time // when the pool last grew

	// The reader's own, made once.
	keys  []idempotency.Key
	free  []item
	group string    // of the last message
	kept  time.Time // when what was read ahead was last kept
}

func newLane(a *account, p envelope.Priority, tenant string) *lane {
	return &lane{a: a, priority: p, tenant: tenant, room: make(chan struct{}, 1)}
}

// hold adds a piece to those that are held. Callers hold account.mu.
func (l *lane) hold(h *held) {
	h.place = len(l.held)
	l.held = append(l.held, h)
}

// release takes a piece off those that are held: the last one moves to its place.
// Callers hold account.mu.
func (l *lane) release(h *held) {
	last := len(l.held) - 1
	l.held[h.place] = l.held[last]
	l.held[h.place].place = h.place
	l.held[last] = nil
	l.held = l.held[:last]
}

// consumer is the name of the lane's durable consumer.
func (l *lane) consumer() string { return string(l.priority) + "-" + l.tenant }

// urgentAckWait is the most that urgent messages wait for others after their
// dispatcher died: a code is worth nothing later. A process that stands still for
// longer than that finds them sent by another, which costs it an intent at worst.
const urgentAckWait = 4 * time.Second

// ackWait is how long the bus leaves a piece with a dispatcher of which nothing is heard.
func (l *lane) ackWait() time.Duration {
	if l.priority == envelope.High {
		return min(urgentAckWait, l.a.d.AckWait)
	}
	return l.a.d.AckWait
}

// keepEvery is how often it hears of what is still wanted.
func (l *lane) keepEvery() time.Duration { return l.ackWait() / 3 }

// keep starts the ack wait of every held piece anew, until ctx is done. It waits for
// nothing else: whatever the other parts of an account wait for, what they hold stays
// theirs.
func (l *lane) keep(ctx context.Context) {
	tick := time.NewTicker(l.keepEvery())
	defer tick.Stop()
	var msgs []*bus.Msg
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.a.mu.Lock()
		for _, h := range l.held {
			msgs = append(msgs, h.msg)
		}
		l.a.mu.Unlock()
		for _, m := range msgs {
			_ = m.InProgress() // at worst the message comes again
		}
		clear(msgs)
		msgs = msgs[:0]
	}
}

// patience is how long a lane keeps messages for an account that cannot send,
// before it hands them back. Without Redis it is short, as the others may have it:
// shorter than their silence by which this process would think that they have not.
func (l *lane) patience(why string) time.Duration {
	if l.priority == envelope.High || why == noRedis {
		return time.Second
	}
	return 5 * time.Second
}

// moveAfter is how long queued messages wait for a stuck account before they go
// to the next one of their route.
func (l *lane) moveAfter() time.Duration {
	if l.priority == envelope.High {
		return min(1800*time.Millisecond, l.a.d.MoveAfter) // with finding it out, and the way, 2 s
	}
	return l.a.d.MoveAfter
}

// run reads the lane until take is done. While the account is stuck it hands
// back what it has and reads only to move messages to other accounts.
func (l *lane) run(take, work context.Context) {
	for take.Err() == nil {
		if !l.waitOpen(take) {
			break
		}
		if err := l.read(take, work); err != nil && take.Err() == nil {
			l.a.d.Log.Warn("lane interrupted", "account", l.a.o.Name, "priority", string(l.priority), "tenant", l.tenant, "error", err)
			service.Sleep(take, 250*time.Millisecond)
		}
		l.handBack(anyPiece)
	}
}

// waitOpen blocks while the account is stuck and nothing may move yet. What comes back
// from requests meanwhile is handed back, too: others may be the ones to send it.
func (l *lane) waitOpen(ctx context.Context) bool {
	for {
		if since, why := l.a.stuck(); !l.a.resting() && (since.IsZero() || l.moving() || l.a.d.Now().Sub(since) < l.patience(why)) {
			return ctx.Err() == nil
		}
		l.handBack(anyPiece)
		if !service.Sleep(ctx, 100*time.Millisecond) {
			return false
		}
	}
}

// resting reports whether others, or nobody, are to send this account's messages:
// it is paused, or another dispatcher sends alone. Reading the queue then would
// only keep them from it.
func (a *account) resting() bool {
	sender := a.j.Sender(a.o.Name)
	return a.j.Paused(a.o.Name) || (sender != "" && sender != a.j.Owner())
}

// moving reports whether the lane's messages should go elsewhere by now.
func (l *lane) moving() bool {
	l.a.mu.Lock()
	full := l.full
	l.a.mu.Unlock()
	return !l.a.d.Now().Before(full) && l.a.left(l.moveAfter())
}

func (l *lane) read(take, work context.Context) error {
	p, err := l.a.b.Pull(take, bus.Consumer{
		Stream: l.a.queue, Name: l.consumer(), AckWait: l.ackWait(), MaxPending: 100_000,
		Filters:  []string{bus.QueueSubject(l.a.o.Name, string(l.priority), l.tenant)},
		Prefetch: min(unread, l.a.ahead()), PrefetchBytes: 4 << 20,
	})
	if err != nil {
		return err
	}
	defer p.Stop()
	ctx, stop := context.WithCancel(take)
	defer stop()
	watch := make(chan struct{})
	go func() { // ends the reading when the account gets stuck
		defer close(watch)
		for moved := false; service.Sleep(ctx, 100*time.Millisecond); {
			moving := l.moving()
			switch {
			case moving && !moved: // what waits here goes with the others
				l.handBack(anyPiece)
			case moving: // and so does what comes back from a request
				l.handBack(hasRoute)
			}
			moved = moving
			if since, why := l.a.stuck(); l.a.resting() || (!since.IsZero() && !moving && l.a.d.Now().Sub(since) >= l.patience(why)) {
				stop()
			}
		}
	}()
	defer func() { stop(); <-watch }()
	each := float64(min(l.a.o.BatchSize, envelope.MaxPiece)) // messages in a piece, of late; the first ones may be whole requests
	for l.waitRoom(ctx, p) {
		p.Ahead(int(float64(l.a.ahead()) / each))
		m, err := p.Next(ctx)
		if err != nil {
			return ignoreDone(ctx, err)
		}
		each += (float64(l.take(work, m)) - each) / 8
	}
	return nil
}

func ignoreDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

const (
	unread = 2000 // most pieces that a lane has asked for and not read
	pooled = 1000 // messages that a pool may hold however small the requests are, if they leave that fast
)

// ahead is how many messages a lane asks the bus for before it has room for them:
// what the account can send in a quarter of a second, and a request's worth at least. With
// less, requests wait for the bus; with more, a small backlog is kept from the other
// dispatchers, and what a dead one had asked for waits for its ack wait.
func (a *account) ahead() int {
	n := a.o.Rate * float64(a.o.BatchSize)
	if a.o.MessageRate > 0 && (n == 0 || n > a.o.MessageRate) {
		n = a.o.MessageRate
	}
	if n == 0 { // no limit is known
		return max(a.o.BatchSize, pooled)
	}
	return max(a.o.BatchSize, int(n/4))
}

// waitRoom blocks while the pool holds two requests' worth, or more where small
// requests leave fast: reader and chooser would wait for each other all the time.
// What was read ahead is kept meanwhile.
func (l *lane) waitRoom(ctx context.Context, p *bus.Puller) bool {
	for {
		l.a.mu.Lock()
		full := len(l.items) >= max(2*l.a.o.BatchSize, min(pooled, l.a.ahead()))
		l.a.mu.Unlock()
		if !full {
			return ctx.Err() == nil
		}
		if !l.roomOrKeep(ctx, p) {
			return false
		}
	}
}

// roomOrKeep waits until the pool has shrunk, or what was read ahead was kept once
// more.
func (l *lane) roomOrKeep(ctx context.Context, p *bus.Puller) bool {
	t := time.NewTimer(time.Until(l.kept.Add(l.keepEvery())))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-l.room:
	case <-t.C:
		l.kept = time.Now()
		p.Keep()
	}
	return true
}

// take puts a piece into the pool, or deals with it at once if there is nothing
// to send in it. It returns how many messages the piece has.
func (l *lane) take(ctx context.Context, m *bus.Msg) (messages int) {
	h := &held{l: l, msg: m}
	if err := envelope.DecodePiece(m.Data, &h.p); err != nil || h.p.Check() != nil || h.p.Tenant != l.tenant {
		l.a.poison(ctx, m, err)
		return 1
	}
	h.locate()
	m.Data, m.Header, m.Subject = nil, nil, "" // half of what a held piece would take
	free := l.a.screen(ctx, h)
	if l.moving() {
		if free = l.moveAll(ctx, h, free); len(free) > 0 && l.probed() {
			h.foreign, h.crowded, free = true, true, nil // it must not stand in the way of those that can move
		}
	}
	crash.At("dispatch.after-fetch")
	l.name(h, free)
	a := l.a
	a.mu.Lock()
	first := len(l.items) == 0
	l.behind, l.grew = int(m.Pending), a.d.Now()
	if h.left = len(free); h.left > 0 {
		l.hold(h)
		l.items = append(l.items, free...)
		if l.priority == envelope.High && a.hasten != nil {
			a.hasten(errUrgent)
		}
	}
	worth := first || l.readyIn(l.grew, a.limit(), a.o.Linger) <= 0 // whoever waits for the first knows when to look again
	a.mu.Unlock()
	if len(free) == 0 {
		a.settle(h)
	} else if worth {
		a.signal()
	}
	return len(h.p.Messages)
}

// name sets the group keys of a piece's messages. Those of one SMS without a
// template share sender, text and expiry, and so the key.
func (l *lane) name(h *held, items []item) {
	each := h.p.Template || h.p.Channel != ""
	if each && len(h.p.Messages) > 1 {
		h.groups = make([]string, len(h.p.Messages))
	}
	for i, it := range items {
		if i == 0 || each {
			pm := it.provider()
			if key := l.a.o.Provider.GroupKey(&pm); key != l.group {
				l.group = key
			}
		}
		if h.groups == nil {
			h.group = l.group // the same string for those that follow, if they share it
			return
		}
		h.groups[it.i] = l.group
	}
}

// readyIn says how long this lane wants to wait before it is worth a request: not
// at all when a request would be full, when nothing more is behind, or for high
// priority; else until it stopped growing for the linger time. Callers hold
// account.mu.
func (l *lane) readyIn(now time.Time, batch int, linger time.Duration) time.Duration {
	switch {
	case len(l.items) == 0:
		return time.Minute
	case len(l.items) >= batch || l.behind == 0 || l.priority == envelope.High:
		return 0
	}
	linger += linger * time.Duration(batch) / 1000 // a large request takes longer to fill
	return max(0, linger-now.Sub(l.grew))
}

// probed reports whether the pool has what a request needs: while others move, what
// cannot is only there to find out whether the account is well again.
func (l *lane) probed() bool {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	return len(l.items) >= l.a.limit()
}

func anyPiece(*held) bool   { return true }
func hasRoute(h *held) bool { return len(h.p.Route) > 0 }

// handBack returns the pieces that which says of and that have no message in a request.
func (l *lane) handBack(which func(*held) bool) {
	a := l.a
	a.mu.Lock()
	var back []*held
	for i := len(l.held) - 1; i >= 0; i-- { // the last one moves to where one was released
		if h := l.held[i]; h.flying == 0 && which(h) {
			back = append(back, h)
			l.release(h)
		}
	}
	keep := l.items[:0]
	for _, it := range l.items {
		if it.h.flying > 0 || !which(it.h) {
			keep = append(keep, it)
		}
	}
	clear(l.items[len(keep):])
	l.items = keep
	a.mu.Unlock()
	for _, h := range back {
		if err := h.msg.Nak(0); err != nil && !errors.Is(err, context.Canceled) {
			a.d.Log.Debug("not handed back", "account", a.o.Name, "error", err)
		}
	}
}
