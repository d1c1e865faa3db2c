package ingest_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
)

// keys is a store of keys in memory, which can be away.
type keys struct {
	mu    sync.Mutex
	held  map[string]ingest.KeyClaim
	away  bool
	until time.Time // of the last confirmation
}

func newKeys() *keys { return &keys{held: map[string]ingest.KeyClaim{}} }

var errAway = errors.New("away")

func (k *keys) Claim(_ context.Context, tenant, key string, c ingest.KeyClaim, _ time.Duration) (ingest.KeyClaim, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		return ingest.KeyClaim{}, errAway
	}
	if owner, ok := k.held[tenant+" "+key]; ok {
		return owner, nil
	}
	k.held[tenant+" "+key] = c
	return c, nil
}

func (k *keys) Confirm(_ context.Context, tenant, key string, c ingest.KeyClaim, until time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		return errAway
	}
	k.held[tenant+" "+key], k.until = c, until
	return nil
}

func (k *keys) Drop(_ context.Context, tenant, key string, c ingest.KeyClaim) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away {
		return errAway
	}
	if k.held[tenant+" "+key].ID == c.ID {
		delete(k.held, tenant+" "+key)
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
