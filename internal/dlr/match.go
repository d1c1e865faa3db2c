package dlr

import (
	"context"
	"errors"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// item is one report on its way to its message.
type item struct {
	report providers.Report
	batch  string // proved by the URL; else empty
	tries  int    // how often it was looked at
	asked  bool   // the answer to a look-up: that the gateway knows the message says something

	b     *batch // the message it was matched to
	pos   int
	class Class
}

// early marks a report whose message is still on its way out: the answer to the
// request comes first, then the report.
const early Class = "early"

// find matches a report to a message and sets its class: Matched, Parked or
// Quarantined. An error is trouble with the bus.
func (c *Collector) find(ctx context.Context, a *account, it *item) error {
	it.class = Parked
	id := it.batch
	if id == "" {
		id = it.report.BatchID
	}
	if id != "" {
		if seq, ok := journal.ParseBatchID(c.o.Journal.Epoch(), id); ok {
			return c.locate(ctx, a, it, place{seq, -1})
		}
		if it.batch != "" { // of a journal that is no more
			return nil
		}
	}
	if a.index == nil {
		return nil
	}
	if p, ok := a.index.withID(it.report.ProviderID); ok && it.report.ProviderID != "" {
		return c.locate(ctx, a, it, p)
	}
	if it.report.To != "" {
		return c.findByNumber(ctx, a, it)
	}
	return nil
}

// locate finds a report's message within a batch.
func (c *Collector) locate(ctx context.Context, a *account, it *item, p place) error {
	b, err := c.batches.get(ctx, a.Name, p.intent)
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	it.b, it.pos, it.class = b, p.pos, Matched
	r := &it.report
	switch numbered := b.byNumber[r.To]; {
	case r.MessageID != "":
		pos, ok := b.byID[r.MessageID]
		if it.pos = pos; !ok {
			it.class = b.missing()
		}
	case p.pos >= 0:
		if p.pos >= len(b.members) {
			it.class = Quarantined
		}
	case r.To == "" && len(b.members) == 1:
		it.pos = 0
	case len(numbered) == 1:
		it.pos = numbered[0]
	case len(numbered) > 1:
		it.class = Parked
	default:
		it.class = b.missing()
	}
	if it.class == Matched && r.To != "" && b.members[it.pos].Found && b.members[it.pos].To != r.To {
		it.class = Quarantined
	}
	if it.class == Matched && !b.members[it.pos].Found {
		it.class = Parked
	}
	return nil
}

// missing is the class of a report that names no message of a batch of which
// everything, or not everything, could be read.
func (b *batch) missing() Class {
	if b.whole {
		return Quarantined
	}
	return Parked
}

// findByNumber matches a report that has nothing but a number: to the only
// message to it that waits for a report, else, for repetitions and corrections,
// to the only one there is.
func (c *Collector) findByNumber(ctx context.Context, a *account, it *item) error {
	seqs, err := a.index.withNumber(ctx, it.report.To, func(ctx context.Context, seq uint64) ([]string, bool, error) {
		return c.numbers(ctx, a, seq)
	})
	if err != nil {
		return err
	}
	type fit struct {
		b   *batch
		pos int
	}
	var open, all []fit
	met := map[string]bool{} // a message tried twice is in two batches: the newer one counts
	for _, seq := range seqs {
		b, err := c.batches.get(ctx, a.Name, seq)
		if errors.Is(err, bus.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, pos := range b.byNumber[it.report.To] {
			id := b.members[pos].ID
			sent, waits := c.waits(b, pos, id)
			if !sent || met[id] {
				continue
			}
			met[id] = true
			all = append(all, fit{b, pos})
			if waits {
				open = append(open, fit{b, pos})
			}
		}
		if len(open) > 1 {
			return nil
		}
	}
	if len(open) == 0 {
		open = all
	}
	if len(open) == 1 {
		it.b, it.pos, it.class = open[0].b, open[0].pos, Matched
	}
	return nil
}

// waits says whether a message may have been sent by this batch, and if so
// whether it still waits for a report.
func (c *Collector) waits(b *batch, pos int, id string) (sent, waits bool) {
	switch s := c.o.Journal.State(b.placed(pos).Key); s.State {
	case idempotency.Taken, idempotency.Unsettled:
		return s.Intent == b.seq, s.Intent == b.seq
	case idempotency.Closed:
		current, ok := c.o.Statuses.Current(id)
		return true, !ok || !current.Final()
	}
	return false, false
}

// numbers are those of an intent's messages, and whether all were found.
func (c *Collector) numbers(ctx context.Context, a *account, seq uint64) ([]string, bool, error) {
	b, err := c.batches.load(ctx, a.Name, seq)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	out := make([]string, 0, len(b.byNumber))
	for n := range b.byNumber {
		out = append(out, n)
	}
	return out, b.whole, nil
}

// wanted is the status that a report asks for; empty: none.
func wanted(s providers.ReportStatus) envelope.Status {
	switch s {
	case providers.ReportDelivered:
		return envelope.Delivered
	case providers.ReportUndelivered:
		return envelope.Undelivered
	}
	return ""
}
