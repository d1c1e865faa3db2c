package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Tail describes a reader that follows a stream on its own, without acks.
type Tail struct {
	Stream      string
	From        uint64    // first sequence; 0: from the beginning
	New         bool      // only what comes from now on; From is ignored
	Since       time.Time // only what was stored from then on; counts where From is 0
	Filters     []string
	HeadersOnly bool
	Ahead       int // messages held unread; 0: 2,000, of 64 MiB at most
}

// Tail hands every message to fn, in stream order, and caught (which may be
// nil) is called once when what was there at the start has been handed over. It
// ends when ctx is done. A sequence may be handed over twice after trouble with
// the server, never out of order otherwise. ErrFellBack: the stream ends before
// what was asked for or handed over last, and what comes is passed over by
// whoever does not begin anew.
func (b *Bus) Tail(ctx context.Context, t Tail, fn func(*Msg), caught func()) error {
	for {
		err := b.follow(ctx, &t, fn, &caught)
		var lost *unread
		if !errors.As(err, &lost) {
			return err
		}
		for _, m := range lost.messages {
			fn(m)
			t.New, t.From = false, m.Seq+1
		}
	}
}

// follow is Tail until something cannot be read in this way. caught is nil once it
// was called.
func (b *Bus) follow(ctx context.Context, t *Tail, fn func(*Msg), caught *func()) error {
	state, err := b.State(ctx, t.Stream)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	var next atomic.Uint64 // the sequence to come, at least; 0: not known
	if t.New {             // by its sequence: what has to be made again begins where it began
		t.New, t.From = false, state.LastSeq+1
	}
	if t.From > 0 || t.Since.IsZero() {
		next.Store(max(t.From, 1))
	}
	var watching sync.WaitGroup
	watching.Go(func() { b.watchEnd(ctx, t, state.Epoch, &next, stop) })
	defer watching.Wait()
	defer stop(nil)
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: t.Filters, HeadersOnly: t.HeadersOnly, DeliverPolicy: jetstream.DeliverAllPolicy}
	switch {
	case t.From > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, t.From
	case !t.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &t.Since
	}
	cons, err := b.js.OrderedConsumer(ctx, t.Stream, cfg)
	if err != nil {
		return typed("tail "+t.Stream, err)
	}
	tell := func() {
		if *caught != nil {
			(*caught)()
			*caught = nil
		}
	}
	if info := cons.CachedInfo(); info != nil && info.NumPending == 0 && info.Delivered.Consumer == 0 {
		tell()
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(or(t.Ahead, 2000)))
	if err != nil {
		return typed("tail "+t.Stream, err)
	}
	defer it.Stop()
	for {
		raw, err := it.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.log.Warn("tail interrupted", "stream", t.Stream, "error", err)
			return typed("tail "+t.Stream, err)
		}
		m := b.received(raw.Subject(), Header(raw.Headers()), raw.Data(), raw.Reply())
		fn(m)
		next.Store(m.Seq + 1)
		if m.Pending == 0 {
			tell()
		}
	}
}

// ErrFellBack says that a stream was made anew, or restored from an older copy.
var ErrFellBack = errors.New("bus: the stream fell back")

// How often a tail that nothing comes to looks whether its stream still reaches to
// where it reads, and when it looks again if not: a new leader may only not have
// caught up.
const (
	lookAtEnd  = 3 * time.Second
	lookTwice  = time.Second
	looksAtEnd = 2
)

// watchEnd stops a tail whose stream has fallen back: the server would wait for the
// sequence that is asked for, and pass over all before it.
//
// What looks like a word of the server's to a client is passed over just so.
func (b *Bus) watchEnd(ctx context.Context, t *Tail, epoch int64, next *atomic.Uint64, stop context.CancelCauseFunc) {
	stream := t.Stream
	wait, before, suspicions := lookAtEnd, next.Load(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = lookAtEnd
		if at := next.Load(); at != before {
			before, suspicions = at, 0
			continue
		}
		s, err := b.State(ctx, stream)
		if err != nil || before == 0 || s.Epoch == epoch && s.LastSeq+1 == before {
			suspicions = 0
			continue
		}
		if suspicions++; suspicions < looksAtEnd {
			wait = lookTwice
			continue
		}
		suspicions = 0
		if s.Epoch != epoch || s.LastSeq < before {
			stop(fmt.Errorf("%w: %s ends at %d, read up to %d", ErrFellBack, stream, s.LastSeq, before))
			return
		}
		if lost := b.remarks(ctx, t, before); lost != nil && next.Load() == before {
			stop(lost)
			return
		}
	}
}

// Get reads one message by its sequence. ErrNotFound: it is gone or never was.
func (b *Bus) Get(ctx context.Context, stream string, seq uint64) (*Msg, error) {
	epoch, err := b.incarnation(ctx, stream)
	if err != nil {
		return nil, err
	}
	s, err := b.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	raw, err := s.GetMsg(ctx, seq)
	if err != nil && s.CachedInfo().Config.AllowDirect { // it may only look like a remark of the server
		var m *Msg
		if got, _, rerr := b.rangeOnce(ctx, stream, "", seq, 1, func(one *Msg) { m = one }); rerr == nil && got == 1 && m.Seq == seq {
			return m, nil
		}
	}
	if err != nil {
		return nil, typed(fmt.Sprintf("get %s %d", stream, seq), err)
	}
	return &Msg{Subject: raw.Subject, Header: Header(raw.Header), Data: unpacked(raw.Subject, Header(raw.Header), raw.Data), Stream: stream, Seq: raw.Sequence, Epoch: epoch, Time: raw.Time}, nil
}

// Last reads the last message on a subject. ErrNotFound: there is none.
func (b *Bus) Last(ctx context.Context, stream, subject string) (*Msg, error) {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	raw, err := s.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return nil, typed("last of "+subject, err)
	}
	h := Header(raw.Header)
	return &Msg{Subject: raw.Subject, Header: h, Data: unpacked(raw.Subject, h, raw.Data), Stream: stream, Seq: raw.Sequence, Time: raw.Time}, nil
}
