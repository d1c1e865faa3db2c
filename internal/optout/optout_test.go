package optout_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
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
	select {
	case <-l.Ready():
		t.Error("ready before it knows anything")
	default:
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
	select {
	case <-l.Ready():
	case <-ctx.Done():
		t.Fatal("never ready")
	}
	if !l.Has("a", "+254700000001") || l.Has("a", "+254700000002") || l.Has("b", "+254700000001") {
		t.Error("what was told before is not known")
	}
	tell("b", "+254700000001", true)
	until(func() bool { return l.Has("b", "+254700000001") })
	tell("a", "+254700000001", false)
	until(func() bool { return !l.Has("a", "+254700000001") })
}

// TestSmall: some gateways have millions who want nothing. What is kept of one is
// its hash, not the message that it came in.
func TestSmall(t *testing.T) {
	const n = 200_000
	l := optout.NewList(slog.New(slog.DiscardHandler))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range n {
		number := fmt.Sprintf("+2547%08d", i)
		data, err := json.Marshal(optout.Entry{Account: "account", Number: number, Out: true})
		if err != nil {
			t.Fatal(err)
		}
		l.Apply(&bus.Msg{Subject: bus.OptOutSubject("account", optout.Hash(number)), Data: data})
	}
	if each := (heap() - before) / n; each > 60 {
		t.Errorf("%d bytes for each", each)
	}
	if !l.Has("account", "+254700000007") || l.Has("account", "+254800000007") {
		t.Error("not what was told")
	}
}
