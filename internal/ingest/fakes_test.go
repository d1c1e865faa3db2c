package ingest_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// keys is a store of keys in memory, which can be away.
type keys struct {
	mu   sync.Mutex
	held map[string]*heldKey
	away bool
}

type heldKey struct {
	owner  string
	body   [32]byte
	answer []byte
	keep   time.Duration
}

func newKeys() *keys { return &keys{held: map[string]*heldKey{}} }

var errAway = errors.New("away")

func (k *keys) Claim(_ context.Context, tenant, key string, body [32]byte, owner string) (idempotency.Claim, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[tenant+" "+key]
	switch {
	case k.away:
		return idempotency.Claim{}, errAway
	case h == nil:
		k.held[tenant+" "+key] = &heldKey{owner: owner, body: body}
		return idempotency.Claim{State: idempotency.Mine}, nil
	case h.body != body:
		return idempotency.Claim{State: idempotency.Mismatch}, nil
	case h.owner == owner:
		return idempotency.Claim{State: idempotency.Mine, Answer: h.answer}, nil
	case h.answer == nil:
		return idempotency.Claim{State: idempotency.Pending}, nil
	}
	return idempotency.Claim{State: idempotency.Done, Answer: h.answer}, nil
}

func (k *keys) Confirm(_ context.Context, tenant, key, owner string, answer []byte, keep time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[tenant+" "+key]
	if k.away || h == nil || h.owner != owner {
		return errAway
	}
	h.answer, h.keep = answer, keep
	return nil
}

func (k *keys) Drop(_ context.Context, tenant, key, owner string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.held[tenant+" "+key]; h != nil && h.owner == owner && h.answer == nil {
		delete(k.held, tenant+" "+key)
	}
	return nil
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
