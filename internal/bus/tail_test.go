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
