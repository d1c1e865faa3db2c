package journal_test

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

func TestHealthComesBackWithHysteresis(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	h := journal.NewHealth(10*time.Second, func() time.Time { return now })
	tell := func(reason string, lease time.Duration) {
		h.Watch(1, now, &idempotency.Record{Kind: idempotency.Health, Account: "a", Reason: reason, LeaseMillis: lease.Milliseconds()}, nil)
	}
	expect := func(when string, want bool) {
		t.Helper()
		if h.Down("a") != want {
			t.Errorf("%s: down = %v", when, !want)
		}
	}
	expect("never heard of", false)
	tell(journal.Well, 0)
	expect("well without having been ill", false)
	tell(journal.IllBreaker, 30*time.Second)
	expect("ill", true)
	now = now.Add(5 * time.Second)
	tell(journal.Well, 0)
	expect("just well again", true)
	now = now.Add(11 * time.Second)
	expect("well for a while", false)
	tell(journal.IllAccount, time.Minute)
	now = now.Add(50 * time.Second)
	expect("nobody said anything since", true)
	now = now.Add(21 * time.Second)
	expect("its time is over, and nobody speaks for it", false)
	if h.Down("b") {
		t.Error("another account is down")
	}
}

func TestIllSaysWhyAndUntilWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	h := journal.NewHealth(10*time.Second, func() time.Time { return now })
	tell := func(reason string) {
		h.Watch(1, now, &idempotency.Record{Kind: idempotency.Health, Account: "a", Reason: reason, LeaseMillis: 30_000}, nil)
	}
	if _, _, ok := h.Ill("a"); ok {
		t.Error("never heard of")
	}
	tell(journal.IllAccount)
	if why, until, ok := h.Ill("a"); !ok || why != journal.IllAccount || !until.Equal(now.Add(30*time.Second)) {
		t.Errorf("%s until %s, %v", why, until, ok)
	}
	now = now.Add(time.Minute)
	if _, _, ok := h.Ill("a"); ok {
		t.Error("its time is over")
	}
	tell(journal.IllBreaker)
	tell(journal.Well)
	if _, _, ok := h.Ill("a"); ok {
		t.Error("found well")
	}
}

func TestIllnessLastsNoLongerOnASlowClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	h := journal.NewHealth(0, func() time.Time { return now })
	h.Watch(1, now.Add(time.Hour), &idempotency.Record{Kind: idempotency.Health, Account: "a", Reason: journal.IllBreaker, LeaseMillis: 30_000}, nil)
	now = now.Add(time.Minute)
	if h.Down("a") {
		t.Error("ill for as long as the clocks differ")
	}
}
