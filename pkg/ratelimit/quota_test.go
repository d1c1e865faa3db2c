package ratelimit

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"
)

// A quota does what a bucket of tokens does.
func TestQuotaIsATokenBucket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := miniredis.NewMiniRedis()
		if err := m.Start(); err != nil {
			rt.Fatal(err)
		}
		defer m.Close()
		rdb := connect(t, m.Addr())
		defer rdb.Close()
		n := rapid.IntRange(1, 1000).Draw(rt, "n")
		per := time.Duration(rapid.IntRange(1, 100_000).Draw(rt, "per ms")) * time.Millisecond
		q := NewQuota(rdb, "acme", n, per)
		now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		tokens := float64(n)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			d := time.Duration(rapid.Int64Range(0, int64(per)).Draw(rt, "pass")).Truncate(time.Microsecond)
			now = now.Add(d)
			m.SetTime(now)
			m.FastForward(d)
			tokens = min(float64(n), tokens+float64(d)*float64(n)/float64(per))
			take := rapid.IntRange(1, 2*n).Draw(rt, "take")
			wait, err := q.Take(rt.Context(), take)
			if err != nil {
				rt.Fatal(err)
			}
			lack := min(float64(take), float64(n)) - tokens
			if wait == 0 {
				tokens -= float64(take)
			}
			// Costs are rounded up by a microsecond a take.
			slack := 40 * float64(n) / float64(per.Microseconds())
			if due := wait.Seconds() * float64(n) / per.Seconds(); lack > slack && wait == 0 || math.Abs(max(lack, 0)-due) > slack {
				rt.Fatalf("took %d with %.3f tokens of %d: wait %v", take, tokens, n, wait)
			}
		}
	})
}

func TestQuotaOfManyAtOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, addr string) {
		var taken atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			q := NewQuota(connect(t, addr), "acme", 100, time.Hour)
			wg.Go(func() {
				for range 50 {
					wait, err := q.Take(t.Context(), 1)
					if err != nil {
						t.Error(err)
					}
					if wait == 0 {
						taken.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if taken.Load() != 100 {
			t.Errorf("%d of 100 taken", taken.Load())
		}
	})
}

func TestQuotaWithClockGoneBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		defer w.redis.Close()
		rdb := w.client()
		defer rdb.Close()
		q := NewQuota(rdb, "acme", 10, time.Second)
		if wait, err := q.Take(t.Context(), 10); wait != 0 || err != nil {
			t.Fatal(wait, err)
		}
		w.shift(-time.Hour)
		if wait, err := q.Take(t.Context(), 10); wait != time.Second || err != nil {
			t.Errorf("wait %v, want one period; error %v", wait, err)
		}
	})
}

func TestQuotaWithoutRedis(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	m.SetError("LOADING")
	if _, err := NewQuota(connect(t, m.Addr()), "acme", 10, time.Second).Take(t.Context(), 1); err == nil {
		t.Error("no error")
	}
}
