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

// by is a submission that claims a key; its time tells it apart.
func by(id string) idempotency.Owner {
	return idempotency.Owner{ID: id, At: clock().Add(time.Duration(id[0]) * 1_000_001)}
}

// bench is a key under test.
type bench struct {
	*testing.T
	k *idempotency.Keys
}

func (b bench) claim(tenant string, print [32]byte, id string) idempotency.Claim {
	b.Helper()
	c, err := b.k.Claim(b.Context(), tenant, "order-17", print, by(id), day)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (b bench) expect(got idempotency.Claim, state idempotency.ClaimState, answer string) {
	b.Helper()
	if got.State != state || string(got.Answer) != answer {
		b.Fatalf("claim is %d with %q, want %d with %q", got.State, got.Answer, state, answer)
	}
}

func (b bench) taken(got idempotency.Claim, first string) {
	b.Helper()
	if got.State != idempotency.TakenOver || got.First != by(first) {
		b.Fatalf("claim is %+v, want one taken over from %+v", got, by(first))
	}
}

func (b bench) confirm(owner, answer string) error {
	return b.k.Confirm(b.Context(), "acme", "order-17", owner, []byte(answer), day)
}

func (b bench) drop(holder string) {
	b.Helper()
	if err := b.k.Drop(b.Context(), "acme", "order-17", holder); err != nil {
		b.Fatal(err)
	}
}

func (b bench) release(holder string) {
	b.Helper()
	if err := b.k.Release(b.Context(), "acme", "order-17", holder); err != nil {
		b.Fatal(err)
	}
}

func keptFor(t *testing.T, rdb *redis.Client) time.Duration {
	t.Helper()
	return rdb.PTTL(t.Context(), "tuma:key:"+idempotency.MsgID("acme", "order-17")).Val()
}

func TestLifeOfAKey(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		b := bench{t, idempotency.NewKeys(rdb, clock)}
		body, other := [32]byte{1}, [32]byte{2, 0, 255}

		b.expect(b.claim("acme", body, "a"), idempotency.Mine, "")
		b.expect(b.claim("acme", body, "a"), idempotency.Mine, "") // its own key
		pending := b.claim("acme", body, "b")
		b.expect(pending, idempotency.Pending, "")
		if left := pending.Lapses.Sub(clock()); left <= 0 || left > 30*time.Second {
			t.Errorf("the lease lapses in %v", left)
		}
		if ttl := keptFor(t, rdb); ttl <= day-time.Minute || ttl > day {
			t.Errorf("a claim is kept for %v", ttl)
		}
		b.expect(b.claim("acme", other, "b"), idempotency.Mismatch, "")
		b.expect(b.claim("umbrella", other, "b"), idempotency.Mine, "") // another tenant's key

		b.drop("b") // not b's
		b.release("b")
		b.expect(b.claim("acme", body, "b"), idempotency.Pending, "")
		b.drop("a")
		b.expect(b.claim("acme", other, "b"), idempotency.Mine, "")
		if err := b.confirm("a", "no"); !errors.Is(err, idempotency.ErrLost) {
			t.Errorf("confirmed a lost claim: %v", err)
		}
		for range 2 {
			if err := b.confirm("b", `{"id":"1"}`); err != nil {
				t.Fatal(err)
			}
		}
		b.drop("b") // confirmed: stays
		b.release("b")
		b.expect(b.claim("acme", other, "c"), idempotency.Done, `{"id":"1"}`)
		b.expect(b.claim("acme", other, "b"), idempotency.Mine, `{"id":"1"}`)
		b.expect(b.claim("acme", body, "c"), idempotency.Mismatch, "")
		if ttl := keptFor(t, rdb); ttl <= day-time.Minute || ttl > day {
			t.Errorf("kept for %v", ttl)
		}
	})
}

// Who takes a claim over goes on in the name of the first, and so do all after
// it, the first included: it does not know what the others have stored.
func TestTakingOver(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		b := bench{t, idempotency.NewKeys(rdb, clock)}
		body := [32]byte{1}
		b.expect(b.claim("acme", body, "a"), idempotency.Mine, "")
		b.release("a")
		b.expect(b.claim("acme", [32]byte{2}, "b"), idempotency.Mismatch, "") // kept, body and all
		b.taken(b.claim("acme", body, "b"), "a")
		b.taken(b.claim("acme", body, "b"), "a") // its own
		b.expect(b.claim("acme", body, "a"), idempotency.Pending, "")
		b.expect(b.claim("acme", body, "c"), idempotency.Pending, "")
		b.drop("a") // b has it
		b.release("a")
		b.expect(b.claim("acme", body, "c"), idempotency.Pending, "")
		b.release("b")
		b.taken(b.claim("acme", body, "a"), "a")
		b.taken(b.claim("acme", body, "a"), "a")
		if ttl := keptFor(t, rdb); ttl <= day-time.Minute || ttl > day {
			t.Errorf("kept for %v", ttl)
		}
		if err := b.confirm("b", "no"); !errors.Is(err, idempotency.ErrLost) {
			t.Errorf("confirmed in the name of one that took over: %v", err)
		}
		if err := b.confirm("a", "yes"); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"a", "b", "c"} {
			b.expect(b.claim("acme", body, id), idempotency.Done, "yes")
		}
	})
}

// One that took over and found that nothing was stored may give the key free.
func TestDropOfWhatWasTakenOver(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		b := bench{t, idempotency.NewKeys(rdb, clock)}
		b.expect(b.claim("acme", [32]byte{1}, "a"), idempotency.Mine, "")
		b.release("a")
		b.taken(b.claim("acme", [32]byte{1}, "b"), "a")
		b.drop("b")
		b.expect(b.claim("acme", [32]byte{2}, "c"), idempotency.Mine, "")
	})
}

func TestLease(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	now := clock()
	pass := func(d time.Duration) {
		now = now.Add(d)
		m.FastForward(d)
		m.SetTime(now)
	}
	pass(0)
	b := bench{t, idempotency.NewKeys(client(t, m.Addr()), func() time.Time { return now })}
	claim := func(id string) idempotency.Claim { return b.claim("acme", [32]byte{}, id) }
	b.expect(claim("a"), idempotency.Mine, "")
	pass(20 * time.Second)
	c := claim("a") // begins anew
	b.expect(c, idempotency.Mine, "")
	if want := now.Add(30 * time.Second); !c.Lapses.Equal(want) {
		t.Errorf("lapses %v, want %v", c.Lapses, want)
	}
	pass(20 * time.Second)
	b.expect(claim("b"), idempotency.Pending, "")
	pass(10 * time.Second)
	if c = claim("b"); !c.Lapses.Equal(now.Add(30 * time.Second)) {
		t.Errorf("lapses %v", c.Lapses)
	}
	b.taken(c, "a")
	pass(day - 51*time.Second) // 24 h after the last that the owner claimed it, less a second
	b.taken(claim("c"), "a")
	pass(21 * time.Second)
	b.expect(claim("c"), idempotency.Mine, "")
	if err := b.confirm("a", ""); !errors.Is(err, idempotency.ErrLost) {
		t.Errorf("the first owner confirmed: %v", err)
	}
}

// A lease of another length, and a claim that is kept no longer than that.
func TestShortLease(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	k := idempotency.NewKeys(client(t, m.Addr()), clock)
	k.Lease = 100 * time.Millisecond
	c, err := k.Claim(t.Context(), "acme", "order-17", [32]byte{}, by("a"), -day)
	if err != nil || !c.Lapses.Equal(clock().Add(k.Lease)) {
		t.Errorf("%+v, error %v", c, err)
	}
	if ttl := m.TTL("tuma:key:" + idempotency.MsgID("acme", "order-17")); ttl != k.Lease {
		t.Errorf("kept for %v", ttl)
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
			if _, err := k.Claim(t.Context(), "acme", key, [32]byte{}, by("a"), day); err != nil {
				t.Fatal(err)
			}
			if err := k.Confirm(t.Context(), "acme", key, "a", answer, day); err != nil {
				t.Fatal(err)
			}
			c, err := k.Claim(t.Context(), "acme", key, [32]byte{}, by("b"), day)
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
		if _, err := k.Claim(t.Context(), "acme", "k", [32]byte{}, by("b"), day); !errors.Is(err, idempotency.ErrBadAnswer) {
			t.Errorf("%q: error %v", stored, err)
		}
	}
	for _, at := range []string{"", "yesterday"} {
		m.HSet("tuma:key:"+idempotency.MsgID("acme", "l"), "owner", "a", "print", string(make([]byte, 32)), "holder", "a", "lease", "0", "at", at)
		if _, err := k.Claim(t.Context(), "acme", "l", [32]byte{}, by("b"), day); !errors.Is(err, idempotency.ErrBadAnswer) {
			t.Errorf("accepted at %q: error %v", at, err)
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
				c, err := idempotency.NewKeys(rdb, clock).Claim(t.Context(), "acme", "k", [32]byte{}, by(fmt.Sprint(i)), day)
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
		c, err := k.Claim(t.Context(), "acme", "k", [32]byte{}, by("a"), day)
		if err != nil || c.State != idempotency.Mine {
			t.Fatalf("claim is %d, error %v", c.State, err)
		}
		if err := k.Confirm(t.Context(), "acme", "k", "a", []byte("yes"), day); err != nil {
			t.Fatal(err)
		}
		if err := k.Drop(t.Context(), "acme", "k", "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Claim(t.Context(), "acme", "l", [32]byte{}, by("a"), day); err != nil {
			t.Fatal(err)
		}
		if err := k.Release(t.Context(), "acme", "l", "a"); err != nil {
			t.Fatal(err)
		}
		if c, err := k.Claim(t.Context(), "acme", "l", [32]byte{}, by("b"), day); err != nil || c.State != idempotency.TakenOver || c.First != by("a") {
			t.Fatalf("claim is %+v, error %v", c, err)
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
	_, claim := k.Claim(t.Context(), "acme", "secret-key", [32]byte{}, by("a"), day)
	for _, err := range []error{claim, k.Confirm(t.Context(), "acme", "secret-key", "a", nil, day), k.Drop(t.Context(), "acme", "secret-key", "a"), k.Release(t.Context(), "acme", "secret-key", "a")} {
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
