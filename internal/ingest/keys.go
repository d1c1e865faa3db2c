package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Keys remembers clients' idempotency keys. A key belongs to the submission that
// claimed it first: that one may claim it again and go on.
type Keys interface {
	// Claim claims a tenant's key for a submission, or returns whose it is. An
	// unconfirmed claim lapses after lapse.
	Claim(ctx context.Context, tenant, key string, c KeyClaim, lapse time.Duration) (owner KeyClaim, err error)
	// Confirm keeps a claim until a time.
	Confirm(ctx context.Context, tenant, key string, c KeyClaim, until time.Time) error
	// Drop gives a claim back.
	Drop(ctx context.Context, tenant, key string, c KeyClaim) error
}

// KeyClaim is a submission that claims, or has, a key.
type KeyClaim struct {
	ID     string    // its envelope id
	Body   string    // fingerprint of its body
	At     time.Time // its acceptance
	Stored bool      // confirmed
}

// keyState is what became of a claim.
type keyState int

const (
	keyMine    keyState = iota // claimed; or there is no store of keys to ask
	keyStored                  // an earlier submission with the same body has it
	keyPending                 // one that is still being worked on
	keyOther                   // one with another body
)

// held is a claim as it came out.
type held struct {
	state keyState
	id    string    // of the submission that has the key
	at    time.Time // its acceptance
	in    *Ingest
	ten   string
	key   string
	claim KeyClaim
}

// claim claims a key. While the keys cannot be reached it says keyMine: then the
// bus's own window is what finds repeats.
func (in *Ingest) claim(ctx context.Context, tenant, key, body, id string, at time.Time, lapse time.Duration) held {
	h := held{in: in, ten: tenant, key: key, claim: KeyClaim{ID: id, Body: body, At: at}}
	if in.keys == nil {
		return h
	}
	owner, err := in.keys.Claim(ctx, tenant, key, h.claim, lapse)
	switch {
	case err != nil:
		if ctx.Err() == nil && in.complain.open(in.now()) {
			in.log.Warn("idempotency keys unreachable", "tenant", tenant, "error", err)
		}
		return h
	case owner.ID == id:
		return h
	case owner.Body != body:
		h.state = keyOther
	case !owner.Stored:
		h.state = keyPending
	default:
		h.state = keyStored
	}
	h.id, h.at = owner.ID, owner.At
	return h
}

// confirm keeps the claim for the submission id, accepted at a time and to be
// sent at another (nil: at once).
func (h *held) confirm(ctx context.Context, id string, at time.Time, sendAt *time.Time) {
	if h.in.keys == nil {
		return
	}
	until := at.Add(keyHolds)
	if sendAt != nil && sendAt.After(at) {
		until = sendAt.Add(keyHolds)
	}
	h.settle(ctx, func(ctx context.Context) error {
		c := h.claim
		c.ID, c.At, c.Stored = id, at, true
		return h.in.keys.Confirm(ctx, h.ten, h.key, c, until)
	})
}

// drop gives the claim back, so that a better try may have the key.
func (h *held) drop(ctx context.Context) {
	if h.in.keys != nil {
		h.settle(ctx, func(ctx context.Context) error { return h.in.keys.Drop(ctx, h.ten, h.key, h.claim) })
	}
}

func (h *held) settle(ctx context.Context, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyWithin)
	defer cancel()
	if err := do(ctx); err != nil && h.in.complain.open(h.in.now()) {
		h.in.log.Warn("idempotency key not settled", "tenant", h.ten, "error", err)
	}
}

// msgID is the bus's de-duplication id of what is submitted under a key.
func msgID(tenant, key string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(tenant), tenant, key))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// fingerprint tells bodies apart: a hash over the parsed envelope without its
// key, so that neither spelling nor white space counts.
func fingerprint(e *envelope.Envelope) (string, error) {
	body := *e
	body.IdempotencyKey, body.Priority = "", priority(e)
	body.SendAt, body.ExpiresAt = utc(e.SendAt), utc(e.ExpiresAt)
	data, err := json.Marshal(&body)
	if err != nil {
		return "", fmt.Errorf("ingest: fingerprint: %w", err)
	}
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:16]), nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
