package idempotency_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	redistest "github.com/tuma-sms/tuma/internal/testkit/redis"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

const day = 24 * time.Hour

func clock() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func client(t testing.TB, addr string) *redis.Client {
	rdb := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: 1})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// onBoth runs f against a simulated and a real Redis.
func onBoth(t *testing.T, f func(t *testing.T, rdb *redis.Client)) {
	t.Run("miniredis", func(t *testing.T) { t.Parallel(); f(t, client(t, miniredis.RunT(t).Addr())) })
	t.Run("redis-server", func(t *testing.T) { t.Parallel(); f(t, client(t, redistest.Start(t))) })
}

func TestLifeOfAKey(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		k := idempotency.NewKeys(rdb, clock)
		body, other := [32]byte{1}, [32]byte{2, 0, 255}
		claim := func(tenant string, print [32]byte, owner string) idempotency.Claim {
			t.Helper()
			c, err := k.Claim(t.Context(), tenant, "order-17", print, owner)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		expect := func(got idempotency.Claim, state idempotency.ClaimState, answer string) {
			t.Helper()
			if got.State != state || string(got.Answer) != answer {
				t.Fatalf("claim is %d with %q, want %d with %q", got.State, got.Answer, state, answer)
			}
		}
		confirm := func(owner, answer string) error {
			return k.Confirm(t.Context(), "acme", "order-17", owner, []byte(answer), day)
		}
		drop := func(owner string) {
			t.Helper()
			if err := k.Drop(t.Context(), "acme", "order-17", owner); err != nil {
				t.Fatal(err)
			}
		}

		expect(claim("acme", body, "a"), idempotency.Mine, "")
		expect(claim("acme", body, "a"), idempotency.Mine, "") // its own key
		pending := claim("acme", body, "b")
		expect(pending, idempotency.Pending, "")
		if left := pending.Lapses.Sub(clock()); left <= 0 || left > 30*time.Second {
			t.Errorf("a claim lapses in %v", left)
		}
		expect(claim("acme", other, "b"), idempotency.Mismatch, "")
		expect(claim("umbrella", other, "b"), idempotency.Mine, "") // another tenant's key

		drop("b") // not b's
		expect(claim("acme", body, "b"), idempotency.Pending, "")
		drop("a")
		expect(claim("acme", other, "b"), idempotency.Mine, "")
		if err := confirm("a", "no"); !errors.Is(err, idempotency.ErrLost) {
			t.Errorf("confirmed a lost claim: %v", err)
		}
		for range 2 {
			if err := confirm("b", `{"id":"1"}`); err != nil {
				t.Fatal(err)
			}
		}
		drop("b") // confirmed: stays
		expect(claim("acme", other, "c"), idempotency.Done, `{"id":"1"}`)
		expect(claim("acme", other, "b"), idempotency.Mine, `{"id":"1"}`)
		expect(claim("acme", body, "c"), idempotency.Mismatch, "")
		if ttl := rdb.PTTL(t.Context(), "tuma:key:"+idempotency.MsgID("acme", "order-17")).Val(); ttl <= day-time.Minute || ttl > day {
			t.Errorf("kept for %v", ttl)
		}
	})
}

func TestClaimLapses(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	k := idempotency.NewKeys(client(t, m.Addr()), clock)
	claim := func(owner string) idempotency.ClaimState {
		c, err := k.Claim(t.Context(), "acme", "k", [32]byte{}, owner)
		if err != nil {
			t.Fatal(err)
		}
		return c.State
	}
	got := []idempotency.ClaimState{claim("a")}
	m.FastForward(20 * time.Second)
	got = append(got, claim("a")) // begins anew
	m.FastForward(20 * time.Second)
	got = append(got, claim("b"))
	m.FastForward(10 * time.Second)
	got = append(got, claim("b"))
	if diff := cmp.Diff([]idempotency.ClaimState{idempotency.Mine, idempotency.Mine, idempotency.Pending, idempotency.Mine}, got); diff != "" {
		t.Error(diff)
	}
	if err := k.Confirm(t.Context(), "acme", "k", "a", nil, day); !errors.Is(err, idempotency.ErrLost) {
		t.Errorf("the first owner confirmed: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		k := idempotency.NewKeys(rdb, clock)
		for i, answer := range [][]byte{
			{}, {0}, []byte("\x00\r\nstored"), bytes.Repeat([]byte{255}, 1023), bytes.Repeat([]byte("x"), 1024),
			[]byte(strings.Repeat(`{"id":"01J","to":"+254712345678","segments":1},`, 22000)), // about 1 MB
		} {
			key := fmt.Sprint(i)
			if _, err := k.Claim(t.Context(), "acme", key, [32]byte{}, "a"); err != nil {
				t.Fatal(err)
			}
			if err := k.Confirm(t.Context(), "acme", key, "a", answer, day); err != nil {
				t.Fatal(err)
			}
			c, err := k.Claim(t.Context(), "acme", key, [32]byte{}, "b")
			if err != nil || c.State != idempotency.Done || !bytes.Equal(c.Answer, answer) {
				t.Errorf("%d bytes came back as %d, error %v", len(answer), len(c.Answer), err)
			}
			stored := rdb.HGet(t.Context(), "tuma:key:"+idempotency.MsgID("acme", key), "answer").Val()
			if len(answer) >= 1024 && len(stored) > len(answer)/2 {
				t.Errorf("%d bytes are stored as %d", len(answer), len(stored))
			}
		}
	})
}

func TestForeignAnswerIsAnError(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	k := idempotency.NewKeys(client(t, m.Addr()), clock)
	for _, stored := range []string{"", "x", "s", "sgarbage", "s\xff\xff\xff\xff\x0f\x00"} {
		m.HSet("tuma:key:"+idempotency.MsgID("acme", "k"), "owner", "a", "print", string(make([]byte, 32)), "answer", stored)
		if _, err := k.Claim(t.Context(), "acme", "k", [32]byte{}, "b"); !errors.Is(err, idempotency.ErrBadAnswer) {
			t.Errorf("%q: error %v", stored, err)
		}
	}
}

// Of many at once, one gets the key.
func TestOneOfManyOwnsAKey(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		var mine atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				c, err := idempotency.NewKeys(rdb, clock).Claim(t.Context(), "acme", "k", [32]byte{}, fmt.Sprint(i))
				if err != nil {
					t.Error(err)
				}
				if c.State == idempotency.Mine {
					mine.Add(1)
				}
			})
		}
		wg.Wait()
		if mine.Load() != 1 {
			t.Errorf("%d owners", mine.Load())
		}
	})
}

// lostAnswers loses the answer to the first attempt of every call, as a dropped
// connection does, and makes the client repeat it.
type lostAnswers struct{}

func (lostAnswers) DialHook(next redis.DialHook) redis.DialHook { return next }
func (lostAnswers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (lostAnswers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := next(ctx, cmd); err != nil {
			return err
		}
		return next(ctx, cmd)
	}
}

func TestRepeatedCallsChangeNothing(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		rdb.AddHook(lostAnswers{})
		k := idempotency.NewKeys(rdb, clock)
		c, err := k.Claim(t.Context(), "acme", "k", [32]byte{}, "a")
		if err != nil || c.State != idempotency.Mine {
			t.Fatalf("claim is %d, error %v", c.State, err)
		}
		if err := k.Confirm(t.Context(), "acme", "k", "a", []byte("yes"), day); err != nil {
			t.Fatal(err)
		}
		if err := k.Drop(t.Context(), "acme", "k", "a"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestErrors(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	k := idempotency.NewKeys(client(t, m.Addr()), clock)
	if err := k.Confirm(t.Context(), "acme", "k", "a", nil, 0); err == nil || errors.Is(err, idempotency.ErrLost) {
		t.Errorf("kept for no time: %v", err)
	}
	m.SetError("LOADING")
	_, claim := k.Claim(t.Context(), "acme", "secret-key", [32]byte{}, "a")
	for _, err := range []error{claim, k.Confirm(t.Context(), "acme", "secret-key", "a", nil, day), k.Drop(t.Context(), "acme", "secret-key", "a")} {
		if err == nil || errors.Is(err, idempotency.ErrLost) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
	}
}

func TestMsgID(t *testing.T) {
	t.Parallel()
	// Pinned: a change would make the bus take a repeat for something new.
	if got, want := idempotency.MsgID("acme", "order-17"), "UNR1fI_QOYL4IChYfBiCEG"; got != want {
		t.Errorf("MsgID is %q, want %q", got, want)
	}
	if idempotency.MsgID("ab", "c") == idempotency.MsgID("a", "bc") {
		t.Error("two tenants share an id")
	}
}
