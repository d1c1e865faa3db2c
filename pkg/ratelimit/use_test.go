package ratelimit

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Under backlog 97% of a limit is used, whatever the number of processes, with
// about 13 calls to Redis a second and process.
func TestUseAndCalls(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 120, 2000} {
		for _, clients := range []int{1, 2, 4, 8} {
			const seconds = 6
			var l ledger
			var calls int
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1)
				var wg sync.WaitGroup
				end := time.Now().Add((seconds + 3) * time.Second).Add(100 * time.Millisecond)
				for range clients {
					rdb := w.client()
					defer rdb.Close()
					c := sender{mustNew(t, rdb, perSecond(n)), always(1), always(1000), onTime}
					wg.Go(func() {
						if err := c.send(t.Context(), &l, end); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				calls = w.calls
				w.redis.Close()
			})
			if err := l.check(n, 0, time.Second); err != nil {
				t.Errorf("limit %d, %d clients: %v", n, clients, err)
			}
			if use := float64(len(l.times)) / float64(n*seconds); use < 0.97 {
				t.Errorf("limit %d, %d clients: %.1f%% used", n, clients, use*100)
			}
			if most := 15 * seconds * clients; calls > most {
				t.Errorf("limit %d, %d clients: %d calls in %d s, want %d at most", n, clients, calls, seconds, most)
			}
		}
	}
}

// The same with real clocks, sockets and timers. A machine that is busy with
// something else loses slots: this test runs beside no other of the package, and
// failing counts against us only if plain timers beside it all kept their time. No
// attempt, whatever the machine does, may overshoot.
func TestUseInRealTime(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		for name, clients := range map[string]int{"one": 1, "two": 2, "four": 4, "eight": 8} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				o := perSecond(120)
				o.Account = name // accounts do not touch each other
				o.Timeout = 10 * time.Second
				var senders []sender
				for i := range clients {
					rdb := connect(t, addr)
					s := mustNew(t, rdb, o)
					if i == 0 {
						skipQuarantine(t, rdb, s)
					}
					senders = append(senders, sender{s, always(1), always(1000), onTime})
				}
				late := 0
				for range 2 {
					use, l := measure(t, senders)
					if use >= 0.97 {
						return
					}
					t.Logf("%.1f%% of the limit used, %d plain timers late", use*100, l)
					late += l
				}
				if late == 0 {
					t.Fatal("less than 97% on a machine that had the time")
				}
				t.Log("the machine is too busy to judge the use in real time; TestUseAndCalls judges it in virtual time")
			})
		}
	})
}

// measure sends for two seconds and returns the share of the limit of 120 a
// second that was used, and how many plain timers of the same spacing were late.
func measure(t *testing.T, senders []sender) (use float64, late int) {
	t.Helper()
	var l ledger
	var wg sync.WaitGroup
	start := time.Now()
	end := start.Add(2 * time.Second)
	for _, s := range senders {
		wg.Go(func() {
			if err := s.send(t.Context(), &l, end); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 235 {
		due := start.Add(time.Duration(i) * 8500 * time.Microsecond)
		_ = sleep(t.Context(), time.Until(due)) // the senders report a context that ended
		if time.Since(due) > 10*time.Millisecond {
			late++
		}
	}
	wg.Wait()
	if err := l.check(120, 0, time.Second); err != nil {
		t.Fatal(err)
	}
	// Some who were waiting at the end have sent one more.
	used, _ := slices.BinarySearchFunc(l.times, end, time.Time.Compare)
	return float64(used) / 240, late
}

// checkExact complains if the slot just leased with s lies before Redis's instant
// for it, or may be used more than the jitter after it.
func checkExact(t *testing.T, w *world, s *Slots, sl Slot) {
	t.Helper()
	late := sl.At.Sub(redisInstant(t, w, s, "tat").Add(-s.plan.step))
	if late < 0 || late+sl.late > s.o.Jitter {
		t.Fatalf("slot usable from %v to %v after Redis's instant", late, late+sl.late)
	}
}

// A slot lies where Redis put it or up to the round trip later, never before.
func TestSlotsAreNeverEarly(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		w.slow = 10 * time.Millisecond
		for range 200 {
			sl, err := s.Next(t.Context(), 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			checkExact(t, w, s, sl)
			time.Sleep(w.upTo(20 * time.Millisecond))
		}
	})
}
