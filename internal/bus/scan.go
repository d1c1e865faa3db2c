package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Scan hands every message of the stream that matches filter, from sequence
// from on, to fn and returns the sequence to go on from. It takes nothing, so a
// work queue can be looked at while its consumer works; what the consumer has
// settled is not seen. The stream must allow direct reads.
func (b *Bus) Scan(ctx context.Context, stream, filter string, from uint64, fn func(*Msg)) (next uint64, err error) {
	for {
		got, next, err := b.Page(ctx, stream, filter, from, 1000, fn)
		from = next
		if err != nil || got == 0 {
			return from, err
		}
	}
}

// Page is one step of Scan, of n messages at most, for who has something to do in
// between: fn has some seconds for all of them. got of 0 is the end.
func (b *Bus) Page(ctx context.Context, stream, filter string, from uint64, n int, fn func(*Msg)) (got int, next uint64, err error) {
	got, next, err = b.rangeOnce(ctx, stream, filter, max(from, 1), n, fn)
	if got == 0 {
		next = from
	}
	return got, next, err
}

// Subjects returns how many messages the stream holds under each subject that
// matches filter. It is dear where there are many: the server counts them.
func (b *Bus) Subjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, typed("subjects of "+stream, err)
	}
	return info.State.Subjects, nil
}

// First reads the first message of the stream, from sequence from on, that
// matches filter. ErrNotFound: there is none. The stream must allow direct reads.
func (b *Bus) First(ctx context.Context, stream, filter string, from uint64) (first *Msg, err error) {
	_, _, err = b.rangeOnce(ctx, stream, filter, max(from, 1), 1, func(m *Msg) { first = m })
	if err == nil && first == nil {
		err = fmt.Errorf("%w: %s from %d", ErrNotFound, stream, from)
	}
	return first, err
}
