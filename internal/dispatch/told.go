package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// rememberTold is how much of the journal told looks back over, by the journal's
// own time: a process that dies between an outcome and its events leaves its
// messages to others within one ack wait, and a journal that stood still
// meanwhile has not aged.
const rememberTold = 10 * time.Minute

// told knows which outcomes and closings of an account are recent, by where
// their messages lie in the queue. When the queue delivers a message again that
// is done, its events may never have been published: the process may have died
// in between. Then they are told again, with the same ids.
type told struct {
	account string

	mu      sync.Mutex
	intents map[uint64]idempotency.Record // without an outcome yet
	byPlace map[uint64][]uint64           // queue sequence >> bucketBits -> records
	recent  []toldRecord                  // oldest first
	effects map[uint64]idempotency.Effect // of the recent ones that are known not to have just acted on all they name
	ours    map[uint64]struct{}           // records whose consequences this process knows to be stored
}

type toldRecord struct {
	seq     uint64
	at      time.Time
	buckets []uint64
}

const bucketBits = 8

func newTold(account string) *told {
	return &told{account: account, intents: map[uint64]idempotency.Record{}, byPlace: map[uint64][]uint64{}, effects: map[uint64]idempotency.Effect{}, ours: map[uint64]struct{}{}}
}

// watch is a journal.Watcher.
func (t *told) watch(seq uint64, at time.Time, r *idempotency.Record, e *idempotency.Effect) {
	if r.Account != t.account {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch r.Kind {
	case idempotency.Intent:
		if e.Acted > 0 || len(e.Lost) == 0 { // one that won nothing never has an outcome
			t.intents[seq] = idempotency.Record{Kind: r.Kind, Account: r.Account, Spans: r.Spans}
		}
	case idempotency.Outcome:
		intent, ok := t.intents[r.Intent]
		if ok {
			delete(t.intents, r.Intent)
			t.add(seq, at, intent.Spans, e)
		}
	case idempotency.Close:
		t.add(seq, at, r.Spans, e)
	case idempotency.Release:
		if len(e.Freed) > 0 {
			t.add(seq, at, r.Spans, e)
		}
	}
	for len(t.recent) > 0 && at.Sub(t.recent[0].at) > rememberTold {
		t.drop(t.recent[0])
		t.recent = t.recent[1:]
	}
}

func (t *told) add(seq uint64, at time.Time, spans []idempotency.Span, e *idempotency.Effect) {
	if len(e.Lost)+len(e.Freed) > 0 {
		t.effects[seq] = *e
	}
	rec := toldRecord{seq: seq, at: at}
	last := uint64(0)
	for _, s := range spans {
		from := s.Place(0) >> bucketBits
		to := s.Place(s.Len()-1) >> bucketBits
		for b := from; b <= to; b++ {
			if len(rec.buckets) > 0 && b == last {
				continue
			}
			rec.buckets, last = append(rec.buckets, b), b
			t.byPlace[b] = append(t.byPlace[b], seq)
		}
	}
	t.recent = append(t.recent, rec)
}

func (t *told) drop(rec toldRecord) {
	delete(t.ours, rec.seq)
	delete(t.effects, rec.seq)
	for _, b := range rec.buckets {
		list := t.byPlace[b]
		for i, s := range list {
			if s == rec.seq {
				list = append(list[:i:i], list[i+1:]...)
				break
			}
		}
		if len(list) == 0 {
			delete(t.byPlace, b)
		} else {
			t.byPlace[b] = list
		}
	}
}

// again does what may still be owed for a piece that came again: it tells what
// was not told, and writes the dead letters of what was refused. It returns false
// when the bus could not take it: then the piece must not be acked yet.
func (t *told) again(ctx context.Context, a *account, h *held) bool {
	t.mu.Lock()
	owed := map[uint64]idempotency.Effect{}
	for _, s := range t.byPlace[h.msg.Seq>>bucketBits] {
		if _, ok := t.ours[s]; !ok {
			owed[s] = t.effects[s]
		}
	}
	t.mu.Unlock()
	for _, s := range slices.Sorted(maps.Keys(owed)) {
		if err := t.tell(ctx, a, s, owed[s]); err != nil {
			a.d.Log.Warn("events wait", "account", a.o.Name, "journal", s, "error", err)
			return false
		}
	}
	return true
}

// tell publishes the events and dead letters of one record, which had the given
// effect. What it is about is read back from the journal and the queue.
func (t *told) tell(ctx context.Context, a *account, seq uint64, effect idempotency.Effect) error {
	rec, err := record(ctx, a.b, seq)
	if err != nil {
		return err
	}
	named, attempt := rec, seq // the record that names the messages, and what letters are named by
	d := journal.OutcomeDetail{Time: a.d.Now().UTC()}
	switch rec.Kind {
	case idempotency.Outcome:
		if d, err = journal.Outcome(&rec); err != nil {
			return err
		}
		attempt = rec.Intent
		if named, err = record(ctx, a.b, attempt); err != nil {
			return err
		}
	case idempotency.Close:
		d.Default = closedResult(rec.Reason)
	}
	members, err := journal.Members(ctx, a.b, &named)
	if err != nil {
		return err
	}
	var events []envelope.Event
	for i, p := range effect.Freed {
		if m := []journal.Member{members[p]}; m[0].Found {
			events = append(events, closedEvents(a, seq, closedResult(effect.Reasons[i]), m, d.Time)...)
		}
	}
	for _, p := range effect.Lost {
		members[p].Found = false // others' business
	}
	if rec.Kind == idempotency.Close {
		events = append(events, closedEvents(a, seq, d.Default, members, d.Time)...)
	} else {
		events = append(events, journal.Events(a.o.Name, seq, members, &d)...)
	}
	if err := journal.Tell(ctx, a.b, events); err != nil {
		return err
	}
	if err := a.buryRefused(ctx, attempt, named.Spans, members, &d); err != nil {
		return err
	}
	t.mark(seq)
	return nil
}

// closedResult is what became of a message that was closed for a reason.
func closedResult(reason string) journal.MessageResult {
	r := journal.MessageResult{}
	if r.Status, r.Detail = ClosedAs(reason); r.Status == envelope.Failed {
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

// mark remembers that a record's events are out.
func (t *told) mark(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ours[seq] = struct{}{}
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
