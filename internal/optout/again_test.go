package optout_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/optout"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

// A stream that was made anew, or restored from an old copy, begins its sequences
// again: what is told from then on is heard by who has followed it all along.
func TestHeardAfterTheStreamFellBack(t *testing.T) {
	t.Parallel()
	server := natstest.Server(t)
	b := natstest.Connect(t, server, nil, nil)
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	tell := func(number string) {
		t.Helper()
		if err := optout.Tell(ctx, b, optout.Entry{Account: "a", Number: number, Out: true, Source: "operator"}); err != nil {
			t.Fatal(err)
		}
	}
	l := optout.NewList(slog.New(slog.DiscardHandler))
	var running sync.WaitGroup
	following, end := context.WithCancel(ctx)
	running.Go(func() { _ = l.Follow(following, b) })
	defer running.Wait()
	defer end()
	for _, n := range []string{"+254700000001", "+254700000002", "+254700000003"} {
		tell(n)
	}
	until := func(number string) {
		t.Helper()
		for ; !l.Has("a", number); time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatal("never heard of " + number)
			}
		}
	}
	until("+254700000003")
	if err := natstest.ByHand(t, server).DeleteStream(ctx, bus.OptOutStream); err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureStreams(ctx, nil, nil); err != nil {
		t.Fatal(err)
	}
	tell("+254700000004")
	until("+254700000004")
}
