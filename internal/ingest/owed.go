package ingest

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// What this stage closes it tells once the journal has it. A process that dies
// in between would leave its messages untold for good: the record acts only
// once, and nobody sends them. The journal keeps account of what is owed, and
// every process tells what is not told some time after.

const owedEvery = 4 // looks in the time that a process has to tell what it closed

// closing is what one journal record closed of one envelope.
type closing struct {
	seq        uint64
	tenant, id string // of the envelope
	indices    map[int]bool
	status     envelope.Status
	detail     string
	errors     map[int]envelope.EventError // by index
}

// closed is what a record closed; ok is false if it closed nothing that can be told.
func closed(seq uint64, r *idempotency.Record, e *idempotency.Effect) (c closing, ok bool) {
	c = closing{seq: seq, tenant: r.Tenant, status: envelope.Canceled}
	switch {
	case r.Kind == idempotency.Close && r.ID != "" && e.Acted > 0:
		c.id, c.indices = r.ID, indices(r.Spans)
		for _, at := range e.Lost {
			delete(c.indices, int(keyAt(r.Spans, int(at)).Index))
		}
		if r.Reason == reasonRefused {
			c.status = envelope.Rejected
			_ = json.Unmarshal(r.Detail, &c.errors) // without it the status is told alone
		}
	case r.Kind == idempotency.Supersede && e.SupersededID != "":
		c.id, c.indices, c.detail = e.SupersededID, indices(e.Superseded), "superseded"
	default:
		return c, false
	}
	return c, true
}

func keyAt(spans []idempotency.Span, i int) idempotency.Key {
	for _, s := range spans {
		n := s.Len()
		if i < n {
			return s.Key(i)
		}
		i -= n
	}
	return idempotency.Key{}
}

// tellOwed tells what was closed and not told, until ctx is done.
func (in *Ingest) tellOwed(ctx context.Context) {
	tick := time.NewTicker(max(in.owedAfter/owedEvery, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !in.status.Ready() {
			continue
		}
		for _, o := range in.journal.Owed("", in.owedAfter) {
			if err := in.tellOne(ctx, o); err != nil {
				in.log.Warn("what was closed is not told yet", "journal", o.Seq, "error", err)
			}
		}
	}
}

// tellOne tells what one record owes.
func (in *Ingest) tellOne(ctx context.Context, o journal.Owing) error {
	m, err := in.bus.Get(ctx, bus.JournalStream, o.Seq)
	if err != nil {
		return err
	}
	var r idempotency.Record
	if err := idempotency.DecodeRecord(m.Data, &r); err != nil {
		return err
	}
	if c, ok := closed(o.Seq, &r, &o.Effect); ok {
		if err := in.tellClosing(ctx, c); err != nil {
			return err
		}
	}
	in.journal.Told(o.Seq)
	return nil
}

// tellClosing tells the messages of a closing whose status does not say it.
func (in *Ingest) tellClosing(ctx context.Context, c closing) error {
	all, ok := in.messages(c.tenant, c.id)
	if !ok {
		return nil // nobody has heard of it: whose messages they are cannot be told
	}
	var msgs []status.Message
	for i := range all {
		if _, index, ok := envelope.SplitMessageID(all[i].ID); ok && c.indices[index] && !all[i].Status.Final() {
			msgs = append(msgs, all[i])
		}
	}
	if len(msgs) == 0 {
		return nil
	}
	in.log.Warn("telling what a process closed that did not tell it", "tenant", c.tenant, "envelope", c.id, "messages", len(msgs))
	list := make([]envelope.EventMessage, len(msgs))
	for i := range msgs {
		list[i] = eventMessage(&msgs[i])
		_, index, _ := envelope.SplitMessageID(msgs[i].ID)
		if why, ok := c.errors[index]; ok {
			list[i].Error = &why
		}
	}
	return journal.Tell(ctx, in.bus, journal.ClosedEvents("j"+strconv.FormatUint(c.seq, 10), c.tenant, "", c.status, c.detail, in.now().UTC(), list))
}
