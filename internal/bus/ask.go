package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
)

// ErrNobody says that nobody serves the subject that was asked: surely nothing
// was done.
var ErrNobody = errors.New("bus: nobody answers")

// asksAtOnce bounds the answers that one Serve works on.
const asksAtOnce = 16

// Serve answers what is asked on a subject, shared with all who serve it, until
// ctx is done; it returns when the last answer is out. Nothing is stored: who asks
// waits, and an ask that finds nobody fails at once.
func (b *Bus) Serve(ctx context.Context, subject string, answer func(ctx context.Context, data []byte) []byte) error {
	asks := make(chan *nats.Msg, asksAtOnce)
	sub, err := b.nc.ChanQueueSubscribe(subject, "tuma", asks)
	if err != nil {
		return typed("serve "+subject, err)
	}
	var working sync.WaitGroup
	defer working.Wait()
	defer func() { _ = sub.Unsubscribe() }()
	room := make(chan struct{}, asksAtOnce)
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-asks:
			room <- struct{}{}
			working.Go(func() {
				defer func() { <-room }()
				_ = m.Respond(answer(ctx, m.Data)) // who asked has a deadline
			})
		}
	}
}

// Ask asks once and waits for the answer until ctx is done. ErrNobody: nobody
// serves the subject. ErrUnavailable leaves it open whether it was worked on.
func (b *Bus) Ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	m, err := b.nc.RequestWithContext(ctx, subject, data)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, fmt.Errorf("%w: %s", ErrNobody, subject)
	}
	if err != nil {
		return nil, typed("ask "+subject, err)
	}
	return m.Data, nil
}
