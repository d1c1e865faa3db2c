package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
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
	ours    map[uint64]struct{}           // records whose events this process knows to be out
}

type toldRecord struct {
	seq     uint64
	at      time.Time
	buckets []uint64
}

const bucketBits = 8

func newTold(account string) *told {
	return &told{account: account, intents: map[uint64]idempotency.Record{}, byPlace: map[uint64][]uint64{}, ours: map[uint64]struct{}{}}
}

// watch is a journal.Watcher.
func (t *told) watch(seq uint64, at time.Time, r *idempotency.Record, _ *idempotency.Effect) {
	if r.Account != t.account {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch r.Kind {
	case idempotency.Intent:
		t.intents[seq] = idempotency.Record{Kind: r.Kind, Account: r.Account, Spans: r.Spans}
	case idempotency.Outcome:
		intent, ok := t.intents[r.Intent]
		if ok {
			delete(t.intents, r.Intent)
			t.add(seq, at, intent.Spans)
		}
	case idempotency.Close:
		t.add(seq, at, r.Spans)
	}
	for len(t.recent) > 0 && at.Sub(t.recent[0].at) > rememberTold {
		t.drop(t.recent[0])
		t.recent = t.recent[1:]
	}
}

func (t *told) add(seq uint64, at time.Time, spans []idempotency.Span) {
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

// again tells what may not be told of a piece that came again. It returns false
// when the bus could not take it: then the piece must not be acked yet.
func (t *told) again(ctx context.Context, a *account, h *held) bool {
	t.mu.Lock()
	var seqs []uint64
	for _, s := range t.byPlace[h.msg.Seq>>bucketBits] {
		if _, ok := t.ours[s]; !ok {
			seqs = append(seqs, s)
		}
	}
	t.mu.Unlock()
	for _, s := range seqs {
		if err := t.tell(ctx, a, s); err != nil {
			a.d.Log.Warn("events wait", "account", a.o.Name, "journal", s, "error", err)
			return false
		}
	}
	return true
}

// tell publishes the events of one outcome or close record, read back from the
// journal and the queue.
func (t *told) tell(ctx context.Context, a *account, seq uint64) error {
	rec, err := record(ctx, a.b, seq)
	if err != nil {
		return err
	}
	var events []envelope.Event
	switch rec.Kind {
	case idempotency.Outcome:
		intent, err := record(ctx, a.b, rec.Intent)
		if err != nil {
			return err
		}
		d, err := journal.Outcome(&rec)
		if err != nil {
			return err
		}
		members, err := journal.Members(ctx, a.b, &intent)
		if err != nil {
			return err
		}
		events = journal.Events(a.o.Name, seq, members, &d)
	case idempotency.Close:
		members, err := journal.Members(ctx, a.b, &rec)
		if err != nil {
			return err
		}
		status, detail := ClosedAs(rec.Reason)
		if status == "" {
			break
		}
		byTenant := map[string][]envelope.EventMessage{}
		for _, m := range members {
			if m.Found {
				byTenant[m.Tenant] = append(byTenant[m.Tenant], m.EventMessage)
			}
		}
		for tenant, msgs := range byTenant {
			events = append(events, journal.ClosedEvents(cause(seq), tenant, a.o.Name, status, detail, a.d.Now().UTC(), msgs)...)
		}
	}
	if err := journal.Tell(ctx, a.b, events); err != nil {
		return err
	}
	t.mark(seq)
	return nil
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
