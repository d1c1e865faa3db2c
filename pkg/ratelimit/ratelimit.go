// Package ratelimit keeps what all processes together send to one provider
// account under the provider's limits, by handing out slots: instants at which
// one request may start.
//
// Slots come from Redis (Slots): one script, on Redis's own clock, gives every
// instant to one caller only, so that no membership, no share and no agreement
// of clocks between the callers is needed. Local is the same thing for a single
// process without Redis, and Quota counts what a tenant submits.
//
// # Why no window overflows
//
// Slots lie T = (window + jitter)/N apart, and a request starts at most jitter
// after its slot (in Redis's time). The requests that start within a half-open
// window therefore own slots within a half-open span of window + jitter = N·T,
// and that holds N at most. The price is the jitter: at the default of 20 ms a
// limit per second is used to 98%. Jitter also has to cover what the network on
// the way to the provider varies.
package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Limit is one of the limits of an account: at most so many requests, messages
// or both (0: no limit) in any half-open window of length Per, or in any
// calendar day of Zone (nil: UTC).
type Limit struct {
	Requests, Messages int
	Per                time.Duration
	Calendar           bool // the window is a calendar day in Zone, Per is ignored
	Zone               *time.Location
	Model              Model // how the provider counts Requests; default Sliding
}

// Model says how the provider itself counts.
type Model string

// The models. What no sliding window refuses, no fixed window (wherever it is
// anchored) and no token bucket of N refuses either, so these three are one
// and the same to us; what they would allow beyond it is bursts worth 2% at
// best. Paced is for servers without any burst (nginx limit_req): a request
// less than window/N after the one before it is refused, so slots lie
// window/N + jitter apart, which at 120/s leaves 29% of the limit unused.
const (
	Sliding     Model = "sliding"
	Fixed       Model = "fixed"
	TokenBucket Model = "token_bucket"
	Paced       Model = "paced"
)

// Options describe one account's limits. All processes that share an account
// must be given the same ones. Zero values stand for the defaults.
type Options struct {
	Account string  // [a-z0-9-]{1,32}
	Limits  []Limit // at least one; all of them hold at once

	Jitter  time.Duration // how late after its slot a request may arrive; default 20 ms
	Ahead   time.Duration // how far ahead slots are leased; default and most 100 ms
	MaxLate time.Duration // how late after its slot a request may start; default 10 ms, at most Jitter
	Timeout time.Duration // bound of one call to Redis; default 500 ms

	Now func() time.Time // default time.Now; must carry a monotonic reading
}

// Slot is the right to start one request, once.
type Slot struct {
	At      time.Time // not before (local monotonic clock)
	instant int64     // by Redis's clock, in microseconds
	lot     int64     // what it was granted with; 0: it is not from Redis
	late    time.Duration
	now     func() time.Time
}

// Usable reports whether the request may start at now: not before At, and not
// more than MaxLate after it (less, where the lease's round trip has eaten into
// the jitter). A slot that was missed is lost; ask for another. Ask in the
// instant before the first byte leaves.
func (sl Slot) Usable(now time.Time) bool {
	return !now.Before(sl.At) && !sl.passed(now)
}

// Wait sleeps until At or until ctx ends, whose cause it then returns. It does
// not say whether it woke up in time: ask Usable.
func (sl Slot) Wait(ctx context.Context) error {
	if sl.now == nil { // the zero Slot: nothing to wait for
		return context.Cause(ctx)
	}
	return sleep(ctx, sl.At.Sub(sl.now()))
}

func (sl Slot) passed(now time.Time) bool { return now.Sub(sl.At) > sl.late }

// ErrUnavailable says that Redis is out of reach, too slow to be exact, or in
// quarantine (then errors.As finds a *QuarantineError). It wraps the cause.
var ErrUnavailable = errors.New("ratelimit: no slots from Redis")

// ErrTooLarge says that a request carries more messages than a limit allows in
// a whole window: it can never be sent as it is.
var ErrTooLarge = errors.New("ratelimit: more messages than a window allows")

// PausedError says that there is no slot before Until: the account is paused
// after the provider's 429, or (Full) the next slot of its limits is further
// away than a caller should be made to wait.
type PausedError struct {
	Until time.Time
	Full  bool
}

// Error names the reason and the instant.
func (e *PausedError) Error() string {
	if e.Full {
		return "ratelimit: limit used up until " + e.Until.Format(time.RFC3339)
	}
	return "ratelimit: paused until " + e.Until.Format(time.RFC3339)
}

// QuarantineError says that Redis is new to us (first use, restart, failover,
// flush, clock changed), so that what was sent in the last window is unknown.
type QuarantineError struct{ Until time.Time }

// Error names the end of the quarantine.
func (e *QuarantineError) Error() string {
	return "ratelimit: quarantine until " + e.Until.Format(time.RFC3339)
}

// patience is how long Next may wait for a slot to come within reach. What is
// further away is told to the caller, who may have better things to do.
const patience = 2 * time.Second

// accountName is what may stand between the braces of a key's hash tag.
var accountName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// withDefaults fills what is zero and refuses what cannot work.
func (o Options) withDefaults() (Options, error) {
	o.Jitter = orDefault(o.Jitter, 20*time.Millisecond)
	o.Ahead = orDefault(o.Ahead, 100*time.Millisecond)
	o.MaxLate = orDefault(o.MaxLate, min(10*time.Millisecond, o.Jitter))
	o.Timeout = orDefault(o.Timeout, 500*time.Millisecond)
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case !accountName.MatchString(o.Account):
		return o, fmt.Errorf("ratelimit: account name %q", o.Account)
	case o.Jitter < 0 || o.Timeout < 0:
		return o, fmt.Errorf("ratelimit: account %s: negative jitter or timeout", o.Account)
	case o.MaxLate < 0 || o.MaxLate > o.Jitter:
		return o, fmt.Errorf("ratelimit: account %s: lateness %v is not within the jitter %v", o.Account, o.MaxLate, o.Jitter)
	case o.Ahead < 0 || o.Ahead > 100*time.Millisecond:
		return o, fmt.Errorf("ratelimit: account %s: leasing %v ahead, at most 100ms", o.Account, o.Ahead)
	case len(o.Limits) == 0:
		return o, fmt.Errorf("ratelimit: account %s: no limit", o.Account)
	}
	return o, nil
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// sleep waits for d or until ctx ends, whose cause it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answer asks take for a slot until there is one, sleeping as long as take says
// that none is within reach before wake.
func answer(ctx context.Context, now func() time.Time, take func() (sl Slot, wake time.Time, err error)) (Slot, error) {
	deadline := now().Add(patience)
	for {
		if ctx.Err() != nil {
			return Slot{}, context.Cause(ctx)
		}
		sl, wake, err := take()
		switch {
		case err != nil:
			return Slot{}, err
		case wake.IsZero():
			return sl, nil
		case wake.After(deadline):
			return Slot{}, &PausedError{Until: wake, Full: true}
		}
		if err := sleep(ctx, wake.Sub(now())); err != nil {
			return Slot{}, err
		}
	}
}
