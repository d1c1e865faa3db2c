package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"

	redistest "github.com/tuma-sms/tuma/internal/testkit/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// perSecond are the options of an account with n requests a second.
func perSecond(n int) Options {
	return Options{Account: "acme-ke", Limits: []Limit{{Requests: n, Per: time.Second}}}
}

// connect returns a client for addr as the programs would make it.
func connect(t testing.TB, addr string) *redis.Client {
	rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: 1})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// onBoth runs f against a simulated and a real Redis.
func onBoth(t *testing.T, f func(t *testing.T, addr string)) {
	t.Run("miniredis", func(t *testing.T) { t.Parallel(); f(t, miniredis.RunT(t).Addr()) })
	t.Run("redis-server", func(t *testing.T) { t.Parallel(); f(t, redistest.Start(t)) })
}

func mustNew(t testing.TB, rdb redis.UniversalClient, o Options) *Slots {
	t.Helper()
	s, err := New(rdb, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// skipQuarantine lets a new Redis grant at once, as if it had been known for long.
func skipQuarantine(t testing.TB, rdb redis.UniversalClient, s *Slots) {
	t.Helper()
	var q *QuarantineError
	if _, err := s.Next(t.Context(), 1, 1); !errors.As(err, &q) || !errors.Is(err, ErrUnavailable) {
		t.Fatalf("first use of a new Redis: %v, want a quarantine", err)
	}
	if err := rdb.HSet(t.Context(), s.keys[0], "open", "0").Err(); err != nil {
		t.Fatal(err)
	}
}

// world is a Redis with a clock of its own in front of virtual time (in a
// synctest bubble), and a network that takes its time.
type world struct {
	redis *miniredis.Miniredis
	mu    sync.Mutex
	skew  time.Duration // Redis's clock minus ours
	calls int
	rng   *rand.Rand
	slow  time.Duration // a leg of a call takes up to this ...
	stall float64       // ... and with this probability a hundred times as long
}

func newWorld(seed uint64) *world {
	return &world{redis: miniredis.NewMiniRedis(), rng: rand.New(rand.NewPCG(seed, 1))}
}

func (w *world) shift(d time.Duration) { w.mu.Lock(); w.skew += d; w.mu.Unlock() }

func (w *world) upTo(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

func (w *world) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64() < p
}

// client is a connection to w; close it before the bubble ends.
func (w *world) client() *redis.Client {
	rdb := redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1", ContextTimeoutEnabled: true, MaxRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return w.redis.Dial() },
	})
	rdb.AddHook(w)
	return rdb
}

func (w *world) DialHook(next redis.DialHook) redis.DialHook { return next }
func (w *world) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook delays both legs of a call and sets Redis's clock in between.
func (w *world) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		time.Sleep(w.leg())
		w.mu.Lock()
		w.calls++
		w.redis.SetTime(time.Now().Add(w.skew))
		w.mu.Unlock() // next may dial, and greet through this hook
		err := next(ctx, cmd)
		time.Sleep(w.leg())
		if err == nil && ctx.Err() != nil { // the answer comes to nobody
			cmd.SetErr(ctx.Err())
			return ctx.Err()
		}
		return err
	}
}

func (w *world) leg() time.Duration {
	if w.chance(w.stall) {
		return 100 * w.upTo(w.slow)
	}
	return w.upTo(w.slow)
}

// ledger is what a provider saw.
type ledger struct {
	mu    sync.Mutex
	times []time.Time
	sizes []int
}

func (l *ledger) add(at time.Time, messages int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.times, at, time.Time.Compare)
	l.times, l.sizes = slices.Insert(l.times, i, at), slices.Insert(l.sizes, i, messages)
}

// check returns a complaint if a half-open window of length per holds more than
// requests, or more than messages (0: any).
func (l *ledger) check(requests, messages int, per time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum, first := 0, 0
	for i, at := range l.times {
		sum += l.sizes[i]
		for ; at.Sub(l.times[first]) >= per; first++ {
			sum -= l.sizes[first]
		}
		if n := i - first + 1; requests > 0 && n > requests || messages > 0 && sum > messages {
			return fmt.Errorf("%d requests, %d messages in the %v before %v", n, sum, per, at)
		}
	}
	return nil
}

// sender is one process with a backlog.
type sender struct {
	slots interface {
		Next(ctx context.Context, messages, backlog int) (Slot, error)
		Unused(ctx context.Context, sl Slot)
		Leave(ctx context.Context) error
	}
	messages func() int
	backlog  func() int
	late     func(Slot) time.Duration // how long after the slot it gets to send
}

// send sends until end, as fast as the slots allow.
func (s sender) send(ctx context.Context, l *ledger, end time.Time) error {
	for time.Now().Before(end) {
		m := s.messages()
		sl, err := s.slots.Next(ctx, m, s.backlog())
		var q *QuarantineError
		var p *PausedError
		switch {
		case errors.As(err, &q):
			err = sleep(ctx, time.Until(q.Until))
		case errors.As(err, &p):
			err = sleep(ctx, time.Until(p.Until))
		case errors.Is(err, ErrUnavailable):
			err = sleep(ctx, 10*time.Millisecond)
		case err == nil:
			if err = sl.Wait(ctx); err == nil {
				err = sleep(ctx, s.late(sl))
			}
			if now := time.Now(); sl.Usable(now) {
				l.add(now, m)
			} else {
				s.slots.Unused(ctx, sl)
			}
		}
		if err != nil {
			return err
		}
	}
	if err := s.slots.Leave(ctx); err != nil && !errors.Is(err, ErrUnavailable) {
		return err
	}
	return nil
}

func always[T any](v T) func() T { return func() T { return v } }

func onTime(Slot) time.Duration { return 0 }
