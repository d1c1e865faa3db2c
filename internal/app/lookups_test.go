package app

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// A dispatcher that sends alone uses the whole limit by slots of its own: a
// look-up, with Redis back or never gone for it, would come on top.
func TestNothingIsLookedUpWhileOneSendsAlone(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	j := journal.New(b, journal.Options{Owner: "me", Log: slog.New(slog.DiscardHandler)})
	slots, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", Limits: []ratelimit.Limit{{Requests: 1000, Per: time.Second}}})
	if err != nil {
		t.Fatal(err)
	}
	const hold = 300 * time.Millisecond
	l := &lookups{account: "a", journal: j, hold: hold, slots: slots}
	j.Watch(l.watch)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	<-j.Ready()
	sender := func(was, now string) {
		if _, e, err := j.Append(t.Context(), idempotency.Record{Kind: idempotency.Sender, Account: "a", Was: was, Sender: now}); err != nil || e.Acted == 0 {
			t.Fatalf("effect %+v, %v", e, err)
		}
	}
	granted, err := l.Slot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sender("", "d1")
	if err := granted(); !errors.Is(err, errAlone) {
		t.Errorf("a slot of before: %v", err)
	}
	if _, err := l.Slot(t.Context()); !errors.Is(err, errAlone) {
		t.Errorf("meanwhile: %v", err)
	}
	over := time.Now()
	sender("d1", "")
	for {
		_, err := l.Slot(t.Context())
		if err == nil {
			break
		}
		if !errors.Is(err, errAlone) || time.Since(over) > 10*time.Second {
			t.Fatal(err)
		}
	}
	if d := time.Since(over); d < hold {
		t.Errorf("looked up %v after the other stopped", d)
	}
}

// A look-up that misses its slot gives it up, so that it is not lost to messages.
func TestALookUpGivesUpTheSlotThatItMissed(t *testing.T) {
	t.Parallel()
	j := journal.New(natstest.Start(t, nil, []string{"a"}), journal.Options{Owner: "me", Log: slog.New(slog.DiscardHandler)})
	local, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", Limits: []ratelimit.Limit{{Requests: 10, Per: time.Second}}})
	if err != nil {
		t.Fatal(err)
	}
	slots := &given{Local: local}
	l := &lookups{account: "a", journal: j, slots: slots}
	granted, err := l.Slot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	late := time.After(50 * time.Millisecond) // more than a slot may be late
	<-late
	if err := granted(); !errors.Is(err, errSlotMissed) || slots.back != 1 {
		t.Errorf("%v, %d slots given up, want one", err, slots.back)
	}
	if granted, err = l.Slot(t.Context()); err != nil || granted() != nil || slots.back != 1 {
		t.Errorf("%v, %d slots given up by one that was used", err, slots.back)
	}
}

type given struct {
	*ratelimit.Local
	back int
}

func (g *given) Unused(context.Context, ratelimit.Slot) { g.back++ }
