package status

import (
	"context"
	"sync/atomic"

	"github.com/tuma-sms/tuma/internal/bus"
)

// Refresh reads what was stored before the call, of a tenant's submissions and of
// all queues. Who meets an unknown id asks for that first: only if it returns nil
// is it certain, as far as the servers asked know, that there is no such id.
func (s *Store) Refresh(ctx context.Context, tenant string) error {
	if !s.Ready() {
		return errRebuilding
	}
	// In the order in which a submission moves, so that none slips by.
	for _, l := range s.looks.of(bus.SubmitStream(tenant), bus.DelayStream) {
		if err := l.read(ctx); err != nil {
			return err
		}
	}
	for _, q := range s.queues.all() {
		if err := q.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// turns lets one reading run at a time, and calls that wait for one another share
// a reading that begins after they came.
type turns struct {
	turn   chan struct{} // held by who reads
	begun  *atomic.Uint64
	result *error // of the last one; guarded by turn
}

func newTurns() turns { return turns{make(chan struct{}, 1), new(atomic.Uint64), new(error)} }

func (t turns) share(ctx context.Context, read func() error) error {
	before := t.begun.Load()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if t.begun.Load() > before { // began after we came, and is over
		return *t.result
	}
	t.begun.Add(1)
	*t.result = read()
	return *t.result
}
