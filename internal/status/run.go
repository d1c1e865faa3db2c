package status

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

const (
	retryAfter = 250 * time.Millisecond // after trouble with the bus
	scanEvery  = 500 * time.Millisecond // work queues cannot be tailed, only looked at
)

// Run rebuilds the store from the streams and follows them until ctx is done;
// trouble with the bus is waited out. Events are read always, pieces only for
// the tenants and accounts that are named: a store without them still answers
// Current. It must be called once.
func (s *Store) Run(ctx context.Context, b *bus.Bus, tenants, accounts []string) error {
	type source func(context.Context, *bus.Bus, *position)
	sources := []source{s.tail(bus.EventStream, s.event)}
	for _, a := range accounts {
		sources = append(sources, s.follow(bus.QueueStream(a)))
	}
	for _, t := range tenants {
		sources = append(sources, s.scan(bus.SubmitStream(t), bus.AcceptedSubject(t, "*"), s.piece))
	}
	if len(tenants) > 0 {
		sources = append(sources, s.scan(bus.DelayStream, "sms.delay.>", s.delayed))
	}
	positions := s.tails.start(len(sources))
	var running sync.WaitGroup
	for i, run := range sources {
		running.Go(func() { run(ctx, b, positions[i]) })
	}
	running.Wait()
	return nil
}

// errRebuilding says that the streams have not been read to their end yet.
var errRebuilding = errors.New("status: statuses are being rebuilt")

// Ready reports whether everything that the streams held at the start has been
// read. Until then an unknown id says nothing, and after that no more than that it
// was not there at the start: see Refresh.
func (s *Store) Ready() bool { return s.tails.ready() }

// handler reads one message of a stream of the given epoch.
type handler func(m *bus.Msg, epoch int64)

// tail follows a stream from its beginning.
func (s *Store) tail(stream string, fn handler) func(context.Context, *bus.Bus, *position) {
	return func(ctx context.Context, b *bus.Bus, p *position) {
		var last uint64
		var epoch int64
		for ctx.Err() == nil {
			now, err := b.Epoch(ctx, stream)
			if err == nil {
				if now != epoch { // made anew: its sequences begin again
					epoch, last = now, 0
				}
				err = b.Tail(ctx, bus.Tail{Stream: stream, From: last + 1}, func(m *bus.Msg) {
					fn(m, epoch)
					last = m.Seq
					p.at.Store(m.Time.UnixNano())
				}, func() { p.caught.Store(true) })
				if errors.Is(err, bus.ErrFellBack) {
					last = 0
				}
			}
			s.trouble(ctx, stream, err)
		}
	}
}

// look is a work queue that is looked at again and again: the server lets nobody
// but its one consumer follow it. What was taken between two looks is missed here
// and found in the queue that it went to.
type look struct {
	s              *Store
	b              *bus.Bus
	stream, filter string
	fn             handler
	p              *position
	turns          turns

	next  uint64 // guarded by turns, as is epoch
	epoch int64
}

// scan returns what looks at a stream until ctx is done.
func (s *Store) scan(stream, filter string, fn handler) func(context.Context, *bus.Bus, *position) {
	return func(ctx context.Context, b *bus.Bus, p *position) {
		l := &look{s: s, b: b, stream: stream, filter: filter, fn: fn, p: p, turns: newTurns(), next: 1}
		s.looks.add(l)
		for ctx.Err() == nil {
			if err := l.read(ctx); err != nil {
				s.trouble(ctx, stream, err)
				continue
			}
			wait(ctx, scanEvery)
		}
	}
}

// read reads what came since the last look.
func (l *look) read(ctx context.Context) error {
	return l.turns.share(ctx, func() error {
		now, err := l.b.Epoch(ctx, l.stream)
		if err != nil {
			return err
		}
		if now != l.epoch {
			l.epoch, l.next = now, 1
		}
		l.next, err = l.b.Scan(ctx, l.stream, l.filter, l.next, func(m *bus.Msg) {
			l.fn(m, l.epoch)
			l.p.at.Store(m.Time.UnixNano())
		})
		if err == nil {
			l.p.caught.Store(true)
		}
		return err
	})
}

// looks are those that a store takes, by stream.
type looks struct {
	mu       sync.RWMutex
	byStream map[string]*look
}

func (l *looks) add(one *look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byStream == nil {
		l.byStream = map[string]*look{}
	}
	l.byStream[one.stream] = one
}

func (l *looks) of(streams ...string) (out []*look) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, stream := range streams {
		if one := l.byStream[stream]; one != nil {
			out = append(out, one)
		}
	}
	return out
}

func (s *Store) trouble(ctx context.Context, stream string, err error) {
	if ctx.Err() == nil {
		s.o.Log.Warn("status store interrupted", "stream", stream, "error", err)
		wait(ctx, retryAfter)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *Store) event(m *bus.Msg, _ int64) {
	if s.own.passes(m.Get("Nats-Msg-Id")) {
		return
	}
	var e envelope.Event
	if err := envelope.DecodeEvent(m.Data, &e); err != nil {
		s.o.Log.Error("event unreadable", "seq", m.Seq, "error", err)
		return
	}
	s.Apply(&e)
}

// piece reads a piece that lies where it was first stored, unless it says where
// that was.
func (s *Store) piece(m *bus.Msg, epoch int64) {
	s.stored(m, envelope.Origin{Stream: m.Stream, Epoch: epoch, Seq: m.Seq})
}

// delayed reads a piece that waits for its time: its send time, or another try. Its
// place there is nobody's origin: it gets another sequence when it fires.
func (s *Store) delayed(m *bus.Msg, _ int64) {
	p := s.stored(m, envelope.Origin{})
	if p == nil || p.SendAt == nil || !strings.HasPrefix(m.Subject, "sms.delay.submit.") {
		return
	}
	sh := s.shard(p.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.find(p.ID); e != nil && s.names.name(e.tenant) == p.Tenant {
		e.rare().held = true
	}
}

// stored returns the piece that it read; nil: it could not.
func (s *Store) stored(m *bus.Msg, origin envelope.Origin) *envelope.Piece {
	var p envelope.Piece
	err := envelope.DecodePiece(m.Data, &p)
	if err == nil {
		err = p.Check()
	}
	if err != nil { // whose turn it is to handle it will bury it
		s.o.Log.Error("piece unreadable", "stream", m.Stream, "seq", m.Seq, "error", err)
		return nil
	}
	if p.Origin != nil {
		origin = *p.Origin
	}
	s.register(&p, origin)
	return &p
}

// progress is how far the sources have been read.
type progress struct {
	mu        sync.Mutex
	positions []*position
}

type position struct {
	at     atomic.Int64 // Unix nanoseconds of the newest message read
	caught atomic.Bool
}

func (p *progress) start(n int) []*position {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range n {
		p.positions = append(p.positions, &position{})
	}
	return p.positions
}

func (p *progress) ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pos := range p.positions {
		if !pos.caught.Load() {
			return false
		}
	}
	return len(p.positions) > 0
}

// clock is the time by which what is old is dropped. While the streams are
// still being read it is the time of the slowest of them: what was dropped by
// the clock on the wall before its last event was read would come back without
// its past.
func (p *progress) clock(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pos := range p.positions {
		if at := time.Unix(0, pos.at.Load()); !pos.caught.Load() && at.Before(now) {
			now = at
		}
	}
	return now
}
