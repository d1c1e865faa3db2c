package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Keys remembers clients' idempotency keys (idempotency.Keys).
type Keys interface {
	Claim(ctx context.Context, tenant, key string, fingerprint [32]byte, owner string) (idempotency.Claim, error)
	Confirm(ctx context.Context, tenant, key, owner string, answer []byte, keep time.Duration) error
	Drop(ctx context.Context, tenant, key, owner string) error
}

// keyAnswer is what is kept of the submission that has a key. With it and the
// same body, everything it was answered with can be made again.
type keyAnswer struct {
	ID string    `json:"id"` // of the envelope
	At time.Time `json:"at"` // acceptance
}

// held is a claim as it came out.
type held struct {
	state idempotency.ClaimState
	first keyAnswer // when Done

	in                 *Ingest
	tenant, key, owner string
}

// claim claims a key for the submission owner. While the keys cannot be reached
// it says Mine: then the bus's own window is what finds repeats.
func (in *Ingest) claim(ctx context.Context, tenant, key string, body [32]byte, owner string) held {
	h := held{state: idempotency.Mine, in: in, tenant: tenant, key: key, owner: owner}
	if in.keys == nil {
		return h
	}
	c, err := in.keys.Claim(ctx, tenant, key, body, owner)
	if err == nil && c.State == idempotency.Done {
		err = json.Unmarshal(c.Answer, &h.first)
	}
	if err == nil {
		h.state = c.State
	} else if ctx.Err() == nil && in.complain.open(in.now()) {
		in.log.Warn("idempotency keys unreachable", "tenant", tenant, "error", err)
	}
	return h
}

// confirm keeps the key for the submission that a describes, which is to be sent
// at a time (nil: at once).
func (h *held) confirm(ctx context.Context, a keyAnswer, sendAt *time.Time) {
	if h.in.keys == nil {
		return
	}
	until := a.At.Add(keyHolds)
	if sendAt != nil && sendAt.After(a.At) {
		until = sendAt.Add(keyHolds)
	}
	keep := until.Sub(h.in.now())
	if keep <= 0 {
		return // it was stored so long ago that its key holds no more
	}
	h.settle(ctx, func(ctx context.Context) error {
		answer, err := json.Marshal(a)
		if err != nil {
			return err
		}
		return h.in.keys.Confirm(ctx, h.tenant, h.key, h.owner, answer, keep)
	})
}

// drop gives the claim back, so that a better try may have the key.
func (h *held) drop(ctx context.Context) {
	if h.in.keys != nil {
		h.settle(ctx, func(ctx context.Context) error { return h.in.keys.Drop(ctx, h.tenant, h.key, h.owner) })
	}
}

func (h *held) settle(ctx context.Context, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyWithin)
	defer cancel()
	if err := do(ctx); err != nil && h.in.complain.open(h.in.now()) {
		h.in.log.Warn("idempotency key not settled", "tenant", h.tenant, "error", err)
	}
}

// fingerprint tells bodies apart: a hash over the parsed envelope without its
// key, so that neither spelling nor white space counts.
func fingerprint(e *envelope.Envelope) ([32]byte, error) {
	body := *e
	body.IdempotencyKey, body.Priority = "", priority(e)
	body.SendAt, body.ExpiresAt = utc(e.SendAt), utc(e.ExpiresAt)
	data, err := json.Marshal(&body)
	if err != nil {
		return [32]byte{}, fmt.Errorf("ingest: fingerprint: %w", err)
	}
	return sha256.Sum256(data), nil
}

// header is a fingerprint as it stands beside a stored submission.
func header(body [32]byte) string { return base64.RawURLEncoding.EncodeToString(body[:16]) }

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
