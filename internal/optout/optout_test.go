package optout_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/optout"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

func TestTheLastWordHolds(t *testing.T) {
	b := natstest.Connect(t, natstest.Server(t), nil, nil)
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	tell := func(account, number string, out bool) {
		t.Helper()
		if err := optout.Tell(ctx, b, optout.Entry{Account: account, Number: number, Out: out, Source: "operator"}); err != nil {
			t.Fatal(err)
		}
	}
	tell("a", "+254700000001", true)
	tell("a", "+254700000002", true)
	tell("a", "+254700000002", false)
	l := optout.NewList(slog.New(slog.DiscardHandler))
	if l.Ready() {
		t.Error("ready before it knows anything")
	}
	var running sync.WaitGroup
	following, end := context.WithCancel(ctx)
	running.Go(func() { _ = l.Follow(following, b) })
	defer running.Wait()
	defer end()
	until := func(ok func() bool) {
		t.Helper()
		for ; !ok(); time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatal("never happened")
			}
		}
	}
	until(l.Ready)
	if !l.Has("a", "+254700000001") || l.Has("a", "+254700000002") || l.Has("b", "+254700000001") {
		t.Error("what was told before is not known")
	}
	tell("b", "+254700000001", true)
	until(func() bool { return l.Has("b", "+254700000001") })
	tell("a", "+254700000001", false)
	until(func() bool { return !l.Has("a", "+254700000001") })
}
