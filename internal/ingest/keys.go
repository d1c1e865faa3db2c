package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Keys remembers clients' idempotency keys (idempotency.Keys).
type Keys interface {
	Claim(ctx context.Context, tenant, key string, fingerprint [32]byte, by idempotency.Owner, keep time.Duration) (idempotency.Claim, error)
	Confirm(ctx context.Context, tenant, key, owner string, answer []byte, keep time.Duration) error
	Drop(ctx context.Context, tenant, key, holder string) error
	Release(ctx context.Context, tenant, key, holder string) error
}

// keyAnswer is what is kept of the submission that has a key. With it and the
// same body, everything it was answered with can be made again.
type keyAnswer struct {
	ID string    `json:"id"` // of the envelope
	At time.Time `json:"at"` // acceptance
}

// held is a claim as it came out.
type held struct {
	state  idempotency.ClaimState
	first  keyAnswer // whom the key stands for: ourselves when Mine, another when Done or TakenOver
	lapses time.Time // until then nobody else stores under the key; zero: nobody can say
	// open says that the submission may be stored already, in first's name: by
	// whoever had the claim before, or by us, if the answer was lost.
	open bool

	in          *Ingest
	tenant, key string
	body        [32]byte
	self        idempotency.Owner
	keep        time.Duration
}

// claim claims a key for the submission self, which is to be sent at a time (nil:
// at once). While the keys cannot be reached it says Mine: then the bus's own
// window is what finds repeats. The error says that ctx is done.
func (in *Ingest) claim(ctx context.Context, tenant, key string, body [32]byte, self keyAnswer, sendAt *time.Time) (*held, error) {
	h := &held{
		state: idempotency.Mine, first: self, in: in, tenant: tenant, key: key, body: body,
		self: idempotency.Owner{ID: self.ID, At: self.At}, keep: keyHeldUntil(self.At, sendAt).Sub(in.now()),
	}
	return h, h.claim(ctx)
}

// claim claims the key, or renews the lease.
func (h *held) claim(ctx context.Context) error {
	if h.in.keys == nil {
		return nil
	}
	c, err := h.in.keys.Claim(ctx, h.tenant, h.key, h.body, h.self, h.keep)
	if err == nil && c.State == idempotency.Done {
		err = json.Unmarshal(c.Answer, &h.first)
	}
	if err == nil {
		h.state, h.lapses = c.State, c.Lapses
		if c.State == idempotency.TakenOver {
			h.first, h.open = keyAnswer{c.First.ID, c.First.At}, true
		}
		return nil
	}
	if ctx.Err() != nil { // the key may be known: who left is not to be taken for the first
		h.release(ctx)
		return ctx.Err()
	}
	h.lapses = time.Time{}
	if h.in.complain.open(h.in.now()) {
		h.in.log.Warn("idempotency keys unreachable", "tenant", h.tenant, "error", err)
	}
	return nil
}

// renew makes sure that the lease lasts for as long as storing may take, however
// long the submission had to wait. The error is an answer: somebody else has, or
// has had, the claim meanwhile.
func (h *held) renew(ctx context.Context) error {
	if h == nil || h.lapses.IsZero() || h.lapses.Sub(h.in.now()) >= storeFor {
		return nil
	}
	before := h.state
	if err := h.claim(ctx); err != nil {
		return unavailable(err)
	}
	_, known := h.in.status.Envelope(h.tenant, h.first.ID)
	if h.state != before || known {
		return pending()
	}
	return nil
}

// left is how long storing may go on.
func (h *held) left() time.Duration {
	if h == nil || h.lapses.IsZero() {
		return storeFor
	}
	return min(storeFor, h.lapses.Sub(h.in.now()))
}

// within bounds ctx by the lease.
func (h *held) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if h == nil || h.lapses.IsZero() {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, h.lapses.Sub(h.in.now()))
}

// stored finds out whether what the key stands for was stored, by somebody whose
// claim was taken over: then the statuses know it. If they do not, they are given
// the time that they need after trouble with the bus to read what it has; until
// then, and while they are being rebuilt, the error says that nobody can tell.
func (h *held) stored(ctx context.Context) (bool, error) {
	for tries := 0; ; tries++ {
		if !h.in.status.Ready() {
			return false, errRebuilt
		}
		if err := h.in.status.Refresh(ctx, h.tenant); err != nil {
			return false, err
		}
		if _, ok := h.in.status.Envelope(h.tenant, h.first.ID); ok || tries == lookTries {
			return ok, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(tellAgain):
		}
	}
}

// errRebuilt is why nobody can tell what was stored.
var errRebuilt = errors.New("ingest: statuses are being rebuilt")

// confirm keeps the key for the submission that a describes, which is to be sent
// at a time (nil: at once).
func (h *held) confirm(ctx context.Context, a keyAnswer, sendAt *time.Time) {
	keep := keyHeldUntil(a.At, sendAt).Sub(h.in.now())
	if keep <= 0 {
		return // it was stored so long ago that its key holds no more
	}
	h.settle(ctx, func(ctx context.Context) error {
		answer, err := json.Marshal(a)
		if err != nil {
			return err
		}
		return h.in.keys.Confirm(ctx, h.tenant, h.key, h.first.ID, answer, keep)
	})
}

// confirmFirst confirms for whom the claim was taken over from. What came over
// the bus may be known before it is sent on; that is for its own taker to confirm,
// who has to finish it.
func (h *held) confirmFirst(ctx context.Context, sendAt *time.Time) {
	if _, _, ok := h.in.status.Origin(h.tenant, h.first.ID); ok {
		h.confirm(ctx, h.first, sendAt)
	} else {
		h.release(ctx)
	}
}

// drop gives the key free, so that a better try may have it. Nothing was stored.
func (h *held) drop(ctx context.Context) {
	h.settle(ctx, func(ctx context.Context) error { return h.in.keys.Drop(ctx, h.tenant, h.key, h.self.ID) })
}

// release lets the next try find out at once whether something was stored.
func (h *held) release(ctx context.Context) {
	h.settle(ctx, func(ctx context.Context) error { return h.in.keys.Release(ctx, h.tenant, h.key, h.self.ID) })
}

func (h *held) settle(ctx context.Context, do func(context.Context) error) {
	if h.in.keys == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyWithin)
	defer cancel()
	if err := do(ctx); err != nil && h.in.complain.open(h.in.now()) {
		h.in.log.Warn("idempotency key not settled", "tenant", h.tenant, "error", err)
	}
}

// keyHeldUntil is when a key lapses: a day after acceptance, or after the send
// time. A send time that is too far ahead is refused, and counts only till then.
func keyHeldUntil(at time.Time, sendAt *time.Time) time.Time {
	if sendAt != nil && sendAt.After(at) {
		if latest := at.Add(envelope.MaxAhead); sendAt.After(latest) {
			sendAt = &latest
		}
		at = *sendAt
	}
	return at.Add(keyHolds)
}

// fingerprint tells bodies apart: a hash over the parsed envelope without its
// key, so that neither spelling nor white space counts.
func fingerprint(e *envelope.Envelope) ([32]byte, error) {
	body := *e
	body.IdempotencyKey, body.Priority, body.Channel = "", priority(e), e.Channel.Named()
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
