package dlr

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// patience is how often a report waits for the events of its message's answer,
// which are on their way or died with a dispatcher, before it tells `submitted`
// itself. With the delays of follow that is some three seconds.
const patience = 6

// settle matches reports and does what they say. Afterwards every item has its
// class; those that are Matched are done with. An error is trouble with the
// bus: everything may be settled again.
func (c *Collector) settle(ctx context.Context, a *account, items []item) error {
	asking := make([]*item, 0, len(items))
	for i := range items {
		it := &items[i]
		if wanted(it.report.Status) == "" && !it.remarks() && !it.proves() {
			it.class = Unsaid // kept where it is; it changes nothing
			continue
		}
		asking = append(asking, it)
	}
	if err := c.find(ctx, a, asking); err != nil {
		return err
	}
	var remarks []*item
	found := asking[:0]
	for _, it := range asking {
		switch {
		case it.class != Matched:
		case it.remarks():
			remarks = append(remarks, it)
		default:
			found = append(found, it)
		}
	}
	if err := c.remark(ctx, a, remarks); err != nil {
		return err
	}
	proved, err := c.prove(ctx, a, found)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		crash.At("dlr.after-match")
	}
	events := c.changes(a, found, proved)
	if err := c.heedReports(ctx, a, found); err != nil {
		return err
	}
	if err := c.tell(ctx, events); err != nil {
		return err
	}
	if len(events) > 0 {
		crash.At("dlr.after-events")
	}
	for i := range events {
		c.o.Observer.Told(&events[i])
	}
	return nil
}

// proves reports whether an answer to a look-up says of a message only that it was
// taken, or that it was not.
func (it *item) proves() bool {
	return it.asked && (it.report.Status == providers.ReportPending || it.report.Status == providers.ReportRefused)
}

// remarks reports whether a report says a word that no table knows.
func (it *item) remarks() bool {
	return it.report.Status == providers.ReportUnknown && it.report.Code != ""
}

// tell publishes events and lets them count at once.
func (c *Collector) tell(ctx context.Context, events []envelope.Event) error {
	if len(events) == 0 {
		return nil
	}
	return c.o.Statuses.Tell(events, func() error { return journal.Tell(ctx, c.o.Bus, events) })
}

// prove sees to it that nobody sends again what a report says was taken. A
// message of which nobody knew is settled by an outcome of the very attempt; one
// that was freed since, or is being tried again, is closed for when it is free.
// It returns the messages that this made `submitted`, and makes those early
// whose attempt is still under way.
func (c *Collector) prove(ctx context.Context, a *account, found []*item) (proved map[*item]bool, err error) {
	keys := make([]idempotency.Key, len(found))
	for i, it := range found {
		keys[i] = it.b.placed(it.pos).Key
	}
	unsettled := map[*batch][]*item{}
	var freed []*item
	c.o.Journal.States(keys, func(i int, s idempotency.MessageState) {
		it := found[i]
		switch {
		case s.State == idempotency.Closed, s.CloseStands == reported:
		case s.State == idempotency.Taken && s.Intent == it.b.seq:
			it.class = early
		case s.State == idempotency.Unsettled && s.Intent == it.b.seq:
			unsettled[it.b] = append(unsettled[it.b], it)
		case it.report.Status == providers.ReportRefused: // free, or tried again: that is for others to tell
		default:
			freed = append(freed, it)
		}
	})
	proved = map[*item]bool{}
	for b, its := range unsettled {
		if err := c.accept(ctx, a, b, its); err != nil {
			return nil, err
		}
		for _, it := range its {
			proved[it] = it.class == Matched
		}
	}
	if len(freed) > 0 {
		if err := c.close(ctx, a, freed); err != nil {
			return nil, err
		}
		for _, it := range freed {
			proved[it] = true
		}
	}
	return proved, nil
}

// accept writes that a gateway took messages of which it was not known, or that it
// refused them.
func (c *Collector) accept(ctx context.Context, a *account, b *batch, its []*item) error {
	states := make([]idempotency.State, len(b.members))
	for i := range states {
		states[i] = idempotency.Unsettled // no change for those that are
	}
	d := journal.OutcomeDetail{Time: c.o.Now().UTC(), Each: map[uint32]journal.MessageResult{}}
	for _, it := range its {
		states[it.pos] = idempotency.Closed
		r := journal.MessageResult{Status: envelope.Submitted, ProviderID: it.report.ProviderID}
		if it.report.Status == providers.ReportRefused {
			r = journal.MessageResult{Status: envelope.Failed, Code: codeRejected, ProviderCode: it.report.Code, Detail: it.report.Detail}
		}
		d.Each[uint32(it.pos)] = r
	}
	detail, err := json.Marshal(&d)
	if err != nil {
		return fmt.Errorf("dlr: outcome: %w", err)
	}
	_, effect, err := c.o.Journal.Append(ctx, idempotency.Record{
		Kind: idempotency.Outcome, Account: a.Name, Intent: b.seq, Class: reported,
		Runs: idempotency.AppendRuns(states), Detail: detail,
	})
	for _, it := range its {
		// Lost is not told of an intent that holds nothing any more.
		if effect.Acted == 0 || slices.Contains(effect.Lost, uint32(it.pos)) {
			it.class = early // settled or freed by others meanwhile: look again
		}
	}
	if err == nil {
		c.o.Log.Info("uncertain messages settled by reports", "account", a.Name, "batch", journal.BatchID(c.o.Journal.Epoch(), b.seq), "messages", len(its))
	}
	return err
}

// reported is the reason of a close record, and the class of an outcome, that a
// report brought about.
const reported = "reported"

// codeRejected is the code of an event on what a gateway refused.
const codeRejected = "rejected"

// close closes messages that were freed for another try. The record names no
// account, since its events are told here and by nobody else.
func (c *Collector) close(ctx context.Context, a *account, its []*item) error {
	placed := make([]idempotency.PlacedKey, len(its))
	for i, it := range its {
		placed[i] = it.b.placed(it.pos)
	}
	_, _, err := c.o.Journal.Append(ctx, idempotency.Record{Kind: idempotency.Close, Reason: reported, Spans: idempotency.Spans(placed)})
	if err == nil {
		c.o.Log.Warn("reports on messages that were free to be sent again", "account", a.Name, "messages", len(its))
	}
	return err
}

// changes are the events that the found reports bring about: `submitted` where
// nobody has told it, then what the reports say, if it may follow what is known.
func (c *Collector) changes(a *account, found []*item, proved map[*item]bool) []envelope.Event {
	told := gathering{size: min(len(found), envelope.MaxEventMessages)}
	at := c.o.Now().UTC()                               // what a report had to wait for was told before
	now := make(map[string]envelope.Status, len(found)) // as it will be after these events
	for _, it := range found {
		if it.class != Matched {
			continue
		}
		id := it.b.id(it.pos)
		current, ok := now[id]
		if !ok {
			current, _ = c.o.Statuses.Current(id)
		}
		if it.report.Status == providers.ReportRefused {
			if proved[it] && envelope.Failed.Supersedes(current) {
				told.add(it.b.tenant(it.pos), envelope.Failed, at, it.message(envelope.Failed))
				now[id], it.news = envelope.Failed, true
			}
			continue
		}
		if envelope.Submitted.Supersedes(current) {
			if !proved[it] && it.tries < patience {
				it.class = early
				continue
			}
			told.add(it.b.tenant(it.pos), envelope.Submitted, at, it.message(envelope.Submitted))
			current = envelope.Submitted
		}
		if to := wanted(it.report.Status); to != "" && to.Supersedes(current) {
			told.add(it.b.tenant(it.pos), to, at, it.message(to))
			current, it.news = to, true
		}
		now[id] = current
	}
	return told.events(a.Name)
}

// message is what events tell of the message that a report was matched to, if it
// made it to.
func (it *item) message(to envelope.Status) envelope.EventMessage {
	em := it.b.message(it.pos)
	em.Attempts++ // this one; the copy counts those before it
	em.ProviderMessageID = it.report.ProviderID
	switch to {
	case envelope.Failed:
		em.Error = &envelope.EventError{Code: codeRejected, ProviderCode: it.report.Code, Detail: it.report.Detail}
	case envelope.Undelivered:
		em.Error = &envelope.EventError{Code: string(envelope.Undelivered), ProviderCode: it.report.Code, Detail: it.report.Detail}
	}
	return em
}

// gathering makes as few events as it can. They come out in the order in which
// statuses may follow one another, so one message may be in several.
type gathering struct {
	groups []*group
	size   int // of the first group, which mostly is the only one
}

type group struct {
	tenant   string
	status   envelope.Status
	at       time.Time
	messages []envelope.EventMessage
}

func (g *gathering) add(tenant string, s envelope.Status, at time.Time, m envelope.EventMessage) {
	for _, have := range g.groups {
		if have.tenant == tenant && have.status == s && len(have.messages) < envelope.MaxEventMessages {
			have.messages = append(have.messages, m)
			return
		}
	}
	list := make([]envelope.EventMessage, 0, g.size)
	g.size = 0 // there may be as many tenants as messages
	g.groups = append(g.groups, &group{tenant, s, at, append(list, m)})
}

func (g *gathering) events(account string) []envelope.Event {
	out := make([]envelope.Event, 0, len(g.groups))
	for _, s := range []envelope.Status{envelope.Submitted, envelope.Failed, envelope.Undelivered, envelope.Delivered} {
		for _, have := range g.groups {
			if have.status != s {
				continue
			}
			ids := []string{"d", account, have.tenant, string(s)}
			for i := range have.messages {
				ids = append(ids, have.messages[i].ID)
			}
			out = append(out, envelope.Event{
				ID: journal.EventID(ids...), Time: have.at, Tenant: have.tenant, Status: s, Provider: account, Messages: have.messages,
			})
		}
	}
	return out
}
