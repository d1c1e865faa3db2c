package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A stream that was restored from an old copy, or lost its end with its server's
// power, gives out sequences again that it had given out before. What is stored
// there then has the keys of messages that the journal knows as sent, and would be
// passed over in silence. So before a process is ready, and whenever it has been
// connected again, such streams are led past all that the journal knows of them.

// End is the greatest sequence that the journal knows of an incarnation of a stream.
type End struct {
	Stream string `json:"s"`
	Epoch  int64  `json:"e"`
	Seq    uint64 `json:"q"`
}

type incarnation struct {
	stream string
	epoch  int64
}

// Lead names a stream that is to be led on, and a subject of it by which that can
// be done: what comes by it is nobody's message.
type Lead struct{ Stream, Subject string }

const (
	leadAtOnce = 500
	leadAgain  = time.Second // after trouble
)

// reach notes the sequences that a record knows of. Callers hold mu.
func (j *Journal) reach(r *idempotency.Record) {
	for i := range r.Spans {
		s := &r.Spans[i]
		in, last := incarnation{s.Stream, s.Epoch}, s.Seq+uint64(max(s.Run, 1))-1
		if last > j.ends[in] {
			j.ends[in] = last
		}
	}
}

func (j *Journal) end(stream string, epoch int64) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ends[incarnation{stream, epoch}]
}

// lead leads the streams on, before ready and after each connection, until ctx is
// done.
func (j *Journal) lead(ctx context.Context, caught <-chan struct{}, ready func()) {
	select {
	case <-caught:
	case <-ctx.Done():
		return
	}
	up, stop := j.bus.Connections()
	defer stop()
	for {
		if err := j.leadAll(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			j.o.Log.Warn("streams not looked at yet", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(leadAgain):
			}
			continue
		}
		ready()
		select {
		case <-ctx.Done():
			return
		case <-up:
		}
	}
}

func (j *Journal) leadAll(ctx context.Context) error {
	for _, l := range j.o.Leads {
		if err := j.leadOne(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) leadOne(ctx context.Context, l Lead) error {
	for {
		s, err := j.bus.State(ctx, l.Stream)
		if errors.Is(err, bus.ErrNotFound) {
			return nil // it is made when it is needed
		}
		if err != nil {
			return err
		}
		end := j.end(l.Stream, s.Epoch)
		if s.LastSeq >= end {
			return nil
		}
		j.o.Log.Error("a stream gives out sequences again: it was restored from an old copy or lost its end; it is led on", "stream", l.Stream, "last", s.LastSeq, "known", end)
		if err := j.skip(ctx, l, min(end-s.LastSeq, leadAtOnce)); err != nil {
			return fmt.Errorf("stream %s: %w", l.Stream, err)
		}
	}
}

// skip takes n sequences of a stream.
func (j *Journal) skip(ctx context.Context, l Lead, n uint64) error {
	var pending []bus.Pending
	for range n {
		p, err := j.bus.PublishAsync(bus.Out{Subject: l.Subject, Header: bus.Header{bus.HeaderSkip: {"1"}}, Data: []byte("{}")})
		if err != nil {
			return err
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}
