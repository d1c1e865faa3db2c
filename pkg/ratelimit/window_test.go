package ratelimit

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// scenario is one drawn history of several processes and a Redis with faults.
type scenario struct {
	Limits   []Limit
	Clients  int
	Messages int // a request carries 1 to this many
	Slow     time.Duration
	Stall    float64
	Faults   []fault
	Seed     uint64
}

// fault happens After the one before it.
type fault struct {
	After time.Duration
	Flush bool
	Skew  time.Duration
}

func drawScenario(rt *rapid.T) scenario {
	s := scenario{
		Clients:  rapid.IntRange(1, 8).Draw(rt, "clients"),
		Messages: rapid.IntRange(1, 20).Draw(rt, "messages"),
		Slow:     time.Duration(rapid.IntRange(0, 18).Draw(rt, "slow ms")) * time.Millisecond,
		Stall:    rapid.SampledFrom([]float64{0, 0, 0.01}).Draw(rt, "stall"),
		Seed:     rapid.Uint64().Draw(rt, "seed"),
	}
	n := rapid.SampledFrom([]int{1, 1, 100, 100, 120, 120, 120, 2000}).Draw(rt, "n")
	model := rapid.SampledFrom([]Model{Sliding, Sliding, Fixed, TokenBucket, Paced}).Draw(rt, "model")
	s.Limits = []Limit{{Requests: n, Per: time.Second, Model: model}}
	if rapid.IntRange(0, 2).Draw(rt, "stacked") == 0 {
		s.Limits = append(s.Limits, Limit{Messages: rapid.IntRange(20, 1000).Draw(rt, "most"), Per: 700 * time.Millisecond},
			Limit{Requests: rapid.IntRange(1, 200).Draw(rt, "in 61 s"), Per: 61 * time.Second})
	}
	// A jump ahead shows only beyond what the round trips may hide, so none is
	// shorter than a second; back it may be any.
	s.Faults = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) fault {
		return fault{
			After: time.Duration(rapid.IntRange(1, 1500).Draw(rt, "after ms")) * time.Millisecond,
			Flush: rapid.IntRange(0, 3).Draw(rt, "flush") == 0,
			Skew: rapid.SampledFrom([]time.Duration{0, -time.Millisecond, -300 * time.Millisecond, -2 * time.Second,
				-time.Hour, time.Second, time.Hour}).Draw(rt, "skew"),
		}
	}), 0, 3).Draw(rt, "faults")
	return s
}

// run plays the scenario in virtual time.
func (s scenario) run(t *testing.T) (l *ledger, failed error) {
	l = new(ledger)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(s.Seed)
		w.slow, w.stall = s.Slow, s.Stall
		known := time.Now().Add(4 * time.Second) // the first quarantine is over
		end := known.Add(s.lasts())
		var wg sync.WaitGroup
		for range s.Clients {
			rdb := w.client()
			defer rdb.Close()
			slots, err := New(rdb, Options{Account: "acme", Limits: s.Limits})
			if err != nil {
				t.Fatal(err)
			}
			c := sender{
				slots:    slots,
				messages: func() int { return 1 + int(w.upTo(time.Duration(s.Messages))) },
				backlog:  func() int { return 1 + int(w.upTo(50)) },
				late:     func(sl Slot) time.Duration { return w.upTo(sl.late + time.Millisecond) },
			}
			// More than one goroutine of a process shares its slots.
			for range 2 {
				wg.Go(func() {
					if err := c.send(t.Context(), l, end); err != nil {
						t.Error(err)
					}
				})
			}
		}
		time.Sleep(time.Until(known))
		for _, f := range s.Faults {
			time.Sleep(f.After)
			w.shift(f.Skew)
			if f.Flush {
				w.redis.FlushAll()
			}
		}
		wg.Wait()
		w.redis.Close()
	})
	for _, limit := range s.Limits {
		if limit.Per > spacedUpTo && s.forgets() {
			continue // documented
		}
		if err := l.check(limit.Requests, limit.Messages, limit.Per); err != nil {
			return l, err
		}
	}
	return l, nil
}

// lasts keeps what is costly to play short.
func (s scenario) lasts() time.Duration {
	if s.Limits[0].Requests > 1000 {
		return time.Second
	}
	return 5 * time.Second
}

// forgets reports whether Redis loses what a window over a minute has used.
func (s scenario) forgets() bool {
	for _, f := range s.Faults {
		if f.Flush || f.Skew > 0 {
			return true
		}
	}
	return false
}

// No window ever holds more than its limit: several processes, slow and stalled
// calls, requests as late as allowed, abandoned slots, a Redis that is flushed
// and whose clock goes back and forth.
func TestNoWindowOverflows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScenario(rt)
		if _, err := s.run(t); err != nil {
			rt.Fatal(err)
		}
	})
}
