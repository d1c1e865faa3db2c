package ratelimit

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisInstant reads an instant of the account's state.
func redisInstant(t *testing.T, w *world, s *Slots, field string) time.Time {
	t.Helper()
	us, err := strconv.ParseInt(w.redis.HGet(s.keys[0], field), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(us)
}

// inWorld runs f in virtual time with one client of a Redis known for long.
func inWorld(t *testing.T, o Options, f func(t *testing.T, w *world, s *Slots)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		defer w.redis.Close()
		rdb := w.client()
		defer rdb.Close()
		s := mustNew(t, rdb, o)
		skipQuarantine(t, rdb, s)
		f(t, w, s)
	})
}

// Asking whether there would be slots takes none, neither instants nor counts, and
// begins the quarantine of a Redis that is new.
func TestReadyTakesNone(t *testing.T) {
	o := perSecond(100)
	o.Limits = append(o.Limits, Limit{Requests: 7, Per: time.Hour})
	inWorld(t, o, func(t *testing.T, w *world, s *Slots) {
		if _, err := s.Next(t.Context(), 5, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // virtual: there is a slot at once
		before, left := redisInstant(t, w, s, "tat"), w.redis.Dump()
		rdb := w.client()
		defer rdb.Close()
		for _, c := range []*Slots{s, mustNew(t, rdb, o)} {
			if err := c.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if now := w.redis.Dump(); !redisInstant(t, w, s, "tat").Equal(before) || now != left {
			t.Errorf("Redis had %s, has %s", left, now)
		}
		if err := s.Pause(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		var p *PausedError
		if err := s.Ready(t.Context()); !errors.As(err, &p) {
			t.Errorf("paused: %v", err)
		}
		w.redis.FlushAll()
		var q *QuarantineError
		if err := s.Ready(t.Context()); !errors.As(err, &q) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("flushed: %v", err)
		}
		time.Sleep(time.Until(q.Until))
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("after the quarantine: %v", err)
		}
	})
}

// A slot that was missed, or leased and not needed, is not lost if it was the last:
// the next lies where it did, or now.
func TestUnusedSlotsMoveOn(t *testing.T) {
	inWorld(t, perSecond(1), func(t *testing.T, w *world, s *Slots) {
		rdb := w.client()
		defer rdb.Close()
		other := mustNew(t, rdb, s.o)
		next := func(s *Slots) Slot {
			t.Helper()
			sl, err := s.Next(t.Context(), 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			return sl
		}
		sl := next(s)
		time.Sleep(time.Until(sl.At) + 50*time.Millisecond)
		if sl.Usable(time.Now()) {
			t.Fatal("not missed")
		}
		s.Unused(t.Context(), sl)
		again := next(s)
		if !again.Usable(time.Now()) {
			t.Errorf("the next slot lies %v ahead", time.Until(again.At))
		}
		s.Unused(t.Context(), again)
		s.Unused(t.Context(), again) // once is enough, twice is nothing
		if err := s.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		used := next(other)
		if !used.Usable(time.Now()) {
			t.Errorf("another process's next slot lies %v ahead", time.Until(used.At))
		}
		s.Unused(t.Context(), again) // somebody else's by now
		if sl := next(s); sl.At.Sub(used.At) < s.plan.step {
			t.Errorf("%v between two slots, one that was used was granted again", sl.At.Sub(used.At))
		}
	})
}

// Who leaves with slots leased ahead leaves them to the others.
func TestLeaveGivesBack(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		rdb := w.client()
		defer rdb.Close()
		sl, err := s.Next(t.Context(), 1, 50)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := mustNew(t, rdb, s.o).Next(t.Context(), 1, 1)
		if gap := got.At.Sub(sl.At); err != nil || gap != s.plan.step {
			t.Errorf("the next slot %v after the only one that was used: %v", gap, err)
		}
	})
}

func TestPauseHoldsForAll(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		rdb := w.client()
		defer rdb.Close()
		other := mustNew(t, rdb, s.o)
		if _, err := s.Next(t.Context(), 1, 50); err != nil {
			t.Fatal(err)
		}
		till := time.Now().Add(time.Minute)
		for _, d := range []time.Duration{time.Minute, time.Second, -time.Second} { // the longest stays
			if err := s.Pause(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []*Slots{s, other} {
			var p *PausedError
			if _, err := c.Next(t.Context(), 1, 1); !errors.As(err, &p) || p.Full || !p.Until.Equal(till) {
				t.Fatalf("error %v, want a pause until %v", err, till)
			}
		}
		time.Sleep(time.Minute)
		for _, c := range []*Slots{s, other} {
			if _, err := c.Next(t.Context(), 1, 1); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestCancel(t *testing.T) {
	gone := errors.New("gone")
	inWorld(t, perSecond(1), func(t *testing.T, w *world, s *Slots) {
		if _, err := s.Next(t.Context(), 1, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(300*time.Millisecond, func() { cancel(gone) })
		start := time.Now()
		if _, err := s.Next(ctx, 1, 1); err != gone {
			t.Errorf("Next while waiting: %v", err)
		}
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("Next ended after %v", took)
		}
		if _, err := s.Next(ctx, 1, 1); err != gone {
			t.Errorf("Next with a context that has ended: %v", err)
		}
		if err := s.Pause(ctx, time.Second); err != gone {
			t.Errorf("Pause: %v", err)
		}
		if err := (Slot{At: time.Now().Add(time.Hour), now: time.Now}).Wait(ctx); err != gone {
			t.Errorf("Wait: %v", err)
		}
	})
}

// Who gives up while Redis is being asked has lost nobody's slots.
func TestGivingUpLosesNoSlot(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		w.slow = 9 * time.Millisecond
		for range 5 {
			time.Sleep(200 * time.Millisecond) // what was leased has passed
			ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
			_, err := s.Next(ctx, 1, 50)
			cancel()
			if err != nil || len(s.kept) == 0 {
				t.Errorf("error %v, %d slots kept of what was granted", err, len(s.kept))
			}
		}
	})
}

func TestUrgentComesFirst(t *testing.T) {
	inWorld(t, perSecond(2), func(t *testing.T, w *world, s *Slots) {
		rdb := w.client()
		defer rdb.Close()
		bulk := mustNew(t, rdb, s.o)
		if _, err := bulk.Next(t.Context(), 1, 1000); err != nil {
			t.Fatal(err)
		}
		got := make(chan Slot, 1)
		go func() {
			sl, _ := bulk.Next(t.Context(), 1, 1000)
			got <- sl
		}()
		time.Sleep(time.Millisecond) // the one with the backlog has asked first
		urgent, err := s.Next(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if later := <-got; !urgent.At.Before(later.At) {
			t.Errorf("urgent %v, bulk %v", urgent.At, later.At)
		}
	})
}

func TestPassedSlotsAreDropped(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		if _, err := s.Next(t.Context(), 1, 50); err != nil {
			t.Fatal(err)
		}
		if len(s.kept) == 0 {
			t.Fatal("nothing was leased ahead")
		}
		time.Sleep(time.Second)
		sl, err := s.Next(t.Context(), 1, 1)
		if err != nil || sl.At.Before(time.Now()) {
			t.Errorf("slot %v before now, error %v", time.Until(sl.At), err)
		}
	})
}

func TestNewRefusesAClientWithoutDeadlines(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()
	if _, err := New(rdb, perSecond(1)); err == nil {
		t.Error("accepted")
	}
}
