package journal

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Events turns an outcome into events: one for each tenant, status and 1,000
// messages. The same journal record always gives the same events with the same
// ids, whoever tells them and however often. members are those of the intent,
// in its order; those not found, and results without a status, tell nothing.
func Events(account string, seq uint64, members []Member, d *OutcomeDetail) []envelope.Event {
	return EventsOf(account, seq, len(members), func(i int) (*envelope.EventMessage, string) {
		if m := &members[i]; m.Found {
			return &m.EventMessage, m.Tenant
		}
		return nil, ""
	}, d)
}

// EventsOf is Events for who has the n messages of the intent elsewhere: member
// returns one of them with its tenant, nil if it is to tell nothing.
func EventsOf(account string, seq uint64, n int, member func(i int) (m *envelope.EventMessage, tenant string), d *OutcomeDetail) []envelope.Event {
	type group struct {
		tenant string
		status envelope.Status
	}
	byGroup := map[group]*[]envelope.EventMessage{}
	var last group // most members are like the one before
	var list *[]envelope.EventMessage
	for i := range n {
		r := d.At(uint32(i))
		m, tenant := member(i)
		if r.Status == "" || m == nil {
			continue
		}
		if g := (group{tenant, r.Status}); list == nil || g != last {
			if list, last = byGroup[g], g; list == nil {
				list = new([]envelope.EventMessage)
				*list = make([]envelope.EventMessage, 0, n-i)
				byGroup[g] = list
			}
		}
		*list = append(*list, *m)
		em := &(*list)[len(*list)-1]
		em.ProviderMessageID = r.ProviderID
		em.Attempts++ // the request that this is the outcome of
		bill := d.Bill(r)
		em.Cost, em.Operator = bill.Cost, bill.Operator
		if bill.Segments > 0 {
			em.Segments = bill.Segments
		}
		if r.Code != "" || r.ProviderCode != "" || r.Detail != "" {
			em.Error = &envelope.EventError{Code: r.Code, ProviderCode: r.ProviderCode, Detail: r.Detail}
		}
	}
	var out []envelope.Event
	for g, list := range byGroup {
		msgs := *list
		for i := 0; i < len(msgs); i += envelope.MaxEventMessages {
			chunk := msgs[i:min(i+envelope.MaxEventMessages, len(msgs))]
			out = append(out, envelope.Event{
				ID:   EventID("j", strconv.FormatUint(seq, 10), account, g.tenant, string(g.status), chunk[0].ID),
				Time: d.Time, Tenant: g.tenant, Status: g.status, Provider: account, Messages: chunk,
			})
		}
	}
	slices.SortFunc(out, func(a, b envelope.Event) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// EventID derives an event's id from what caused it, so that telling it again
// gives the same id.
func EventID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Tell publishes events and waits until all are stored. On error the caller
// tells them again later; ids keep that harmless.
func Tell(ctx context.Context, b *bus.Bus, events []envelope.Event) error {
	pending := make([]bus.Pending, 0, len(events))
	for i := range events {
		for _, o := range outs(nil, &events[i], int(b.MaxPayload())-roomInEvent) {
			p, err := b.PublishAsync(o)
			if err != nil {
				return err
			}
			pending = append(pending, p)
		}
	}
	for _, p := range pending {
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// roomInEvent is left beside an event in the server's limit, for headers.
const roomInEvent = 4 << 10

// outs appends an event as it is published: in halves where it is larger than the
// server takes. A thousand long references are more than the megabyte that servers
// take unless told otherwise, and what is never taken would stop what comes after
// it for ever. limit is not positive while no server has told its own.
func outs(list []bus.Out, e *envelope.Event, limit int) []bus.Out {
	data := envelope.AppendEvent(nil, e)
	if limit <= 0 || len(data) <= limit || len(e.Messages) < 2 {
		return append(list, bus.Out{Subject: bus.EventSubject(e.Tenant, string(e.Status)), Data: data, MsgID: e.ID})
	}
	middle := len(e.Messages) / 2
	for i, messages := range [][]envelope.EventMessage{e.Messages[:middle], e.Messages[middle:]} {
		half := *e
		half.ID, half.Messages = EventID("half", e.ID, strconv.Itoa(i)), messages
		list = outs(list, &half, limit)
	}
	return list
}

// ClosedEvents are the events of messages that were closed without an attempt
// (expired, canceled, refused), one for each 1,000. cause makes the ids stable.
func ClosedEvents(cause, tenant, account string, status envelope.Status, detail string, at time.Time, msgs []envelope.EventMessage) []envelope.Event {
	var out []envelope.Event
	for i := 0; i < len(msgs); i += envelope.MaxEventMessages {
		chunk := msgs[i:min(i+envelope.MaxEventMessages, len(msgs))]
		out = append(out, envelope.Event{
			ID:   EventID("c", cause, tenant, string(status), chunk[0].ID),
			Time: at, Tenant: tenant, Status: status, Provider: account, Detail: detail, Messages: chunk,
		})
	}
	return out
}
