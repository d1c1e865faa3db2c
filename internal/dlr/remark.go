package dlr

import (
	"context"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// remark tells of words that no table knows: an event with the status that the
// message has anyway and the word as its detail, once for each message and word.
// Each event is of one message, so that its id does not depend on what came
// together with it; such words are rare.
func (c *Collector) remark(ctx context.Context, a *account, its []*item) error {
	var events []envelope.Event
	for _, it := range its {
		id := it.b.id(it.pos)
		status, _ := c.o.Statuses.Current(id)
		if status == "" || status == envelope.Accepted || status == envelope.Scheduled {
			// The answer to the request has not been told yet.
			it.class = Unsaid
			s := c.o.Journal.State(it.b.placed(it.pos).Key)
			if it.tries < patience || s.State == idempotency.Taken && s.Intent == it.b.seq {
				it.class = early
			}
			continue
		}
		eventID := journal.EventID("w", a.Name, id, it.report.Code)
		if c.remarked.has(eventID) {
			continue
		}
		e := envelope.Event{
			ID: eventID, Time: c.o.Now().UTC(), Tenant: it.b.tenant(it.pos), Status: status, Provider: a.Name, Detail: envelope.Remark + it.report.Code,
			Messages: []envelope.EventMessage{it.message("")},
		}
		events = append(events, e)
	}
	if err := c.tell(ctx, events); err != nil {
		return err
	}
	for i := range events {
		c.remarked.add(events[i].ID)
	}
	return nil
}
