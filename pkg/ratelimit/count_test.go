package ratelimit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// limiter is what Slots and Local have in common.
type limiter interface {
	Next(ctx context.Context, messages, backlog int) (Slot, error)
	Pause(ctx context.Context, d time.Duration) error
}

// eachKind runs f with Slots and with Local, in virtual time.
func eachKind(t *testing.T, o Options, f func(t *testing.T, l limiter)) {
	t.Run("slots", func(t *testing.T) {
		inWorld(t, o, func(t *testing.T, _ *world, s *Slots) { f(t, s) })
	})
	t.Run("local", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l, err := NewLocal(o)
			if err != nil {
				t.Fatal(err)
			}
			f(t, l)
		})
	})
}

// burst takes slots for so many messages each until none is within reach, and
// returns how many it got and when the next is due.
func burst(t *testing.T, l limiter, messages int) (got int, until time.Time) {
	t.Helper()
	for {
		sl, err := l.Next(t.Context(), messages, 1000)
		var p *PausedError
		if errors.As(err, &p) && p.Full {
			return got, p.Until
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := sl.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		got++
	}
}

func TestCalendarDay(t *testing.T) {
	kigali, err := time.LoadLocation("Africa/Kigali") // UTC+2
	if err != nil {
		t.Fatal(err)
	}
	o := perSecond(100)
	o.Limits = append(o.Limits, Limit{Messages: 15, Calendar: true, Zone: kigali})
	eachKind(t, o, func(t *testing.T, l limiter) {
		got, until := burst(t, l, 3) // virtual time starts at midnight UTC
		midnight := time.Date(2000, 1, 2, 0, 0, 0, 0, kigali)
		if got != 5 || !until.Equal(midnight.Add(clockSkew)) {
			t.Errorf("%d × 3 messages until %v, want 5 until %v", got, until, midnight.Add(clockSkew))
		}
		// What is sent in the last seconds of a day counts for the next one too.
		time.Sleep(time.Until(midnight.Add(24*time.Hour - time.Second)))
		if got, until = burst(t, l, 15); got != 1 || !until.Equal(midnight.Add(48*time.Hour+clockSkew)) {
			t.Errorf("%d × 15 messages until %v just before midnight", got, until)
		}
		time.Sleep(time.Until(until))
		if got, _ = burst(t, l, 15); got != 1 {
			t.Errorf("%d × 15 messages on the third day", got)
		}
	})
}

func TestSlidingHour(t *testing.T) {
	o := perSecond(100)
	o.Limits = append(o.Limits, Limit{Requests: 50, Per: time.Hour})
	eachKind(t, o, func(t *testing.T, l limiter) {
		start := time.Now()
		got, until := burst(t, l, 1)
		if d := until.Sub(start); got != 50 || d < time.Hour || d > time.Hour*101/100 {
			t.Errorf("%d requests, the next after %v; want 50 and an hour", got, d)
		}
		time.Sleep(time.Until(until))
		if got, _ = burst(t, l, 1); got != 50 {
			t.Errorf("%d requests an hour later, want 50", got)
		}
	})
}

func TestTooLarge(t *testing.T) {
	o := perSecond(100)
	o.Limits = append(o.Limits, Limit{Messages: 15, Per: time.Hour})
	eachKind(t, o, func(t *testing.T, l limiter) {
		if _, err := l.Next(t.Context(), 16, 1); err != ErrTooLarge {
			t.Errorf("16 of 15 messages: %v", err)
		}
		burst(t, l, 15)
		if _, err := l.Next(t.Context(), 0, 1); err != nil {
			t.Errorf("a poll when the messages are used up: %v", err)
		}
	})
}

func TestLowRateIsToldNotWaitedFor(t *testing.T) {
	o := perSecond(1)
	o.Limits[0].Per = time.Minute
	eachKind(t, o, func(t *testing.T, l limiter) {
		start := time.Now()
		if got, until := burst(t, l, 1); got != 1 || until.Sub(start) < 59*time.Second || time.Since(start) > patience {
			t.Errorf("%d requests in %v, the next after %v", got, time.Since(start), until.Sub(start))
		}
	})
}

func TestLocalPause(t *testing.T) {
	eachKind(t, perSecond(100), func(t *testing.T, l limiter) {
		if err := l.Pause(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		var p *PausedError
		if _, err := l.Next(t.Context(), 1, 1); !errors.As(err, &p) || p.Full || time.Until(p.Until) != time.Hour {
			t.Errorf("error %v, want an hour's pause", err)
		}
	})
}

// The counts that outlive their window in Redis are dropped, whatever comes.
func TestCountsStaySmall(t *testing.T) {
	o := perSecond(1000)
	o.Limits = append(o.Limits, Limit{Messages: 1e6, Per: 100 * time.Millisecond}, Limit{Requests: 1e6, Calendar: true})
	inWorld(t, o, func(t *testing.T, w *world, s *Slots) {
		for range 2000 {
			if _, err := s.Next(t.Context(), 1, 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		list, err := w.redis.List(s.keys[1])
		if err != nil || len(list) > buckets {
			t.Errorf("%d buckets are kept, error %v", len(list), err)
		}
		time.Sleep(5*24*time.Hour + time.Hour)
		if _, err := s.Next(t.Context(), 1, 1); err != nil {
			t.Fatal(err)
		}
		days, err := w.redis.HKeys(s.keys[2])
		if err != nil || len(days) != 1 {
			t.Errorf("days %v, error %v", days, err)
		}
		if list, _ = w.redis.List(s.keys[1]); len(list) != 1 {
			t.Errorf("buckets %v", list)
		}
	})
}

// Local keeps the same limits for the goroutines of one process.
func TestLocalNoWindowOverflows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScenario(rt)
		var l ledger
		synctest.Test(t, func(t *testing.T) {
			w := &world{rng: newWorld(s.Seed).rng}
			local, err := NewLocal(Options{Account: "acme", Limits: s.Limits})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			for range s.Clients {
				c := sender{local, func() int { return 1 + int(w.upTo(time.Duration(s.Messages))) }, always(1),
					func(sl Slot) time.Duration { return w.upTo(sl.late + time.Millisecond) }}
				go func() { done <- c.send(t.Context(), &l, time.Now().Add(3*time.Second)) }()
			}
			for range s.Clients {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
		for _, limit := range s.Limits {
			if err := l.check(limit.Requests, limit.Messages, limit.Per); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const ms, us = time.Millisecond, time.Microsecond
	tests := map[string]struct {
		o          Options
		step, hold time.Duration
		counts     []string
	}{
		"120 a second":  {perSecond(120), 8500 * us, 3100 * ms, nil},
		"1 a second":    {perSecond(1), 1020 * ms, 3120 * ms, nil},
		"paced":         {Options{Account: "a", Limits: []Limit{{Requests: 100, Per: time.Second, Model: Paced}}}, 30 * ms, 3100 * ms, nil},
		"the tightest":  {Options{Account: "a", Limits: []Limit{{Requests: 100, Per: time.Second}, {Requests: 60, Per: time.Minute}}}, 1000334 * us, 62100 * ms, nil},
		"only messages": {Options{Account: "a", Limits: []Limit{{Messages: 100, Per: time.Second}}}, ms, 3100 * ms, []string{"messages:1000000"}},
		"only an hour":  {Options{Account: "a", Limits: []Limit{{Requests: 9, Messages: 100, Per: time.Hour}}}, ms, 2101 * ms, []string{"requests:3600000000", "messages:3600000000"}},
		"a day in UTC":  {Options{Account: "a", Limits: []Limit{{Requests: 100, Per: time.Second}, {Messages: 15, Calendar: true}}}, 10200 * us, 3100 * ms, []string{"messages:UTC"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := tc.o.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			p, err := newPlan(o)
			if err != nil {
				t.Fatal(err)
			}
			var counts []string
			for _, c := range p.counts {
				counts = append(counts, c.name)
			}
			if p.step != tc.step || p.hold != tc.hold || !cmp.Equal(counts, tc.counts) {
				t.Errorf("step %v, quarantine %v, counts %v; want %v, %v, %v", p.step, p.hold, counts, tc.step, tc.hold, tc.counts)
			}
		})
	}
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	change := map[string]func(*Options){
		"no account":        func(o *Options) { o.Account = "" },
		"braces":            func(o *Options) { o.Account = "a}b" },
		"no limit":          func(o *Options) { o.Limits = nil },
		"empty limit":       func(o *Options) { o.Limits = []Limit{{Per: time.Second}} },
		"negative limit":    func(o *Options) { o.Limits = []Limit{{Requests: -1, Messages: 5, Per: time.Second}} },
		"no period":         func(o *Options) { o.Limits = []Limit{{Requests: 1}} },
		"unknown model":     func(o *Options) { o.Limits[0].Model = "leaky" },
		"later than jitter": func(o *Options) { o.MaxLate = time.Second },
		"too far ahead":     func(o *Options) { o.Ahead = time.Second },
		"negative jitter":   func(o *Options) { o.Jitter = -1 },
	}
	rdb := connect(t, miniredis.RunT(t).Addr())
	for name, f := range change {
		o := perSecond(1)
		f(&o)
		if _, err := New(rdb, o); err == nil {
			t.Errorf("New: %s: accepted", name)
		}
		if _, err := NewLocal(o); err == nil {
			t.Errorf("NewLocal: %s: accepted", name)
		}
	}
}
