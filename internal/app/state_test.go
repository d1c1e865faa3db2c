package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// looking is an operate of one account, a, on a Redis of its own.
func looking(t *testing.T) (*operate, *miniredis.Miniredis) {
	t.Helper()
	m := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	log := slog.New(slog.DiscardHandler)
	k := &kit{
		cfg: &config.Config{Accounts: map[string]*config.Account{"a": {Name: "a"}}}, redis: client, log: log,
		journal: journal.New(nil, journal.Options{Owner: "me", Log: log}),
	}
	return &operate{k: k, health: journal.NewHealth(time.Second, time.Now)}, m
}

// say shares a state as the dispatcher named owner does.
func say(t *testing.T, m *miniredis.Miniredis, owner string, age time.Duration, s dispatch.State) {
	t.Helper()
	data, err := json.Marshal(shared{s, time.Now().Add(-age)})
	if err != nil {
		t.Fatal(err)
	}
	m.HSet(statesKey("a"), owner, string(data))
}

func TestWaitingSaysWhy(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Minute)
	for name, c := range map[string]struct {
		states []dispatch.State
		ill    string
		reason string
		until  bool
	}{
		"nothing is known":             {nil, "", "queue", false},
		"it flows":                     {[]dispatch.State{{Breaker: "closed", SlotUse: 0.5}}, "", "queue", false},
		"the rate is used up by both":  {[]dispatch.State{{SlotUse: 0.5}, {SlotUse: 0.47}}, "", "rate", false},
		"told to wait":                 {[]dispatch.State{{Blocked: "rate", Until: soon}}, "", "rate", true},
		"one of two sends":             {[]dispatch.State{{Blocked: "unavailable", Until: soon}, {}}, "", "queue", false},
		"one of two was told to wait":  {[]dispatch.State{{Blocked: "rate", Until: soon}, {}}, "", "rate", true},
		"its breaker":                  {[]dispatch.State{{Blocked: "breaker", Until: soon}}, "", "breaker", true},
		"an open breaker, none tries":  {[]dispatch.State{{Breaker: "open"}}, "", "breaker", false},
		"out of reach":                 {[]dispatch.State{{Blocked: "unavailable", Until: soon}}, "", "breaker", true},
		"no balance":                   {[]dispatch.State{{Blocked: "account", Until: soon}}, "", "balance", true},
		"no money":                     {nil, journal.IllBalance, "balance", true},
		"nothing more today":           {[]dispatch.State{{Blocked: "quota", Until: soon}}, "", "rate", true},
		"a block that is over":         {[]dispatch.State{{Blocked: "rate", Until: time.Now().Add(-time.Minute)}}, "", "queue", false},
		"only the journal knows":       {nil, journal.IllAccount, "balance", true},
		"the journal knows until when": {[]dispatch.State{{Blocked: "breaker", Until: time.Now()}}, journal.IllBreaker, "breaker", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, m := looking(t)
			for i, s := range c.states {
				say(t, m, string(rune('p'+i)), 0, s)
			}
			say(t, m, "dead", 30*time.Second, dispatch.State{SlotUse: 1, Breaker: "open"})
			if c.ill != "" {
				o.health.Watch(1, time.Now(), &idempotency.Record{Kind: idempotency.Health, Account: "a", Reason: c.ill, LeaseMillis: 60_000}, nil)
			}
			o.known.Store(o.read(t.Context()))
			reason, until := o.waits("a")
			if reason != c.reason || (until != nil) != c.until {
				t.Errorf("%s until %v", reason, until)
			}
		})
	}
}

func TestStatesOfTheDeadAreRemoved(t *testing.T) {
	t.Parallel()
	o, m := looking(t)
	say(t, m, "dead", time.Hour, dispatch.State{})
	say(t, m, "alive", 0, dispatch.State{})
	o.read(t.Context())
	if keys, err := m.HKeys(statesKey("a")); err != nil || len(keys) != 1 || keys[0] != "alive" {
		t.Errorf("%v, %v", keys, err)
	}
}

// purse is a gateway that tells a balance.
type purse struct {
	err   error
	asked int
	falls bool
}

func (p *purse) Balance(_ context.Context, start func() error) (string, error) {
	if err := start(); err != nil {
		return "", err
	}
	if p.asked++; p.falls {
		panic("over 12345678.00")
	}
	return "12345678.00 GBP", p.err
}

// lane grants slots, and counts them.
type lane int

var errShut = errors.New("not yet")

func (l *lane) Slot(context.Context) (func() error, error) {
	if *l < 0 {
		return nil, errShut
	}
	*l++
	return func() error { return nil }, nil
}

func TestBalanceIsAskedForOnceAMinuteThroughASlot(t *testing.T) {
	t.Parallel()
	o, m := looking(t)
	var slots lane
	gateway := &purse{}
	b := &balance{k: o.k, account: "a", gateway: gateway, limiter: &slots}
	slots = -1
	if !b.turn(t.Context()) {
		t.Error("not the first turn")
	}
	b.ask(t.Context())
	slots = 0
	m.FastForward(balanceSoon)
	if !b.turn(t.Context()) || b.turn(t.Context()) {
		t.Error("one turn a minute")
	}
	b.ask(t.Context())
	if got := (*o.read(t.Context()))["a"].balance; got != "12345678.00 GBP" || slots != 1 || gateway.asked != 1 {
		t.Errorf("%q after %d slots and %d requests", got, slots, gateway.asked)
	}
	m.FastForward(balanceEvery)
	if !b.turn(t.Context()) {
		t.Error("no second turn after a minute")
	}
	gateway.falls = true
	b.ask(t.Context()) // an adapter's bug is no reason to stop taking reports
	gateway.falls = false
	gateway.err = &providers.Error{Class: providers.Misconfigured, Err: errors.New("no")}
	b.ask(t.Context())
	m.FastForward(2 * balanceEvery)
	if b.turn(t.Context()) {
		t.Error("asked again soon after it was refused")
	}
}

func TestBalanceOfADailyLimitIsNotAskedFor(t *testing.T) {
	t.Parallel()
	day := config.Rate{Requests: 100}
	day.Per.Day = true
	if cheap(&config.Account{Rate: []config.Rate{day}}) {
		t.Error("a minute's request is a day's share")
	}
	second := config.Rate{Requests: 10}
	second.Per.Duration = time.Second
	if !cheap(&config.Account{Rate: []config.Rate{second}}) {
		t.Error("ten a second spare one a minute")
	}
}
