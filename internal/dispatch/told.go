package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Whoever writes an outcome or closes a message tells it next, in events and dead
// letters, and says in the journal that it has. If it died in between, others read
// there what it owes (journal.Owed), and tell it with the same ids.

// readable is how long a server may lag behind the one that stored a message:
// until then what cannot be read may only not have reached it.
const readable = time.Minute

var errNotReadable = errors.New("dispatch: the messages cannot be read yet")

// tellOwed tells what was not told in time.
func (a *account) tellOwed(ctx context.Context) {
	for _, o := range a.j.Owed(a.o.Name, a.d.TellAfter) {
		if err := a.tellRecord(ctx, o); err != nil {
			a.d.Log.Warn("events wait", "account", a.o.Name, "journal", o.Seq, "error", err)
			if errors.Is(err, bus.ErrUnavailable) || ctx.Err() != nil {
				return // the others would fare no better
			}
			continue
		}
		a.d.Log.Info("told for another", "account", a.o.Name, "journal", o.Seq)
	}
}

// tellRecord publishes the events and dead letters of one record. What it is about
// is read back from the journal and the queue; what is gone from there is not told
// any more.
func (a *account) tellRecord(ctx context.Context, o journal.Owing) error {
	rec, err := record(ctx, a.b, o.Seq)
	named, attempt := rec, o.Seq // the record that names the messages, and what letters are named by
	d := journal.OutcomeDetail{Time: a.d.Now().UTC()}
	if err == nil && rec.Kind == idempotency.Outcome {
		if len(rec.Detail) > 0 {
			if d, err = journal.Outcome(&rec); err != nil {
				return err
			}
		}
		attempt = rec.Intent
		named, err = record(ctx, a.b, attempt)
	}
	if errors.Is(err, bus.ErrNotFound) && a.d.Now().Sub(o.At) > readable {
		a.j.Told(o.Seq)
		return nil
	}
	if err != nil {
		return err
	}
	if rec.Kind == idempotency.Close {
		d.Default = closedResult(rec.Reason)
	}
	members, err := a.members(ctx, &named, o)
	if err != nil {
		return err
	}
	var events []envelope.Event
	for i, p := range o.Effect.Freed {
		if m := []journal.Member{members[p]}; m[0].Found {
			events = append(events, closedEvents(a, o.Seq, closedResult(o.Effect.Reasons[i]), m, d.Time)...)
		}
	}
	for _, p := range o.Effect.Lost {
		members[p].Found = false // others' business
	}
	if rec.Kind == idempotency.Close {
		events = append(events, closedEvents(a, o.Seq, d.Default, members, d.Time)...)
	} else {
		events = append(events, journal.Events(a.o.Name, o.Seq, members, &d)...)
	}
	if err := journal.Tell(ctx, a.b, events); err != nil {
		return err
	}
	if err := a.buryRefused(ctx, attempt, named.Spans, members, &d); err != nil {
		return err
	}
	a.j.Told(o.Seq)
	return nil
}

// members reads back the messages that a record names. It fails while some of them
// may yet come into sight.
func (a *account) members(ctx context.Context, named *idempotency.Record, o journal.Owing) ([]journal.Member, error) {
	members, err := journal.Members(ctx, a.b, named)
	if err != nil || a.d.Now().Sub(o.At) > readable {
		return members, err
	}
	lost := positions(o.Effect.Lost)
	for i := range members {
		if _, ok := lost[uint32(i)]; !ok && !members[i].Found {
			return nil, errNotReadable
		}
	}
	return members, nil
}

// closedResult is what became of a message that was closed for a reason.
func closedResult(reason string) journal.MessageResult {
	r := journal.MessageResult{}
	if r.Status, r.Detail = closedAs(reason); r.Status == envelope.Failed {
		r.Code, r.Detail = "rejected", condemned
	}
	return r
}

// closedEvents tells of messages that were closed without an attempt.
func closedEvents(a *account, seq uint64, r journal.MessageResult, members []journal.Member, at time.Time) (events []envelope.Event) {
	if r.Status == "" {
		return nil
	}
	byTenant := map[string][]envelope.EventMessage{}
	for _, m := range members {
		if !m.Found {
			continue
		}
		if r.Code != "" {
			m.Error = &envelope.EventError{Code: r.Code, Detail: r.Detail}
		}
		byTenant[m.Tenant] = append(byTenant[m.Tenant], m.EventMessage)
	}
	detail := r.Detail
	if r.Code != "" {
		detail = "" // it is the error's
	}
	for tenant, msgs := range byTenant {
		events = append(events, journal.ClosedEvents(cause(seq), tenant, a.o.Name, r.Status, detail, at, msgs)...)
	}
	return events
}

// buryRefused writes the dead letters of the messages that failed, from the
// pieces that lie in the queue.
func (a *account) buryRefused(ctx context.Context, attempt uint64, spans []idempotency.Span, members []journal.Member, d *journal.OutcomeDetail) error {
	var items []item
	why := map[item]journal.MessageResult{}
	read := map[uint64]*held{}
	pos := uint32(0)
	for _, s := range spans {
		for i := range s.Len() {
			at, r, m := s.Place(i), d.At(pos), members[pos]
			pos++
			if !m.Found || r.Status != envelope.Failed {
				continue
			}
			h := read[at]
			if h == nil {
				var err error
				if h, err = a.piece(ctx, at); err != nil {
					return err
				}
				read[at] = h
			}
			if n := slices.IndexFunc(h.p.Messages, func(m envelope.Message) bool { return uint32(m.Index) == s.Key(i).Index }); n >= 0 {
				it := item{h, int32(n)}
				items, why[it] = append(items, it), r
			}
		}
	}
	return a.bury(ctx, items, attempt, func(it item) journal.MessageResult { return why[it] })
}

// piece reads a piece that lies in the queue. It is not held.
func (a *account) piece(ctx context.Context, at uint64) (*held, error) {
	m, err := a.b.Get(ctx, a.queue, at)
	if err != nil {
		return nil, err
	}
	h := &held{msg: m}
	if err := json.Unmarshal(m.Data, &h.p); err != nil {
		return nil, fmt.Errorf("dispatch: piece %d: %w", at, err)
	}
	h.locate()
	return h, nil
}

func record(ctx context.Context, b *bus.Bus, seq uint64) (idempotency.Record, error) {
	var r idempotency.Record
	m, err := b.Get(ctx, bus.JournalStream, seq)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return r, fmt.Errorf("journal record %d: %w", seq, err)
	}
	return r, nil
}
