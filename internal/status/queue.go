package status

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

const (
	queueEvery = 200 * time.Millisecond // what others stored in a queue is read this often, or when it is asked for
	holeFor    = time.Minute            // how long a server may lag behind the one that told of a message
	readAtOnce = 1000
)

// queue follows an account's queue. Nearly all of what comes into it this process
// stored itself and has registered; to have each of it delivered, read and
// registered again would cost as much as storing it did. So after everything there
// was at the start has been read, only the sequences are that nobody registered.
type queue struct {
	s      *Store
	b      *bus.Bus
	stream string
	p      *position
	turns  turns

	behind time.Time // since when a message that there should be cannot be read; guarded by turns

	mu    sync.Mutex
	epoch int64
	next  uint64              // the first sequence that is neither read nor registered
	mine  map[uint64]struct{} // registered, from next on
}

// queues are those that a store follows, by stream.
type queues struct {
	mu       sync.RWMutex
	byStream map[string]*queue
}

func (q *queues) get(stream string) *queue {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.byStream[stream]
}

func (q *queues) all() []*queue {
	q.mu.RLock()
	defer q.mu.RUnlock()
	out := make([]*queue, 0, len(q.byStream))
	for _, one := range q.byStream {
		out = append(out, one)
	}
	return out
}

// follow returns what follows a queue until ctx is done.
func (s *Store) follow(stream string) func(context.Context, *bus.Bus, *position) {
	return func(ctx context.Context, b *bus.Bus, p *position) {
		q := &queue{s: s, b: b, stream: stream, p: p, turns: newTurns(), next: 1, mine: map[uint64]struct{}{}}
		s.queues.mu.Lock()
		if s.queues.byStream == nil {
			s.queues.byStream = map[string]*queue{}
		}
		s.queues.byStream[stream] = q
		s.queues.mu.Unlock()
		for ctx.Err() == nil {
			if err := q.read(ctx); err != nil && !errors.Is(err, errBehind) {
				s.trouble(ctx, stream, err)
				continue
			}
			wait(ctx, queueEvery)
		}
	}
}

// registered notes a sequence that need not be read.
func (q *queue) registered(o envelope.Origin) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if o.Epoch == q.epoch && o.Seq >= q.next {
		q.mine[o.Seq] = struct{}{}
	}
}

// errBehind says that a queue holds more than could be read of it right now.
var errBehind = errors.New("status: the queue holds what cannot be read yet")

// read reads what is in the queue and nobody registered.
func (q *queue) read(ctx context.Context) error {
	return q.turns.share(ctx, func() error {
		epoch, err := q.b.Epoch(ctx, q.stream)
		if err != nil {
			return err
		}
		q.begin(epoch)
		if !q.p.caught.Load() {
			return q.catchUp(ctx, epoch)
		}
		state, err := q.b.State(ctx, q.stream)
		if err != nil {
			return err
		}
		return q.readTo(ctx, state, epoch)
	})
}

// readTo reads up to where the stream ended.
func (q *queue) readTo(ctx context.Context, state bus.State, epoch int64) error {
	for {
		from, n := q.gap(state)
		if n == 0 {
			return nil
		}
		next := from
		err := q.b.Range(ctx, q.stream, from, n, func(m *bus.Msg) {
			q.s.piece(m, epoch)
			next = m.Seq + 1 // what lies before it is gone for good
			q.p.at.Store(m.Time.UnixNano())
		})
		if err != nil {
			return err
		}
		if !q.passed(next, from, n) {
			return errBehind
		}
	}
}

// begin forgets a stream that was made anew: its sequences begin again.
func (q *queue) begin(epoch int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.epoch != epoch {
		q.epoch, q.next = epoch, 1
		clear(q.mine)
	}
}

// catchUp reads everything there is.
func (q *queue) catchUp(ctx context.Context, epoch int64) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	q.mu.Lock()
	from := q.next
	q.mu.Unlock()
	err := q.b.Tail(ctx, bus.Tail{Stream: q.stream, From: from}, func(m *bus.Msg) {
		q.s.piece(m, epoch)
		q.mu.Lock()
		q.next = m.Seq + 1
		q.mu.Unlock()
		q.p.at.Store(m.Time.UnixNano())
	}, func() {
		q.p.caught.Store(true)
		stop()
	})
	if q.p.caught.Load() {
		return nil
	}
	return err
}

// gap returns the first sequences that are neither read nor registered, some at a
// time; n is 0 if there are none.
func (q *queue) gap(state bus.State) (from uint64, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.next < state.FirstSeq {
		delete(q.mine, q.next)
		q.next++
	}
	for q.next <= state.LastSeq {
		if _, known := q.mine[q.next]; !known {
			break
		}
		delete(q.mine, q.next)
		q.next++
	}
	for at := q.next; at <= state.LastSeq && n < readAtOnce; at, n = at+1, n+1 {
		if _, known := q.mine[at]; known {
			break
		}
	}
	return q.next, n
}

// passed goes on to next, and reports whether more of the gap can be expected
// right now. What a server says is not there may be on its way to it; after a
// while it is a hole.
func (q *queue) passed(next, from uint64, n int) bool {
	end := from + uint64(n)
	whole := next >= end
	switch now := q.s.o.Now(); {
	case whole || next > from:
		q.behind = time.Time{}
	case q.behind.IsZero():
		q.behind = now
	case now.Sub(q.behind) >= holeFor:
		q.behind, next, whole = time.Time{}, end, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next = max(q.next, next)
	return whole
}
