package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// lookups are requests like any other: they draw on the account's slots. While
// one dispatcher sends alone, by slots of its own that know nothing of these,
// nothing is looked up, nor until what it sent has left the limit's windows.
type lookups struct {
	account string
	journal *journal.Journal
	hold    time.Duration // 0: nobody ever sends alone for the account
	slots   interface {
		Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error)
		Unused(ctx context.Context, sl ratelimit.Slot)
	}

	mu    sync.Mutex
	from  time.Time // when the slots may be used again
	known bool
	seen  string // the sender up to where the watcher got; the journal may be a step ahead
}

var (
	errSlotMissed = errors.New("the slot passed before the look-up could leave")
	errAlone      = errors.New("one dispatcher sends alone: nothing is looked up meanwhile")
)

// watch is a journal.Watcher. What is long over, by whichever clock, at worst
// delays the first look-up.
func (l *lookups) watch(_ uint64, _ time.Time, r *idempotency.Record, e *idempotency.Effect) {
	if r.Kind != idempotency.Sender || r.Account != l.account {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from = time.Now().Add(l.hold)
	if e.Acted > 0 && l.known {
		l.seen = r.Sender
	}
}

func (l *lookups) alone() bool {
	sender := l.journal.Sender(l.account)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known {
		l.known, l.seen = true, sender
	}
	return l.hold > 0 && (sender != "" || sender != l.seen || time.Now().Before(l.from))
}

// Slot implements dlr.Limiter.
func (l *lookups) Slot(ctx context.Context) (func() error, error) {
	if l.alone() {
		return nil, errAlone
	}
	s, err := l.slots.Next(ctx, 0, 1)
	if err != nil {
		return nil, err
	}
	return func() error {
		switch {
		case l.alone():
			err = errAlone
		case !s.Usable(time.Now()):
			err = errSlotMissed
		}
		if err != nil { // where there is one a second, another can have this one
			l.slots.Unused(ctx, s)
		}
		return err
	}, s.Wait(ctx)
}

// lookups returns the limiter of what is looked up at an account's gateway.
func (k *kit) lookups(account string, slots *ratelimit.Slots, hold time.Duration) *lookups {
	l := &lookups{account: account, journal: k.journal, hold: hold, slots: slots}
	k.journal.Watch(l.watch)
	return l
}
