package app

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// What dispatchers know of their accounts is kept on Redis for some seconds, a
// hash for each account with a field for each dispatcher. It is only looked at:
// nothing is decided by it.
const (
	stateEvery = time.Second
	stateFor   = 10 * time.Second
	stateGone  = time.Minute // then a field is removed: its dispatcher is dead
	busy       = 0.9         // share of the rate in use from which on what waits, waits for it
)

func statesKey(account string) string { return "tuma:states:" + account }

// shared is what one dispatcher knows of an account.
type shared struct {
	dispatch.State
	At time.Time
}

// shareState publishes what this dispatcher knows of its accounts.
func (k *kit) shareState(ctx context.Context, d *dispatch.Dispatcher) error {
	for service.Sleep(ctx, stateEvery) {
		pipe := k.redis.Pipeline()
		for _, s := range d.States() {
			data, err := json.Marshal(shared{s, time.Now()})
			if err != nil {
				return err
			}
			pipe.HSet(ctx, statesKey(s.Name), k.journal.Owner(), data)
			pipe.Expire(ctx, statesKey(s.Name), stateFor)
		}
		_, _ = pipe.Exec(ctx) // Redis is away; /readyz tells
	}
	return nil
}

// view is what all dispatchers together know of an account.
type view struct {
	breaker, lastError, balance string
	blocked                     string // why none of them sends; empty: one does
	until                       time.Time
	slotUse                     float64 // of all
}

// merge adds up what dispatchers know. The account is blocked if it is so for
// each of them, until the first may send again. What a gateway said of the rate
// holds for all, though only who heard it or has something to send knows.
func merge(states []shared, now time.Time) view {
	var v view
	var told time.Time // until when the gateway said to wait
	open := false
	for _, s := range states {
		if s.Blocked == "rate" && s.Until.After(told) {
			told = s.Until
		}
		v.slotUse += s.SlotUse
		if rank(s.Breaker) > rank(v.breaker) {
			v.breaker = s.Breaker
		}
		if s.LastError != "" {
			v.lastError = s.LastError
		}
		if s.Blocked == "" || s.Until.Before(now.Add(-2*stateEvery)) { // short blocks are renewed between two looks
			open = true
		} else if v.blocked == "" || s.Until.Before(v.until) {
			v.blocked, v.until = s.Blocked, s.Until
		}
	}
	if open {
		v.blocked, v.until = "", time.Time{}
	}
	if v.blocked == "" && told.After(now) {
		v.blocked, v.until = "rate", told
	}
	v.slotUse = min(v.slotUse, 1)
	return v
}

func rank(breaker string) int {
	return slices.Index([]string{"closed", "half-open", "open"}, breaker) + 1
}

// operate answers what operators, and whoever waits, ask of accounts.
type operate struct {
	k      *kit
	health *journal.Health
	known  atomic.Pointer[map[string]view] // nil: nothing is known
}

// follow reads what dispatchers share until ctx is done, so that nobody who asks
// waits for Redis.
func (o *operate) follow(ctx context.Context) error {
	for {
		o.known.Store(o.read(ctx))
		if !service.Sleep(ctx, stateEvery) {
			return nil
		}
	}
}

func (o *operate) read(ctx context.Context) *map[string]view {
	names, now := o.k.cfg.AccountNames(), time.Now()
	hashes, balances := make([]*redis.MapStringStringCmd, len(names)), make([]*redis.StringCmd, len(names))
	pipe := o.k.redis.Pipeline()
	for i, name := range names {
		hashes[i], balances[i] = pipe.HGetAll(ctx, statesKey(name)), pipe.Get(ctx, balanceKey(name))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := map[string]view{}
	for i, name := range names {
		var states []shared
		for owner, data := range hashes[i].Val() {
			var s shared
			if err := json.Unmarshal([]byte(data), &s); err != nil || now.Sub(s.At) > stateGone {
				_ = o.k.redis.HDel(ctx, statesKey(name), owner).Err() // or the next time
			} else if now.Sub(s.At) <= stateFor {
				states = append(states, s)
			}
		}
		v := merge(states, now)
		v.balance = balances[i].Val()
		out[name] = v
	}
	return &out
}

func (o *operate) view(account string) view {
	if known := o.known.Load(); known != nil {
		return (*known)[account]
	}
	return view{}
}

// waits implements ingest.Options.Waits. What dispatchers tell each other over
// the journal is known without Redis, too.
func (o *operate) waits(account string) (reason string, until *time.Time) {
	v := o.view(account)
	why, at := v.blocked, v.until
	if ill, end, ok := o.health.Ill(account); ok {
		if why == "" || end.After(at) {
			why, at = ill, end
		}
	}
	if at.After(time.Now()) {
		at = at.UTC()
		until = &at
	}
	switch why {
	case journal.IllBreaker, "unavailable":
		return "breaker", until
	case journal.IllAccount, journal.IllBalance:
		return "balance", until
	case "rate", "redis", journal.IllQuota:
		return "rate", until
	}
	switch {
	case v.breaker == "open": // its dispatchers have handed back what waits
		return "breaker", until
	case v.slotUse >= busy:
		return "rate", nil
	}
	return "queue", nil
}

// Provider implements ingest.ProviderState.
func (o *operate) Provider(ctx context.Context, account string) ingest.ProviderDetail {
	v := o.view(account)
	d := ingest.ProviderDetail{
		Backlog: map[string]uint64{}, Breaker: v.breaker, LastError: v.lastError, RateUsed: v.slotUse, Balance: v.balance,
	}
	for _, p := range envelope.Priorities {
		for i := range o.k.cfg.Ingest.Tenants {
			t := &o.k.cfg.Ingest.Tenants[i]
			if !serves(t, account) {
				continue
			}
			if waiting, unsettled, err := o.k.bus.Backlog(ctx, bus.QueueStream(account), string(p)+"-"+t.Name); err == nil {
				d.Backlog[string(p)] += waiting + uint64(unsettled)
			}
		}
	}
	return d
}
