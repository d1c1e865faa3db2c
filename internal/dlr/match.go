package dlr

import (
	"context"
	"errors"
	"slices"

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
	at     place  // what it names; zero: nothing

	b     *batch // the message it was matched to
	pos   int
	class Class
	news  bool // it changes the message's status
}

// early marks a report whose message is still on its way out: the answer to the
// request comes first, then the report.
const early Class = "early"

// aim finds out which batch a report is of, and if its id says so which message
// of it. It reports false if nothing but the number is left to go by.
func (c *Collector) aim(a *account, it *item) bool {
	id := it.batch
	if id == "" {
		id = it.report.BatchID
	}
	if id != "" {
		if seq, ok := journal.ParseBatchID(c.o.Journal.Epoch(), id); ok {
			it.at = place{seq, -1}
			return true
		}
	}
	if it.batch != "" || a.index == nil || it.report.ProviderID == "" { // the URL is of a journal that is no more
		return false
	}
	var ok bool
	it.at, ok = a.index.withID(it.report.ProviderID)
	return ok
}

// find matches reports to messages and sets their classes: Matched, Parked or
// Quarantined. An error is trouble with the bus.
func (c *Collector) find(ctx context.Context, a *account, items []*item) error {
	var aimed []uint64
	for _, it := range items {
		it.class = Parked
		if c.aim(a, it) {
			aimed = append(aimed, it.at.intent)
		}
	}
	slices.Sort(aimed)
	batches, err := c.batches.all(ctx, a.Name, slices.Compact(aimed))
	if err != nil {
		return err
	}
	named := map[uint64]map[string]int{} // by batch: where its answer's ids are
	for _, it := range items {
		switch {
		case it.at.intent != 0:
			b := batches[it.at.intent]
			if b == nil {
				continue
			}
			if a.answers != nil && it.at.pos < 0 && it.nameless() && len(b.members) > 1 {
				if err := c.aimByAnswer(ctx, a, it, named); err != nil {
					return err
				}
			}
			if it.class != early {
				it.locate(b)
			}
		case it.batch == "" && a.index != nil && it.report.To != "":
			if err := c.findByNumber(ctx, a, it); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameless reports whether a report has nothing but the gateway's id.
func (it *item) nameless() bool {
	return it.report.MessageID == "" && it.report.To == "" && it.report.ProviderID != ""
}

// aimByAnswer finds out which message of its batch a report means that has nothing
// but the id that the answer to the batch gave it. It makes those early that come
// before the answer was recorded.
func (c *Collector) aimByAnswer(ctx context.Context, a *account, it *item, named map[uint64]map[string]int) error {
	intent := it.at.intent
	ids, ok := named[intent]
	if !ok {
		var err error
		if ids, err = c.positions(ctx, a, intent); err != nil {
			return err
		}
		named[intent] = ids
	}
	if pos, ok := ids[it.report.ProviderID]; ok {
		it.at.pos = pos
		return nil
	}
	if o, _ := c.o.Journal.Intent(intent); ids == nil && (o.Taken > 0 || it.tries < patience) {
		it.class = early
	}
	return nil
}

// locate finds a report's message within its batch.
func (it *item) locate(b *batch) {
	p := it.at
	it.b, it.pos, it.class = b, p.pos, Matched
	r := &it.report
	switch {
	case r.MessageID != "":
		pos, ok := b.withID(r.MessageID)
		if it.pos = pos; !ok {
			it.class = b.missing()
		}
	case p.pos >= 0:
		if p.pos >= len(b.members) {
			it.class = Quarantined
		}
	case r.To == "" && len(b.members) == 1:
		it.pos = 0
	default:
		switch numbered := b.withNumber(r.To); len(numbered) {
		case 0:
			it.class = b.missing()
		case 1:
			it.pos = int(numbered[0])
		default:
			it.class = Parked
		}
	}
	switch {
	case it.class != Matched:
	case !b.found(it.pos):
		it.class = Parked
	case r.To != "" && b.to(it.pos) != r.To:
		it.class = Quarantined
	}
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
	seqs, err := a.index.withNumber(ctx, it.report.To, c.o.Now(), func(ctx context.Context, seq uint64) ([]string, bool, error) {
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
		for _, at := range b.withNumber(it.report.To) {
			pos := int(at)
			id := b.id(pos)
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
	return b.numbers(), b.whole, nil
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
