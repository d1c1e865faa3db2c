package status

import (
	"sync"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// own are events that this process tells itself. It folds them when they are
// stored, so the tail need not read them: that would cost as much again.
type own struct {
	mu       sync.Mutex
	now, old map[string]bool // by id: whether the tail has passed over it already
}

// ownAtMost bounds the ids that are waited for, by half: an event that was in the
// stream before, under its id, does not come again.
const ownAtMost = 4096

// Tell has publish store events, and folds them once it has: what they say counts
// when Tell returns. If publish fails it is open what was stored; what the tail
// met of it counts.
func (s *Store) Tell(events []envelope.Event, publish func() error) error {
	s.own.expect(events)
	err := publish()
	for i := range events {
		if s.own.told(events[i].ID, err == nil) {
			s.Apply(&events[i])
		}
	}
	return err
}

func (o *own) expect(events []envelope.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now == nil || len(o.now) >= ownAtMost {
		o.old, o.now = o.now, make(map[string]bool, len(events))
	}
	for i := range events {
		o.now[events[i].ID] = false
	}
}

// passes reports whether the tail need not read an event.
func (o *own) passes(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, part := range []map[string]bool{o.now, o.old} {
		if _, ok := part[id]; ok {
			part[id] = true
			return true
		}
	}
	return false
}

// told reports whether an event is to be folded now that publish has returned.
func (o *own) told(id string, stored bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, part := range []map[string]bool{o.now, o.old} {
		passed, ok := part[id]
		if ok && (passed || !stored) {
			delete(part, id)
		}
		if ok {
			return passed || stored
		}
	}
	return stored
}
