package ratelimit

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Local hands out the slots of one account within one process, without Redis,
// with the spacing, counts and errors of Slots. Safe for concurrent use.
//
// It guarantees the limits only while this process is the only one that sends
// for the account, and knows only what went through it: a count starts at zero.
type Local struct {
	o    Options
	plan plan

	mu     sync.Mutex
	pace   *rate.Limiter
	tally  []tally // one per plan.counts
	paused time.Time
}

// NewLocal returns the local slots of o.Account. The first is free at once:
// whoever takes over from Slots waits out the windows before.
func NewLocal(o Options) (*Local, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p, err := newPlan(o)
	if err != nil {
		return nil, err
	}
	return &Local{o: o, plan: p, pace: rate.NewLimiter(rate.Every(p.step), 1), tally: make([]tally, len(p.counts))}, nil
}

// Next is Slots.Next: same promises, same waiting, same errors but
// ErrUnavailable. One slot is taken at a time, whatever the backlog.
func (l *Local) Next(ctx context.Context, messages, _ int) (Slot, error) {
	if !l.plan.fits(messages) {
		return Slot{}, ErrTooLarge
	}
	return answer(ctx, l.o.Now, func() (Slot, time.Time, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.take(messages)
	})
}

// Ready is Slots.Ready: here slots are always to be had.
func (l *Local) Ready(context.Context) error { return nil }

// Unused does nothing: a slot that was taken and not used is lost.
func (l *Local) Unused(context.Context, Slot) {}

// Leave does nothing, and never fails: no slots are leased ahead here.
func (l *Local) Leave(context.Context) error { return nil }

// Pause stops the account for d; a longer pause stays. It never fails.
func (l *Local) Pause(_ context.Context, d time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if till := l.o.Now().Add(d); till.After(l.paused) {
		l.paused = till
	}
	return nil
}

// take books the next slot, if it lies within reach and every count has room.
func (l *Local) take(messages int) (Slot, time.Time, error) {
	now := l.o.Now()
	if now.Before(l.paused) {
		return Slot{}, time.Time{}, &PausedError{Until: l.paused}
	}
	r := l.pace.ReserveN(now, 1)
	at := now.Add(r.DelayFrom(now))
	if wake := at.Add(-l.o.Ahead); wake.After(now) {
		r.CancelAt(now)
		return Slot{}, wake, nil
	}
	for i, c := range l.plan.counts {
		if free := l.tally[i].free(c, c.weight(messages), at); free.After(at) {
			r.CancelAt(now)
			return Slot{}, free, nil
		}
	}
	for i, c := range l.plan.counts {
		l.tally[i].add(c, c.weight(messages), at)
	}
	return Slot{At: at, late: l.o.MaxLate, now: l.o.Now}, time.Time{}, nil
}

// tally is what a counted window holds, oldest first.
type tally []spent

// spent is how much was taken within one bucket, which counts until end.
type spent struct {
	from, end time.Time
	n         int
}

// free drops what has left the window at at, and returns the instant from which
// on weight more fits: at itself or earlier if it does now.
func (t *tally) free(c count, weight int, at time.Time) time.Time {
	for len(*t) > 0 && !(*t)[0].end.After(at) {
		*t = (*t)[1:]
	}
	over := weight - c.most
	for _, s := range *t {
		over += s.n
	}
	if over <= 0 {
		return at
	}
	for _, s := range *t {
		if over -= s.n; over <= 0 {
			return s.end
		}
	}
	return at
}

// add takes weight at at.
func (t *tally) add(c count, weight int, at time.Time) {
	from, end := c.bucket(at)
	if n := len(*t); n > 0 && !(*t)[n-1].from.Before(from) {
		(*t)[n-1].n += weight
		return
	}
	*t = append(*t, spent{from: from, end: end, n: weight})
}

// bucket is the start of the bucket that at falls into, and the end of what it
// counts for. What is taken close before midnight counts for the day after too.
func (c count) bucket(at time.Time) (from, end time.Time) {
	if c.zone == nil {
		from = at.Truncate(c.width)
		return from, from.Add(time.Duration(c.span) * c.width)
	}
	m := c.midnights(at)
	today, tomorrow, after := m[1], m[2], m[3]
	if near := tomorrow.Add(-clockSkew); !at.Before(near) {
		return near, after.Add(clockSkew)
	}
	return today, tomorrow.Add(clockSkew)
}
