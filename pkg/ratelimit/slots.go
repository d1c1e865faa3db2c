package ratelimit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed slots.lua
var grantSource string

// pauseSource moves the end of the pause to ARGV[1] microseconds from now,
// never back.
const pauseSource = `
local t = redis.call('TIME')
local till = tonumber(t[1]) * 1000000 + tonumber(t[2]) + tonumber(ARGV[1])
if till > tonumber(redis.call('HGET', KEYS[1], 'pause') or 0) then
  redis.call('HSET', KEYS[1], 'pause', string.format('%.0f', till))
end
return 0`

// What the grant script may answer.
const (
	codeGranted = iota
	codeEarly
	codeFull
	codePaused
	codeQuarantined
)

// discards is how many leases in a row may be too slow to be exact before Next
// says so. The first call of a connection often is.
const discards = 3

// Slots hands out the request slots of one account, unique over all processes
// that share the Redis. Safe for concurrent use.
//
// Guaranteed: no half-open window holds more requests or messages than its
// limit, whatever processes join, leave or die, if they start requests only
// while their slots are Usable. A clock of Redis that goes back stalls, one that
// jumps ahead is noticed by whoever holds leases and quarantines the account, and
// so does a Redis that is new, restarted, failed over or flushed: it grants
// nothing for 2 s, the longest window up to a minute, and the lease-ahead.
//
// Not guaranteed: windows over a minute survive only as Redis does. A flushed
// Redis has forgotten what the hour or the day has used, and grants the full
// count once more within it (one whose clock jumps ahead skips as much of it);
// the pause after a 429 is forgotten too. A clock that jumps ahead by less than
// a few round trips goes unnoticed. Slots that a process took to its death are
// lost.
//
// An account whose limits are all spaced (requests, windows up to a minute)
// costs about 13 calls a second and busy process, whatever the rate: 75 ms of
// slots are leased in one. With counted limits (messages, longer windows) each
// slot is a call of its own, because a leased slot nobody uses would have used
// up the count: 30 µs of Redis each.
type Slots struct {
	rdb          redis.UniversalClient
	o            Options
	plan         plan
	grant, pause *redis.Script
	keys         []string

	lock chan struct{} // holds one token; a mutex that honours contexts
	// The rest belongs to the holder of lock.
	kept    []Slot    // leased for the next calls, earliest first
	lot     int64     // the number of the last lease ...
	unused  int64     // ... and the instant from which on nobody uses it; Redis is told in the next call
	next    time.Time // no slot before this is free, as far as we know
	paused  time.Time // what this process was told; Redis may know of a longer pause
	reset   bool      // the next call shall put the account into quarantine
	prev    time.Time // when the last answered call was sent ...
	clock   int64     // ... and Redis's clock at it, in microseconds
	answers bool      // there has been one
}

// New returns the slots of o.Account. It calls nobody yet. The client must have
// ContextTimeoutEnabled: without it a stalled Redis would hold callers for the
// client's own read timeouts and retries.
func New(rdb redis.UniversalClient, o Options) (*Slots, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if !honoursContexts(rdb) {
		return nil, errors.New("ratelimit: the Redis client must have ContextTimeoutEnabled")
	}
	p, err := newPlan(o)
	if err != nil {
		return nil, err
	}
	state := "{tuma:slots:" + o.Account + "}" // one hash tag: one script needs one node
	s := &Slots{
		rdb: rdb, o: o, plan: p, keys: []string{state}, lock: make(chan struct{}, 1),
		grant: redis.NewScript(grantSource), pause: redis.NewScript(pauseSource),
	}
	for _, c := range p.counts {
		s.keys = append(s.keys, state+":"+c.name)
	}
	return s, nil
}

func honoursContexts(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	}
	return true // somebody's own wrapping: theirs to know
}

// Next answers with the next slot for a request of so many messages (0: a poll
// or another request without any). It does not sleep until the slot, the caller
// does, so that the caller can write its intent meanwhile; but it may wait, for
// two seconds at most, until a slot is no further away than the lease-ahead.
//
// backlog is how many requests are ready, this one included. Above 1 several
// slots may be leased and kept for the next calls, by whatever goroutine; those
// that pass unused are dropped. A caller with backlog 1 comes before one with
// more, because it may ask earlier.
//
// A caller may give up waiting at any time: no slot is lost by it.
//
// Errors: ErrUnavailable, *PausedError, ErrTooLarge, or the cause of ctx's end.
func (s *Slots) Next(ctx context.Context, messages, backlog int) (Slot, error) {
	if !s.plan.fits(messages) {
		return Slot{}, ErrTooLarge
	}
	return answer(ctx, s.o.Now, func() (Slot, time.Time, error) {
		select {
		case s.lock <- struct{}{}:
			defer func() { <-s.lock }()
			return s.take(ctx, messages, backlog)
		case <-ctx.Done():
			return Slot{}, time.Time{}, context.Cause(ctx)
		}
	})
}

// Ready reports whether slots are to be had: nil, or why not, in Next's errors. It
// takes none. A Redis that is new to the account begins its quarantine when it is
// first asked, so who will need slots soon does well to ask now.
func (s *Slots) Ready(ctx context.Context) error {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, _, err := s.lease(ctx, 0, 0, 0)
	return err
}

// Unused gives up a slot in which no request was started, nor will be. If nobody was
// granted a later one it is not lost: the next slot lies where that one did, or now.
// At one request a second that is the difference between a moment's delay and a
// second. Of counted limits, what it counted for stays counted.
func (s *Slots) Unused(ctx context.Context, sl Slot) {
	if sl.lot == 0 {
		return // of another limiter
	}
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
		s.giveUp(sl)
	case <-ctx.Done():
	}
}

// giveUp notes the slot if it is the last of the last lease, as far as the others
// are given up. It belongs to the holder of the lock.
func (s *Slots) giveUp(sl Slot) {
	if sl.lot == s.lot && sl.instant+s.plan.step.Microseconds() == s.unused {
		s.unused, s.next = sl.instant, sl.At
	}
}

// giveUpKept does it with all that is kept.
func (s *Slots) giveUpKept() {
	for _, sl := range slices.Backward(s.kept) {
		s.giveUp(sl)
	}
	s.kept = nil
}

// Leave gives up what was leased for later calls, and tells Redis: for a process
// that ends while others have a backlog.
func (s *Slots) Leave(ctx context.Context) error {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.giveUpKept()
	_, _, err := s.lease(ctx, 0, 0, 0)
	return err
}

// Pause stops the account for d, in all processes; a longer pause stays. What
// others hold on lease (100 ms of slots at most) still goes. This process stops
// even if Redis cannot be told, which the ErrUnavailable then says.
func (s *Slots) Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.kept = nil
	if till := s.o.Now().Add(d); till.After(s.paused) {
		s.paused = till
	}
	_, err := s.call(ctx, s.pause, s.keys[:1], d.Microseconds())
	return err
}

// take returns a kept slot or leases one; or the instant before which asking
// again is of no use.
func (s *Slots) take(ctx context.Context, messages, backlog int) (Slot, time.Time, error) {
	for late := 0; ; {
		now := s.o.Now()
		if now.Before(s.paused) {
			return Slot{}, time.Time{}, &PausedError{Until: s.paused}
		}
		for len(s.kept) > 0 {
			sl := s.kept[0]
			s.kept = s.kept[1:]
			if !sl.passed(now) {
				return sl, time.Time{}, nil
			}
			s.giveUp(sl)
		}
		lead := s.lead(backlog)
		if wake := s.next.Add(-lead); wake.After(now) {
			return Slot{}, wake, nil
		}
		want := max(backlog, 1)
		if len(s.plan.counts) > 0 {
			want = 1
		}
		wake, took, err := s.lease(ctx, messages, want, lead)
		if err != nil || !wake.IsZero() {
			return Slot{}, wake, err
		}
		if took <= s.o.Jitter {
			continue
		}
		if late++; late == discards {
			return Slot{}, time.Time{}, fmt.Errorf("%w: round trip of %v, jitter budget %v", ErrUnavailable, took, s.o.Jitter)
		}
	}
}

// lead is how long before a slot one may ask for it: long for a caller that
// needs one, short for one with a backlog, who then gets many in one call.
func (s *Slots) lead(backlog int) time.Duration {
	if backlog > 1 {
		return s.o.Ahead / 4
	}
	return s.o.Ahead
}

// lease asks Redis for slots and keeps them, unless the answer took longer than
// the jitter allows. If there are none it returns when to ask again.
func (s *Slots) lease(ctx context.Context, messages, want int, lead time.Duration) (wake time.Time, took time.Duration, err error) {
	sent := s.o.Now()
	// What is asked for is waited for, as long as one call may take: slots granted to
	// a caller who has gone are kept for the next, not lost.
	got, err := s.call(context.WithoutCancel(ctx), s.grant, s.keys, s.args(sent, messages, want, lead)...)
	if err != nil {
		return time.Time{}, 0, err
	}
	if len(got) != 5 {
		return time.Time{}, 0, fmt.Errorf("%w: answer of %d numbers", ErrUnavailable, len(got))
	}
	received := s.o.Now()
	took = received.Sub(sent)
	code, clock, granted := got[0], got[1], int(got[3])
	// Redis read its clock before the answer reached us: counted from there, an
	// instant of Redis's is never early here, and late by the round trip at most.
	at := received.Add(time.Duration(got[2]-clock) * time.Microsecond)
	if s.reset = s.jumped(sent, received, clock) && code != codeQuarantined; s.reset {
		return received, 0, nil // ask again, now for a quarantine
	}
	switch code {
	case codeGranted:
		s.next = at.Add(time.Duration(granted) * s.plan.step)
		if granted > 0 {
			s.keep(at, got[2], granted, got[4], min(s.o.MaxLate, s.o.Jitter-took))
		}
		if took > s.o.Jitter {
			s.giveUpKept()
		}
		return time.Time{}, took, nil
	case codeEarly, codeFull:
		return at, 0, nil
	case codePaused:
		return time.Time{}, 0, &PausedError{Until: at}
	default:
		return time.Time{}, 0, fmt.Errorf("%w: %w", ErrUnavailable, &QuarantineError{Until: at})
	}
}

// keep adds the slots of a lot from at on, which is the given instant of Redis's
// clock.
func (s *Slots) keep(at time.Time, instant int64, granted int, lot int64, late time.Duration) {
	for range granted {
		s.kept = append(s.kept, Slot{At: at, instant: instant, lot: lot, late: late, now: s.o.Now})
		at, instant = at.Add(s.plan.step), instant+s.plan.step.Microseconds()
	}
	s.lot, s.unused = lot, instant
}

// jumped reports whether Redis's clock has run ahead since the last call by more
// than can have passed. Slots would then lie closer to the ones leased before
// than they should. 5 ms and a thousandth are what an adjusted clock may drift.
func (s *Slots) jumped(sent, received time.Time, clock int64) bool {
	most := received.Sub(s.prev)
	passed := time.Duration(clock-s.clock) * time.Microsecond
	jumped := s.answers && passed > most+most/1000+5*time.Millisecond
	s.prev, s.clock, s.answers = sent, clock, true
	return jumped
}

// args are the grant script's: see there.
func (s *Slots) args(now time.Time, messages, want int, lead time.Duration) []any {
	reset := 0
	if s.reset {
		reset = 1
	}
	args := []any{s.plan.step.Microseconds(), want, lead.Microseconds(), s.o.Ahead.Microseconds(), s.plan.hold.Microseconds(), reset, s.lot, s.unused}
	for _, c := range s.plan.counts {
		if c.zone == nil {
			args = append(args, "slide", c.most, c.weight(messages), c.width.Microseconds(), c.span, 0, 0)
			continue
		}
		args = append(args, "day", c.most, c.weight(messages))
		for _, m := range c.midnights(now) {
			args = append(args, m.UnixMicro())
		}
	}
	return args
}

// call runs a script within the time of one call.
func (s *Slots) call(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]int64, error) {
	bounded, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	cmd := script.Run(bounded, s.rdb, keys, args...)
	if err := cmd.Err(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	got, _ := cmd.Int64Slice() // the pause script answers with a plain number
	return got, nil
}
