package ingest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// laterError says that a submission has to wait for something that is under way,
// or for its tenant's rate. It is given back meanwhile, so that what was
// fetched does not grow old here.
type laterError struct{ wait time.Duration }

func (e *laterError) Error() string { return "ingest: not before " + e.wait.String() }

// takeStored takes a message of a tenant's own stream.
func (in *Ingest) takeStored(ctx context.Context, t *Tenant, p envelope.Priority, m *bus.Msg) error {
	origin := envelope.Origin{Stream: m.Stream, Epoch: m.Epoch, Seq: m.Seq}
	if m.Subject == bus.AcceptedSubject(t.Name, string(p)) {
		if m.Get(bus.HeaderSkip) != "" {
			return nil
		}
		piece, err := unpack(m)
		if err != nil || piece.Tenant != t.Name {
			return fmt.Errorf("%w: not a submission of this tenant", errPoison)
		}
		if piece.Origin != nil { // a replay: its own place on the bus is not what it is known by
			origin = *piece.Origin
		}
		return in.forward(ctx, piece, origin)
	}
	return in.takePublished(ctx, t, p, m, origin)
}

// takeDue takes a submission whose send time has come.
func (in *Ingest) takeDue(ctx context.Context, m *bus.Msg) error {
	piece, err := unpack(m)
	if err != nil || piece.Origin == nil {
		return fmt.Errorf("%w: not a submission that waited", errPoison)
	}
	if err := in.enqueue(ctx, piece); err != nil {
		return err
	}
	crash.At("ingest.due-before-ack")
	return nil
}

// takePublished takes what a client published.
func (in *Ingest) takePublished(ctx context.Context, t *Tenant, p envelope.Priority, m *bus.Msg, origin envelope.Origin) (err error) {
	ctx, trace, end := in.span(ctx, "submit", traceparent(m.GetFold(headerTrace)))
	defer func() { end(err) }()
	s := submission{tenant: t, trace: trace}
	if s.env, err = envelope.Decode(m.Data); err != nil {
		why := rejected(0, "", err)
		nobody := envelope.EventMessage{Traceparent: trace, Error: &envelope.EventError{Code: string(why.Code), Detail: why.Detail}}
		if err := in.tell(ctx, origin, t.Name, envelope.Rejected, []envelope.EventMessage{nobody}); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w", errPoison, err)
	}
	s.env.Priority = p
	if s.key, err = busKey(m, s.env); err != nil {
		return in.tellRejected(ctx, s, origin, rejectAll(s.env, err))
	}
	id := envelopeID(m.Time, origin)
	if s.key == "" {
		_, err := in.takeNew(ctx, s, origin, keyAnswer{id, m.Time}, true)
		return err
	}
	body, err := fingerprint(s.env)
	if err != nil {
		return err
	}
	k, err := in.claim(ctx, t.Name, s.key, body, keyAnswer{id, m.Time}, s.env.SendAt)
	if err != nil {
		return err
	}
	switch k.state {
	case idempotency.Mismatch:
		err := envelope.Refuse(envelope.Duplicate, "idempotency_key", "was used with another body")
		return in.tellRejected(ctx, s, origin, rejectAll(s.env, err))
	case idempotency.Pending:
		return &laterError{hopRetry}
	case idempotency.Done, idempotency.TakenOver:
		goOn, err := in.goOn(ctx, k, id, origin)
		if err != nil {
			return err
		}
		if !goOn {
			return in.takeRepeat(ctx, s, origin, k)
		}
	case idempotency.Mine:
	}
	return in.takeFirst(ctx, s, origin, k, id)
}

// goOn reports whether a published submission, id by its own name, is to be sent
// on, although its key stands for one that may have been stored. It is if that is
// itself: it was sent on in part, or nobody has begun.
func (in *Ingest) goOn(ctx context.Context, k *held, id string, origin envelope.Origin) (bool, error) {
	known := true
	if k.state == idempotency.TakenOver {
		var err error
		if known, err = k.stored(ctx); err != nil {
			k.release(ctx)
			return false, &laterError{hopRetry}
		}
	} else if !in.status.Ready() {
		return false, &laterError{hopRetry}
	}
	o, _, placed := in.status.Origin(k.tenant, k.first.ID)
	switch {
	case placed:
		return o == origin, nil
	case k.first.ID != id:
		return !known, nil
	case k.state == idempotency.Done: // who confirmed it has stored it; where, will be known in a moment
		return false, &laterError{hopRetry}
	}
	return true, nil
}

// takeRepeat tells the ids of the submission that was made before.
func (in *Ingest) takeRepeat(ctx context.Context, s submission, origin envelope.Origin, k *held) error {
	r, err := in.asBefore(ctx, s, k.first, k.state == idempotency.Done)
	if err != nil {
		return in.reject(ctx, s, origin, err)
	}
	if err := in.tellAccepted(ctx, origin, r.piece); err != nil {
		return err
	}
	if k.state == idempotency.TakenOver {
		k.confirmFirst(ctx, s.env.SendAt)
	}
	return nil
}

// takeFirst takes a submission that nobody stored before, in the name of whoever
// claimed its key first. The lease bounds it; when it comes again it goes on.
func (in *Ingest) takeFirst(ctx context.Context, s submission, origin envelope.Origin, k *held, id string) error {
	bounded, cancel := k.within(ctx)
	defer cancel()
	refused, err := in.takeNew(bounded, s, origin, k.first, k.first.ID == id)
	switch {
	case err != nil:
		return err
	case refused:
		k.drop(ctx)
	default:
		k.confirm(ctx, k.first, s.env.SendAt)
	}
	return nil
}

// takeNew takes a submission that nobody made before: tells its ids and what is
// refused of it, and sends it on. In another's name it tells the ids last: then
// what the statuses know by its ids alone is the other's to send on.
func (in *Ingest) takeNew(ctx context.Context, s submission, origin envelope.Origin, as keyAnswer, ownName bool) (refused bool, err error) {
	r, err := in.plan(s, as.ID, as.At)
	if err != nil {
		return true, in.reject(ctx, s, origin, err)
	}
	if wait := in.quota.take(ctx, s.tenant.Name, len(r.piece.Messages)); wait > 0 {
		return false, &laterError{min(wait, maxGivenBack)}
	}
	if err := in.tellRejected(ctx, s, origin, r.refused); err != nil {
		return false, err
	}
	tell := func() error { return in.tellAccepted(ctx, origin, r.piece) }
	whole := *r.piece
	whole.Account, whole.Route = "", nil
	send := func() error { return in.forward(ctx, &whole, origin) }
	if !ownName {
		tell, send = send, tell
	}
	if err := tell(); err != nil {
		return false, err
	}
	return false, send()
}

// reject tells why a whole submission was refused.
func (in *Ingest) reject(ctx context.Context, s submission, origin envelope.Origin, err error) error {
	var p *Problem
	if !errors.As(err, &p) || len(p.Errors) == 0 {
		return err
	}
	return in.tellRejected(ctx, s, origin, p.Errors)
}

// busKey is the idempotency key of what was published: header and field must
// agree, and without either the publisher's message id counts as one.
func busKey(m *bus.Msg, e *envelope.Envelope) (string, error) {
	header := m.GetFold("Idempotency-Key")
	if err := envelope.CheckKey("Idempotency-Key", header); err != nil {
		return "", err
	}
	if header != "" && e.IdempotencyKey != "" && header != e.IdempotencyKey {
		return "", envelope.Refuse(envelope.InvalidEnvelope, "idempotency_key", "differs from the header Idempotency-Key")
	}
	for _, key := range []string{header, e.IdempotencyKey, m.Get("Nats-Msg-Id")} {
		if key != "" {
			return key, nil
		}
	}
	return "", nil
}

// envelopeID derives an envelope's id from where and when it was published, so
// that taking it again gives the same id.
func envelopeID(at time.Time, o envelope.Origin) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(o.Stream), o.Stream)
	var place [16]byte
	binary.BigEndian.PutUint64(place[:8], uint64(o.Epoch))
	binary.BigEndian.PutUint64(place[8:], o.Seq)
	h.Write(place[:])
	var id ulid.ULID
	copy(id[6:], h.Sum(nil))
	if err := id.SetTime(ulid.Timestamp(at)); err != nil {
		return id.String() // a time beyond the year 10889: the hash alone is unique
	}
	return id.String()
}

// tellAccepted publishes the ids of a submission that came over the bus.
func (in *Ingest) tellAccepted(ctx context.Context, o envelope.Origin, p *envelope.Piece) error {
	return in.tell(ctx, o, p.Tenant, envelope.Accepted, eventMessages(p))
}

// tellRejected publishes refusals of a submission that came over the bus.
func (in *Ingest) tellRejected(ctx context.Context, s submission, o envelope.Origin, refused []Rejected) error {
	msgs := make([]envelope.EventMessage, len(refused))
	recipients := recipientsOf(s.env)
	for i, r := range refused {
		msgs[i] = envelope.EventMessage{
			Index: &refused[i].Index, To: r.To, Ref: cmp.Or(recipients[r.Index].Ref, s.env.Ref), Traceparent: s.trace,
			Error: &envelope.EventError{Code: string(r.Code), Detail: r.Detail},
		}
		if envelope.CheckRef(msgs[i].Ref) != nil { // it may be as long as the submission, times its recipients
			msgs[i].Ref = ""
		}
	}
	if err := in.tell(ctx, o, s.tenant.Name, envelope.Rejected, msgs); err != nil {
		return err
	}
	in.refused(len(refused))
	return nil
}

// tell publishes an event of each thousand messages of one submission. Its
// detail is the sequence that the publisher's ack named.
func (in *Ingest) tell(ctx context.Context, o envelope.Origin, tenant string, s envelope.Status, msgs []envelope.EventMessage) error {
	var events []envelope.Event
	for i, chunk := range slices.Collect(slices.Chunk(msgs, envelope.MaxEventMessages)) {
		events = append(events, envelope.Event{
			ID:   journal.EventID("ingest", place(o), string(s), strconv.Itoa(i)),
			Time: in.now().UTC(), Tenant: tenant, Status: s, Detail: "sequence " + strconv.FormatUint(o.Seq, 10), Messages: chunk,
		})
	}
	return journal.Tell(ctx, in.bus, events)
}

func eventMessages(p *envelope.Piece) []envelope.EventMessage {
	msgs := make([]envelope.EventMessage, len(p.Messages))
	for i := range p.Messages {
		msgs[i] = journal.EventMessage(p, &p.Messages[i])
	}
	return msgs
}

// place names an origin in ids.
func place(o envelope.Origin) string {
	return strings.Join([]string{o.Stream, strconv.FormatInt(o.Epoch, 36), strconv.FormatUint(o.Seq, 36)}, "-")
}
