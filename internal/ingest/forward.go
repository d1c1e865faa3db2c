package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// forward sends a whole submission on: into the queues, or to where it waits for
// its send time. origin is where it was first stored.
func (in *Ingest) forward(ctx context.Context, p *envelope.Piece, origin envelope.Origin) error {
	p.Origin = &origin
	in.status.Register(p, origin)
	if p.SendAt == nil || !p.SendAt.After(in.now()) {
		if err := in.enqueue(ctx, p); err != nil {
			return err
		}
	} else if err := in.schedule(ctx, p); err != nil {
		return err
	}
	if p.SupersedeKey == "" {
		return nil
	}
	return in.supersede(ctx, p)
}

// schedule stores a submission until its send time. It is routed then, by the
// routes and accounts of that day.
func (in *Ingest) schedule(ctx context.Context, p *envelope.Piece) error {
	o := out(p, bus.DueSubmitSubject(p.Tenant, string(p.Priority)), "")
	o.SchedID, o.At = scheduleID(p.Tenant, p.ID), *p.SendAt
	o.Pack()
	if _, err := in.bus.Publish(ctx, o); err != nil {
		return err
	}
	crash.At("ingest.after-schedule")
	if err := in.tellScheduled(ctx, p); err != nil {
		return err
	}
	in.count(noAccount, envelope.Scheduled, len(p.Messages))
	return nil
}

// tellScheduled says that a submission waits for its send time. That is no answer
// to a publisher, so unlike accepted and rejected it names no sequence.
func (in *Ingest) tellScheduled(ctx context.Context, p *envelope.Piece) error {
	var events []envelope.Event
	for i, chunk := range slices.Collect(slices.Chunk(eventMessages(p), envelope.MaxEventMessages)) {
		events = append(events, envelope.Event{
			ID:   journal.EventID("ingest", place(*p.Origin), string(envelope.Scheduled), strconv.Itoa(i)),
			Time: in.now().UTC(), Tenant: p.Tenant, Status: envelope.Scheduled, Messages: chunk,
		})
	}
	return journal.Tell(ctx, in.bus, events)
}

// enqueue routes a submission and stores its pieces. Which messages are refused
// now, after the submission was acknowledged, is for the journal to decide.
func (in *Ingest) enqueue(ctx context.Context, p *envelope.Piece) error {
	pieces, refused := in.cut(p)
	pending := make([]bus.Pending, 0, len(pieces))
	for i := range pieces {
		f, err := in.bus.PublishAsync(queued(&pieces[i], "hop-"+place(*p.Origin)+"-"+pieces[i].Digest()))
		if err != nil {
			return err
		}
		pending = append(pending, f)
	}
	for i, f := range pending {
		ack, err := f.Wait(ctx)
		if err != nil {
			return err
		}
		crash.At("ingest.amid-pieces")
		if !ack.Duplicate {
			in.count(pieces[i].Account, envelope.Accepted, len(pieces[i].Messages))
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return in.refuse(ctx, p, refused)
}

// reasonRefused is the close record's reason.
const reasonRefused = "refused"

// refuse closes messages of an acknowledged submission for which there is no
// route any more, and tells those that the record won.
func (in *Ingest) refuse(ctx context.Context, p *envelope.Piece, refused []Rejected) error {
	why := map[int]Rejected{}
	for _, r := range refused {
		why[r.Index] = r
	}
	var keys []idempotency.PlacedKey
	var msgs []envelope.EventMessage
	told := map[int]envelope.EventError{}
	for i := range p.Messages {
		r, ok := why[p.Messages[i].Index]
		if !ok {
			continue
		}
		em := journal.EventMessage(p, &p.Messages[i])
		em.Error = &envelope.EventError{Code: string(r.Code), Detail: r.Detail}
		msgs, told[r.Index] = append(msgs, em), *em.Error
		keys = append(keys, idempotency.PlacedKey{Key: idempotency.Key{
			Stream: p.Origin.Stream, Epoch: p.Origin.Epoch, Seq: p.Origin.Seq, Index: uint32(r.Index),
		}})
	}
	detail, err := json.Marshal(told)
	if err != nil {
		return fmt.Errorf("ingest: refusals: %w", err)
	}
	seq, effect, err := in.journal.Append(ctx, idempotency.Record{
		Kind: idempotency.Close, Owes: true, Reason: reasonRefused, Tenant: p.Tenant, ID: p.ID, Spans: idempotency.Spans(keys), Detail: detail,
	})
	if err != nil {
		return err
	}
	lost := map[uint32]bool{}
	for _, at := range effect.Lost {
		lost[at] = true
	}
	var won []envelope.EventMessage
	for i := range msgs {
		if !lost[uint32(i)] {
			won = append(won, msgs[i])
		}
	}
	in.refused(len(won))
	cause := "j" + strconv.FormatUint(seq, 10)
	if err := journal.Tell(ctx, in.bus, journal.ClosedEvents(cause, p.Tenant, "", envelope.Rejected, "", in.now().UTC(), won)); err != nil {
		return err
	}
	in.journal.Told(seq)
	return nil
}

// supersede makes p the newest submission of its key. Messages of the one that
// lost, which is p itself if a newer one came first, are canceled if nobody
// holds them; the journal decides, whatever the order of arrival.
func (in *Ingest) supersede(ctx context.Context, p *envelope.Piece) error {
	if !in.status.Ready() {
		return &laterError{hopRetry} // whose messages are closed could not be told
	}
	keys := make([]idempotency.PlacedKey, len(p.Messages))
	for i := range p.Messages {
		keys[i].Key = idempotency.Key{Stream: p.Origin.Stream, Epoch: p.Origin.Epoch, Seq: p.Origin.Seq, Index: uint32(p.Messages[i].Index)}
	}
	seq, effect, err := in.journal.Append(ctx, idempotency.Record{
		Kind: idempotency.Supersede, Owes: true, Tenant: p.Tenant, SupersedeKey: supersedeKey(p.Tenant, p.SupersedeKey),
		At: p.AcceptedAt.UnixNano(), Until: p.ExpiresAt.UnixNano(), ID: p.ID, Spans: idempotency.Spans(keys),
	})
	if err != nil || effect.SupersededID == "" {
		return err
	}
	crash.At("ingest.after-supersede")
	closed := indices(effect.Superseded)
	all, ok := in.awaitMessages(ctx, p.Tenant, effect.SupersededID)
	if !ok {
		in.log.Error("superseded submission unknown; its messages will not be sent and are not told", "tenant", p.Tenant, "envelope", effect.SupersededID)
		return nil
	}
	var msgs []status.Message
	for i := range all {
		if _, index, ok := envelope.SplitMessageID(all[i].ID); ok && closed[index] {
			msgs = append(msgs, all[i])
		}
	}
	if len(msgs) == len(all) {
		in.unschedule(ctx, p.Tenant, effect.SupersededID, msgs)
	}
	return in.tellCanceled(ctx, seq, p.Tenant, "superseded", msgs)
}

// awaitMessages returns the messages of an envelope that another process may
// have accepted a moment ago.
func (in *Ingest) awaitMessages(ctx context.Context, tenant, id string) ([]status.Message, bool) {
	for tries := 0; ; tries++ {
		msgs, ok := in.messages(tenant, id)
		if ok || tries == 20 {
			return msgs, ok
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-time.After(tellAgain):
		}
	}
}

func supersedeKey(tenant, key string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(tenant), tenant, key))
	return hex.EncodeToString(sum[:16])
}

// indices are those that spans of one submission name.
func indices(spans []idempotency.Span) map[int]bool {
	out := map[int]bool{}
	for _, s := range spans {
		for i := s.First; i < max(s.End, s.First+1); i++ {
			out[int(i)] = true
		}
	}
	return out
}
