package ratelimit

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	redistest "github.com/tuma-sms/tuma/internal/testkit/redis"
)

func TestPauseHoldsHereWithoutRedis(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		w.redis.SetError("LOADING")
		if err := s.Pause(t.Context(), time.Minute); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("error %v, want ErrUnavailable", err)
		}
		w.redis.SetError("")
		var p *PausedError
		if _, err := s.Next(t.Context(), 1, 1); !errors.As(err, &p) {
			t.Fatalf("error %v, want a pause", err)
		}
	})
}

func TestFlushIsAQuarantine(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		w.redis.FlushAll()
		flushed := time.Now()
		var q *QuarantineError
		if _, err := s.Next(t.Context(), 1, 1); !errors.As(err, &q) || !errors.Is(err, ErrUnavailable) {
			t.Fatalf("error %v, want a quarantine", err)
		}
		if want := 2*time.Second + time.Second + 100*time.Millisecond; q.Until.Sub(flushed) != want {
			t.Errorf("quarantine of %v, want %v", q.Until.Sub(flushed), want)
		}
		time.Sleep(time.Until(q.Until))
		if _, err := s.Next(t.Context(), 1, 1); err != nil {
			t.Fatal(err)
		}
	})
}

// Another server with the very same data, as after a failover.
func TestNewRunIDIsAQuarantine(t *testing.T) {
	t.Parallel()
	first, second := connect(t, redistest.Start(t)), connect(t, redistest.Start(t))
	o := perSecond(100)
	o.Jitter, o.Timeout = time.Minute, time.Minute // not a matter of speed
	s := mustNew(t, first, o)
	skipQuarantine(t, first, s)
	if _, err := s.Next(t.Context(), 1, 1); err != nil {
		t.Fatal(err)
	}
	state, err := first.HGetAll(t.Context(), s.keys[0]).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := second.HSet(t.Context(), s.keys[0], state).Err(); err != nil {
		t.Fatal(err)
	}
	var q *QuarantineError
	if _, err := mustNew(t, second, s.o).Next(t.Context(), 1, 1); !errors.As(err, &q) {
		t.Fatalf("error %v, want a quarantine", err)
	}
}

func TestClock(t *testing.T) {
	tests := map[string]struct {
		skew       time.Duration
		quarantine bool
		after      time.Duration // until the next slot
	}{
		"back a little stalls":          {-500 * time.Millisecond, false, 500 * time.Millisecond},
		"back a lot is a quarantine":    {-time.Hour, true, 3100 * time.Millisecond},
		"ahead is a quarantine":         {time.Hour, true, 3100 * time.Millisecond},
		"ahead by drift is not noticed": {4 * time.Millisecond, false, 6200 * time.Microsecond},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
				if _, err := s.Next(t.Context(), 1, 1); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				w.shift(tc.skew)
				sl, err := s.Next(t.Context(), 1, 1)
				var q *QuarantineError
				if errors.As(err, &q) != tc.quarantine {
					t.Fatalf("error %v", err)
				}
				if tc.quarantine {
					time.Sleep(time.Until(q.Until))
					sl, err = s.Next(t.Context(), 1, 1)
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := sl.At.Sub(start); got < tc.after || got > tc.after+20*time.Millisecond {
					t.Errorf("next slot after %v, want %v", got, tc.after)
				}
			})
		})
	}
}

func TestPauseGoesBackWithTheClock(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		if _, err := s.Next(t.Context(), 1, 1); err != nil { // leaves the clock behind
			t.Fatal(err)
		}
		if _, err := s.call(t.Context(), s.pause, s.keys[:1], time.Minute.Microseconds()); err != nil {
			t.Fatal(err)
		}
		w.shift(-time.Hour)
		if _, err := s.Next(t.Context(), 1, 1); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("error %v, want a quarantine", err)
		}
		if left := redisInstant(t, w, s, "pause").Sub(time.Now().Add(w.skew)); left != time.Minute {
			t.Errorf("paused for %v, want a minute", left)
		}
	})
}

func TestStalledRedisIsUnavailable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // connects and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := perSecond(100)
	o.Timeout = 50 * time.Millisecond
	s := mustNew(t, connect(t, l.Addr().String()), o)
	start := time.Now()
	if _, err := s.Next(t.Context(), 1, 1); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want ErrUnavailable for the deadline", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("answered after %v", took)
	}
}

func TestSlowRedisIsUnavailable(t *testing.T) {
	inWorld(t, perSecond(100), func(t *testing.T, w *world, s *Slots) {
		w.slow, w.stall = time.Millisecond, 1 // a leg takes up to 100 ms
		refused := 0
		for range 100 {
			sl, err := s.Next(t.Context(), 1, 1)
			if err == nil { // a lucky round trip
				checkExact(t, w, s, sl)
				continue
			}
			if !errors.Is(err, ErrUnavailable) {
				t.Fatalf("error %v, want ErrUnavailable", err)
			}
			refused++
		}
		if refused < 50 {
			t.Errorf("%d of 100 refused", refused)
		}
	})
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	s := mustNew(t, connect(t, m.Addr()), perSecond(100))
	m.Close()
	if _, err := s.Next(t.Context(), 1, 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
}
