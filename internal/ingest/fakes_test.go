package ingest_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// keys is a store of keys in memory, which can be away, and have its clients die.
type keys struct {
	mu   sync.Mutex
	held map[string]*heldKey
	away bool
	// dies, if not nil, is asked at each call, after a Claim and before a Confirm.
	// Who is told true dies there: its lease runs on, or is over if it says so.
	dies func(key, call string) (die, over bool)
	log  []string // calls but Claim
	// lease is told as long as this: it lapses when a test says so.
	lease time.Duration
}

type heldKey struct {
	first         idempotency.Owner
	holder        string
	leased, taken bool
	body          [32]byte
	answer        []byte
	keep          time.Duration
}

func newKeys() *keys { return &keys{held: map[string]*heldKey{}, lease: time.Minute} }

var errAway = errors.New("away")

func (k *keys) Claim(_ context.Context, tenant, key string, body [32]byte, by idempotency.Owner, keep time.Duration) (idempotency.Claim, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		return idempotency.Claim{}, errAway
	}
	defer k.die(tenant, key, "claim")
	h, lapses := k.held[tenant+" "+key], time.Now().Add(k.lease)
	switch {
	case h == nil:
		k.held[tenant+" "+key] = &heldKey{first: by, holder: by.ID, leased: true, body: body, keep: keep}
		return idempotency.Claim{State: idempotency.Mine, Lapses: lapses}, nil
	case h.body != body:
		return idempotency.Claim{State: idempotency.Mismatch}, nil
	case h.answer != nil && h.holder == by.ID && !h.taken:
		return idempotency.Claim{State: idempotency.Mine, Answer: h.answer}, nil
	case h.answer != nil:
		return idempotency.Claim{State: idempotency.Done, Answer: h.answer}, nil
	case h.holder != by.ID && h.leased:
		return idempotency.Claim{State: idempotency.Pending, Lapses: lapses}, nil
	}
	h.taken = h.taken || h.holder != by.ID
	h.holder, h.leased = by.ID, true
	if h.taken {
		return idempotency.Claim{State: idempotency.TakenOver, First: h.first, Lapses: lapses}, nil
	}
	return idempotency.Claim{State: idempotency.Mine, Lapses: lapses}, nil
}

func (k *keys) Confirm(_ context.Context, tenant, key, owner string, answer []byte, keep time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.die(tenant, key, "confirm")
	k.log = append(k.log, "confirm")
	h := k.held[tenant+" "+key]
	if k.away || h == nil || h.first.ID != owner {
		return errAway
	}
	h.answer, h.keep = answer, keep
	return nil
}

func (k *keys) Drop(_ context.Context, tenant, key, holder string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log = append(k.log, "drop")
	if h := k.held[tenant+" "+key]; h != nil && h.holder == holder && h.answer == nil {
		delete(k.held, tenant+" "+key)
	}
	return nil
}

func (k *keys) Release(_ context.Context, tenant, key, holder string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log = append(k.log, "release")
	if h := k.held[tenant+" "+key]; h != nil && h.holder == holder {
		h.leased = false
	}
	return nil
}

// die ends the goroutine's work as a killed process does: no answer, nothing
// settled. Both the server and the hop outlive it.
func (k *keys) die(tenant, key, call string) {
	if k.dies == nil {
		return
	}
	if die, over := k.dies(key, call); die {
		if h := k.held[tenant+" "+key]; over && h != nil {
			h.leased = false
		}
		panic(http.ErrAbortHandler)
	}
}

// lapse ends the lease of a key of acme.
func (k *keys) lapse(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held["acme "+key].leased = false
}

// first returns who claimed a key of acme first.
func (k *keys) first(key string) idempotency.Owner {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.held["acme "+key]; h != nil {
		return h.first
	}
	return idempotency.Owner{}
}

// get returns what is held of a key, once it is confirmed.
func (k *keys) get(tenant, key string) *heldKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.held[tenant+" "+key]; h != nil && h.answer != nil {
		return h
	}
	return nil
}

// settled returns the calls but Claim so far.
func (k *keys) settled() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.log)
}

// sight is statuses that can be being rebuilt, know no envelope, or be told of
// one by somebody who dies there.
type sight struct {
	ingest.Status
	rebuilding, blind, deadly atomic.Bool
}

func (s *sight) Register(p *envelope.Piece, o envelope.Origin) {
	if s.deadly.CompareAndSwap(true, false) {
		panic(http.ErrAbortHandler)
	}
	s.Status.Register(p, o)
}

func (s *sight) Ready() bool { return !s.rebuilding.Load() && s.Status.Ready() }

func (s *sight) Envelope(tenant, id string) (status.Envelope, bool) {
	if s.blind.Load() {
		return status.Envelope{}, false
	}
	return s.Status.Envelope(tenant, id)
}

// slowQuota has every second asker wait a moment.
type slowQuota struct {
	mu sync.Mutex
	n  int
}

func (q *slowQuota) Take(context.Context, string, int) (time.Duration, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.n++
	if q.n%2 == 0 {
		return time.Millisecond, nil
	}
	return 0, nil
}

type states struct{}

func (states) Provider(context.Context, string) ingest.ProviderDetail {
	return ingest.ProviderDetail{Breaker: "closed", RateUsed: 0.5, Balance: "KES 12"}
}
