package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

// An event of a thousand messages has half a megabyte. Of those, a reader that may
// be slow (a browser that is asleep) holds no more than it says.
func TestTailHoldsNoMoreThanItSays(t *testing.T) {
	t.Parallel()
	const large, n, ahead = 512 << 10, 100, 16
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	for range n {
		if _, err := b.Publish(t.Context(), bus.Out{Subject: bus.QueueSubject("a", "bulk", "acme"), Data: make([]byte, large)}); err != nil {
			t.Fatal(err)
		}
	}
	reader := natstest.Connect(t, s, nil, []string{"a"})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = reader.Tail(ctx, bus.Tail{Stream: bus.QueueStream("a"), Ahead: ahead}, func(*bus.Msg) { <-ctx.Done() }, nil)
	}()
	sent := func() int64 {
		v, err := s.Varz(nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		return v.OutBytes / large
	}
	for still, last := 0, int64(-1); still < 10 && sent() <= n; time.Sleep(20 * time.Millisecond) {
		if now := sent(); now == last && now > 0 {
			still++
		} else {
			still, last = 0, now
		}
	}
	if got := sent(); got > ahead+1 {
		t.Errorf("%d messages are sent to who reads nothing", got)
	}
	stop()
	<-ended
}

// Who follows what comes from now on, and has seen nothing come yet, misses nothing
// when its consumer has to be made again: after a restart of the server it is gone.
func TestTailOfWhatIsNewGoesOnWhereItBegan(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	publish(t, b, 3)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	caught, came := make(chan struct{}), make(chan uint64, 10)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = b.Tail(ctx, bus.Tail{Stream: bus.QueueStream("a"), New: true}, func(m *bus.Msg) { came <- m.Seq }, func() { close(caught) })
	}()
	<-caught
	stream, err := natstest.ByHand(t, s).Stream(ctx, bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(ctx).Name() {
		if err := stream.DeleteConsumer(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, b, 1)
	select {
	case seq := <-came:
		if seq != 4 {
			t.Errorf("first came %d", seq)
		}
	case <-ctx.Done():
		t.Error("never came")
	}
	stop()
	<-ended
}
