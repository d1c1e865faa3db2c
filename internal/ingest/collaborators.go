package ingest

import (
	"context"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Journal is what ingest uses of the journal.
type Journal interface {
	// Append stores a record and waits until the own tail has folded it.
	Append(ctx context.Context, r idempotency.Record) (seq uint64, effect idempotency.Effect, err error)
	State(k idempotency.Key) idempotency.MessageState
	Paused(account string) bool
	// Owed are the records whose consequences nobody is known to have told, and Told
	// says that they are.
	Owed(account string, after time.Duration) []journal.Owing
	Told(seq uint64)
}

// Status is what ingest uses of the statuses.
type Status interface {
	// Register tells of a submission that was accepted over HTTP, for which no
	// event is published.
	Register(p *envelope.Piece, o envelope.Origin)
	// Ready is false while the statuses are being rebuilt.
	Ready() bool
	// Refresh sees to it that what anybody has stored for a tenant until now is
	// known. Without an error, what is unknown after it does not exist.
	Refresh(ctx context.Context, tenant string) error
	Message(tenant, id string) (status.Message, bool)
	Envelope(tenant, id string) (status.Envelope, bool)
	Messages(tenant, envelopeID string, filter envelope.Status, cursor string, limit int) (list []status.Message, next string, ok bool)
	// Origin returns where an envelope was first stored.
	Origin(tenant, envelopeID string) (o envelope.Origin, indices []int, ok bool)
	// StoredAt returns the envelope that was first stored at a place.
	StoredAt(tenant string, o envelope.Origin) (id string, acceptedAt time.Time, ok bool)
}

// ProviderState tells operators how an account is.
type ProviderState interface {
	Provider(ctx context.Context, account string) ProviderDetail
}

// ProviderDetail is what operators see of an account beside its name and type.
type ProviderDetail struct {
	Breaker   string            `json:"breaker,omitempty"` // closed, half-open, open
	Backlog   map[string]uint64 `json:"backlog,omitempty"` // messages waiting, by priority
	RateUsed  float64           `json:"rate_used"`         // share of the limit, 0 to 1
	LastError string            `json:"last_error,omitempty"`
	Balance   string            `json:"balance,omitempty"` // as told, with its unit
}

// Local times of this stage.
const (
	keyHolds    = 24 * time.Hour   // after acceptance or the send time
	bodyWithin  = 30 * time.Second // a JSON body must be here; between two lines of NDJSON
	statusRetry = time.Second
	lookWithin  = time.Second // for what another process may have stored a moment ago
	tellAgain   = 250 * time.Millisecond
	lookTries   = 8                // for what may be stored under a key, tellAgain apart
	keyWithin   = 3 * time.Second  // settling a key after the client has gone
	storeFor    = 15 * time.Second // how long storing may go on after the client has gone, within a key's lease
)
