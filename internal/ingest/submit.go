package ingest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// receipt is what became of one submission over HTTP.
type receipt struct {
	piece    *envelope.Piece // with the accepted messages only
	refused  []Rejected
	accounts map[int]string // dry run: by index
	batches  map[string]int // dry run: requests by account
}

// submission is an envelope on its way in.
type submission struct {
	tenant *Tenant
	env    *envelope.Envelope
	key    string
	trace  string
	dryRun bool
	wait   bool // over the rate: wait, do not refuse
	brief  bool // only counts and refusals are answered
}

// submit takes a submission: once it returns without an error and with accepted
// messages, the bus has stored them. The error is a *Problem; if every recipient
// is refused, it says so with their refusals.
func (in *Ingest) submit(ctx context.Context, s submission) (*receipt, error) {
	if s.dryRun {
		return in.plan(s, "", in.now())
	}
	if s.key == "" {
		b, err := in.begin(ctx, s)
		if err != nil {
			return nil, err
		}
		in.hand(b) // costs half of what a publish does that waits by itself
		return in.finish(context.WithoutCancel(ctx), b, in.count)
	}
	now := in.now()
	return in.submitKeyed(ctx, s, keyAnswer{newID(now), now})
}

func newID(now time.Time) string { return ulid.MustNew(ulid.Timestamp(now), rand.Reader).String() }

// begun is a submission without a key that can be stored.
type begun struct {
	receipt *receipt
	out     bus.Out
	pending bus.Pending
	sent    bool
}

// begin prepares a submission without a key, up to handing it to the bus.
func (in *Ingest) begin(ctx context.Context, s submission) (*begun, error) {
	now := in.now()
	id := newID(now)
	r, err := in.plan(s, id, now)
	if err != nil {
		return nil, err
	}
	if err := in.admit(ctx, s, r); err != nil {
		return nil, err
	}
	o, err := in.outgoing(r.piece, id)
	return &begun{receipt: r, out: o}, err
}

// hand hands it to the bus and does not wait: finish does.
func (in *Ingest) hand(b *begun) {
	var err error
	b.pending, err = in.bus.PublishAsync(b.out)
	b.sent = err == nil
}

// finish waits until what was handed over is stored, which has its own end. ctx
// must not be that of the client's request: who leaves does not stop it, what was
// handed over is stored or not. What the bus did not answer is stored again under
// the same id.
func (in *Ingest) finish(ctx context.Context, b *begun, count func(string, envelope.Status, int)) (*receipt, error) {
	ack, err := bus.Ack{}, bus.ErrUnavailable
	if b.sent {
		ack, err = b.pending.Wait(ctx)
	}
	if errors.Is(err, bus.ErrUnavailable) && in.bus.Connected() {
		ack, err = in.store(ctx, b.out, nil)
	}
	crash.At("ingest.after-store")
	_, err = in.stored(ctx, b.receipt, ack, err, nil, count)
	return b.receipt, err
}

// submitKeyed takes a submission under its idempotency key; self is what it is
// if nobody came before.
func (in *Ingest) submitKeyed(ctx context.Context, s submission, self keyAnswer) (*receipt, error) {
	body, err := fingerprint(s.env)
	if err != nil {
		return nil, err
	}
	k, err := in.claim(ctx, s.tenant.Name, s.key, body, self, s.env.SendAt)
	if err != nil {
		return nil, unavailable(err)
	}
	switch k.state {
	case idempotency.Mismatch:
		return nil, duplicate(s.env)
	case idempotency.Pending:
		return nil, pending()
	case idempotency.Done:
		return in.asBefore(ctx, s, k.first, true)
	case idempotency.TakenOver:
		stored, err := k.stored(ctx)
		if err != nil {
			k.release(ctx)
			return nil, unavailable(err)
		}
		if stored {
			k.confirmFirst(ctx, s.env.SendAt)
			return in.asBefore(ctx, s, k.first, false)
		}
	case idempotency.Mine:
	}
	crash.At("ingest.after-claim")
	return in.submitFirst(ctx, s, k)
}

// duplicate answers a key that was used with another body.
func duplicate(e *envelope.Envelope) *Problem {
	err := envelope.Refuse(envelope.Duplicate, "", "the idempotency key was used with another body")
	p := refusalProblem(http.StatusUnprocessableEntity, err)
	p.Errors = rejectAll(e, err)
	return p
}

// pending answers a repeat that comes too early.
func pending() *Problem {
	p := problem(http.StatusConflict, codePending, "a submission with this idempotency key is still being worked on")
	p.RetryAfter = time.Second
	return p
}

// submitFirst stores a submission that was not stored before, in the name of
// whoever claimed its key first.
func (in *Ingest) submitFirst(ctx context.Context, s submission, k *held) (*receipt, error) {
	r, err := in.plan(s, k.first.ID, k.first.At)
	if err != nil {
		k.drop(ctx)
		return nil, err
	}
	other, err := in.accept(ctx, s, r, idempotency.MsgID(s.tenant.Name, s.key), k)
	if err != nil {
		if k.open {
			k.release(ctx)
		} else {
			k.drop(ctx)
		}
		return nil, err
	}
	if other != nil {
		k.confirm(ctx, *other, r.piece.SendAt)
		return in.asBefore(ctx, s, *other, true)
	}
	k.confirm(ctx, k.first, r.piece.SendAt)
	crash.At("ingest.before-answer")
	return r, nil
}

// plan prepares and routes a submission without storing anything.
func (in *Ingest) plan(s submission, id string, now time.Time) (*receipt, error) {
	p, refused, err := prepare(s.tenant, s.env, id, now)
	if err != nil {
		out := refusalProblem(http.StatusUnprocessableEntity, err)
		out.Errors = rejectAll(s.env, err)
		return nil, out
	}
	p.Traceparent = s.trace
	pieces, unrouted := in.cut(p)
	r := &receipt{piece: p, refused: append(refused, unrouted...)}
	if s.dryRun || len(unrouted) > 0 {
		r.accounts, r.batches = map[int]string{}, map[string]int{}
		for i := range pieces {
			r.batches[pieces[i].Account] += requests(&pieces[i])
			for j := range pieces[i].Messages {
				r.accounts[pieces[i].Messages[j].Index] = pieces[i].Account
			}
		}
	}
	if len(unrouted) > 0 {
		p.Messages = slices.DeleteFunc(p.Messages, func(m envelope.Message) bool { return r.accounts[m.Index] == "" })
		slices.SortFunc(r.refused, func(a, b Rejected) int { return a.Index - b.Index })
	}
	if len(p.Messages) == 0 {
		first := r.refused[0]
		out := problem(http.StatusUnprocessableEntity, string(first.Code), "every recipient is refused; the first: "+first.Detail)
		out.Errors = r.refused
		return nil, out
	}
	if len(pieces) == 1 && p.SendAt == nil && p.SupersedeKey == "" {
		r.piece = &pieces[0]
	}
	return r, nil
}

// admit takes the recipients from the tenant's rate.
func (in *Ingest) admit(ctx context.Context, s submission, r *receipt) error {
	n := len(r.piece.Messages)
	if s.wait {
		if err := in.quota.wait(ctx, s.tenant.Name, n); err != nil {
			return unavailable(err)
		}
	} else if wait := in.quota.take(ctx, s.tenant.Name, n); wait > 0 {
		return limited(wait)
	}
	return nil
}

// accept takes the recipients from the tenant's rate and stores a submission that
// has a key. other is not nil if the bus had another under it: then that one counts.
func (in *Ingest) accept(ctx context.Context, s submission, r *receipt, msgID string, k *held) (other *keyAnswer, err error) {
	if err := in.admit(ctx, s, r); err != nil {
		return nil, err
	}
	if err := k.renew(ctx); err != nil {
		return nil, err
	}
	o, err := in.outgoing(r.piece, msgID)
	if err != nil {
		return nil, err
	}
	ack, err := in.store(ctx, o, k)
	crash.At("ingest.after-keyed-store")
	other, err = in.stored(ctx, r, ack, err, k, in.count)
	if errors.Is(err, errOtherBody) {
		err = duplicate(s.env)
	}
	return other, err
}

// errOtherBody is why the bus's own memory of a key refuses a submission.
var errOtherBody = errors.New("ingest: the key was used with another body")

// stored concludes from what became of the store; count is told what was accepted.
func (in *Ingest) stored(ctx context.Context, r *receipt, ack bus.Ack, err error, k *held, count func(string, envelope.Status, int)) (other *keyAnswer, _ error) {
	if err != nil {
		var p *Problem
		if errors.As(err, &p) {
			return nil, err
		}
		return nil, unavailable(err)
	}
	if ack.Duplicate && k != nil {
		return in.repeated(ctx, r.piece, ack, k)
	}
	if r.piece.Account != "" && !ack.Duplicate {
		count(r.piece.Account, envelope.Accepted, len(r.piece.Messages))
	}
	if o, err := in.origin(ctx, ack.Stream, ack.Seq); err == nil {
		in.status.Register(r.piece, o)
	}
	return nil, nil
}

// repeated reads back what the bus stored first under the key: our own, of which
// the answer was lost, or another's, if the keys' store is away or has forgotten.
// What is gone already the hop has sent on: then the statuses know what it was, or
// it counts as that of whom the key was taken over from.
func (in *Ingest) repeated(ctx context.Context, mine *envelope.Piece, ack bus.Ack, k *held) (*keyAnswer, error) {
	m, err := in.bus.Get(ctx, ack.Stream, ack.Seq)
	if errors.Is(err, bus.ErrNotFound) {
		if first := in.sentOn(ctx, mine, ack); first != nil {
			return first.unless(mine.ID), nil
		}
		if k.state == idempotency.TakenOver {
			return nil, nil
		}
	}
	if err != nil {
		p := problem(http.StatusConflict, codePending, "a submission with this idempotency key was accepted; its id cannot be told right now")
		p.cause = err
		return nil, p
	}
	if m.Get(headerBody) != header(k.body) {
		k.open = false // it is not ours
		return nil, errOtherBody
	}
	p, err := unpack(m)
	if err != nil {
		return nil, err
	}
	return (&keyAnswer{p.ID, p.AcceptedAt}).unless(mine.ID), nil
}

// unless is nil for the submission with an id.
func (a *keyAnswer) unless(id string) *keyAnswer {
	if a.ID == id {
		return nil
	}
	return a
}

// sentOn finds out what a work queue had stored under the key and has given out:
// the statuses know what was first stored there. It returns nil if they do not, or
// if that went to others than p does, and so was another body.
func (in *Ingest) sentOn(ctx context.Context, p *envelope.Piece, ack bus.Ack) *keyAnswer {
	o, err := in.origin(ctx, ack.Stream, ack.Seq)
	if err != nil || in.status.Refresh(ctx, p.Tenant) != nil {
		return nil
	}
	id, at, ok := in.status.StoredAt(p.Tenant, o)
	if !ok {
		return nil
	}
	msgs, _ := in.messages(p.Tenant, id)
	if !slices.EqualFunc(msgs, p.Messages, func(m status.Message, mine envelope.Message) bool { return m.To == mine.To }) {
		return nil
	}
	return &keyAnswer{id, at}
}
