package ingest

import (
	"cmp"
	"context"
	"errors"
	"net/http"
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

// CancelCounts says what a cancel found.
type CancelCounts struct {
	Canceled int `json:"canceled"`  // they will not be sent
	InFlight int `json:"in_flight"` // on their way right now, or uncertain: not sent again if they come back
	TooLate  int `json:"too_late"`  // sent, or ended otherwise
}

// reasonCanceled is the close record's reason.
const reasonCanceled = "canceled"

func (in *Ingest) deleteMessage(w http.ResponseWriter, r *http.Request) error {
	t, id := tenant(r.Context()), r.PathValue("id")
	var m status.Message
	if err := in.known(r.Context(), "message", func() (ok bool) {
		m, ok = in.status.Message(t.Name, id)
		return ok
	}); err != nil {
		return err
	}
	return in.answerCancel(w, r, m.EnvelopeID, []status.Message{m})
}

func (in *Ingest) deleteEnvelope(w http.ResponseWriter, r *http.Request) error {
	t, id := tenant(r.Context()), r.PathValue("id")
	var msgs []status.Message
	if err := in.known(r.Context(), "envelope", func() (ok bool) {
		msgs, ok = in.messages(t.Name, id)
		return ok
	}); err != nil {
		return err
	}
	return in.answerCancel(w, r, id, msgs)
}

func (in *Ingest) answerCancel(w http.ResponseWriter, r *http.Request, envelopeID string, msgs []status.Message) error {
	counts, err := in.cancel(r.Context(), tenant(r.Context()).Name, envelopeID, msgs)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, typeJSON, counts)
	return nil
}

// messages returns all messages of an envelope.
func (in *Ingest) messages(tenant, id string) ([]status.Message, bool) {
	var all []status.Message
	for cursor := ""; ; {
		page, next, ok := in.status.Messages(tenant, id, "", cursor, status.MaxPage)
		if !ok {
			return nil, false
		}
		all = append(all, page...)
		if next == "" {
			return all, true
		}
		cursor = next
	}
}

// cancel closes what was not handed to a provider. The journal decides: its
// close record acts on the messages that nobody holds, and stands for those on
// their way until they come back.
func (in *Ingest) cancel(ctx context.Context, tenant, envelopeID string, msgs []status.Message) (CancelCounts, error) {
	var c CancelCounts
	var origin envelope.Origin
	if err := in.known(ctx, "envelope", func() (ok bool) { // of events alone, until its piece was read
		origin, _, ok = in.status.Origin(tenant, envelopeID)
		return ok
	}); err != nil {
		p := problem(http.StatusServiceUnavailable, codeUnavailable, "the envelope is not known well enough yet; try again")
		p.RetryAfter = statusRetry
		return c, p
	}
	open := slices.DeleteFunc(slices.Clone(msgs), func(m status.Message) bool {
		if m.Status == envelope.Submitted || m.Status.Final() && m.Status != envelope.Canceled {
			c.TooLate++
		}
		return m.Status == envelope.Submitted || m.Status.Final()
	})
	if len(open) == 0 {
		return c, nil
	}
	keys := keysOf(origin, open)
	seq, effect, err := in.record(ctx, idempotency.Record{
		Kind: idempotency.Close, Owes: true, Reason: reasonCanceled, Tenant: tenant, ID: envelopeID, Spans: idempotency.Spans(keys),
	})
	if err != nil {
		return c, err
	}
	crash.At("ingest.after-cancel")
	lost := map[uint32]bool{}
	var closed []string
	for _, at := range effect.Lost {
		lost[at] = true
		if in.journal.State(keys[at].Key).State == idempotency.Closed {
			closed = append(closed, open[at].ID)
		} else {
			c.InFlight++
		}
	}
	c.TooLate += in.notCanceled(ctx, tenant, closed)
	var won []status.Message
	for i := range open {
		if !lost[uint32(i)] {
			won = append(won, open[i])
		}
	}
	c.Canceled = len(won)
	if len(won) == len(msgs) {
		in.unschedule(ctx, tenant, envelopeID, won)
	}
	return c, in.tellCanceled(ctx, seq, tenant, "", won)
}

// notCanceled counts those of some messages, which the journal has closed, that it
// closed for another reason than a cancel. Why, the events say: those that were not
// read here yet, or are not even published, are waited for a little.
func (in *Ingest) notCanceled(ctx context.Context, tenant string, ids []string) int {
	ctx, cancel := context.WithTimeout(ctx, lookTries*tellAgain)
	defer cancel()
	for {
		n, untold := 0, false
		for _, id := range ids {
			m, _ := in.status.Message(tenant, id)
			if m.Status != envelope.Canceled {
				n++
				untold = untold || !m.Status.Final() && m.Status != envelope.Submitted
			}
		}
		if !untold {
			return n
		}
		select {
		case <-ctx.Done():
			return n
		case <-time.After(tellAgain):
		}
	}
}

// record stores a record for somebody who waits: not for longer than that is worth,
// and not at all while the bus is away. The error is a *Problem; as with
// journal.Append, it leaves open whether the record will appear.
func (in *Ingest) record(ctx context.Context, r idempotency.Record) (uint64, idempotency.Effect, error) {
	err := bus.ErrUnavailable
	if in.bus.Connected() {
		within, cancel := context.WithTimeout(ctx, storeFor)
		defer cancel()
		seq, effect, aerr := in.journal.Append(within, r)
		if aerr == nil {
			return seq, effect, nil
		}
		err = aerr
	}
	p := unavailable(err)
	p.Detail = "it could not be stored; try again"
	return 0, idempotency.Effect{}, p
}

// tellCanceled publishes the events of messages that a journal record closed,
// even if whoever asked for it has gone meanwhile.
func (in *Ingest) tellCanceled(ctx context.Context, seq uint64, tenant, detail string, msgs []status.Message) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeFor)
	defer cancel()
	list := make([]envelope.EventMessage, len(msgs))
	for i := range msgs {
		list[i] = eventMessage(&msgs[i])
	}
	events := journal.ClosedEvents("j"+strconv.FormatUint(seq, 10), tenant, "", envelope.Canceled, detail, in.now().UTC(), list)
	for {
		err := journal.Tell(ctx, in.bus, events)
		if err == nil {
			in.journal.Told(seq)
			for account, n := range byAccount(msgs) {
				in.count(account, envelope.Canceled, n)
			}
			return nil
		}
		if !errors.Is(err, bus.ErrUnavailable) && !errors.Is(err, bus.ErrFull) {
			return err
		}
		select {
		case <-ctx.Done():
			return unavailable(err)
		case <-time.After(tellAgain):
		}
	}
}

// byAccount counts messages by the account that was to send them; none: it was not
// chosen yet.
func byAccount(msgs []status.Message) map[string]int {
	n := map[string]int{}
	for i := range msgs {
		n[cmp.Or(msgs[i].Provider, noAccount)]++
	}
	return n
}

// eventMessage is what an event repeats of a message that a status knows.
func eventMessage(m *status.Message) envelope.EventMessage {
	em := envelope.EventMessage{
		ID: m.ID, EnvelopeID: m.EnvelopeID, To: m.To, Ref: m.Ref, Segments: m.Segments, Attempts: m.Attempts, ReplayOf: m.ReplayOf,
	}
	if len(m.TraceID) == 32 {
		// Statuses keep the trace, not the span; any parent will do to stay in it.
		em.Traceparent = "00-" + m.TraceID + "-" + m.TraceID[:16] + "-01"
	}
	return em
}

// keysOf names messages in the journal.
func keysOf(o envelope.Origin, msgs []status.Message) []idempotency.PlacedKey {
	keys := make([]idempotency.PlacedKey, len(msgs))
	for i := range msgs {
		_, index, _ := envelope.SplitMessageID(msgs[i].ID)
		keys[i].Key = idempotency.Key{Stream: o.Stream, Epoch: o.Epoch, Seq: o.Seq, Index: uint32(index)}
	}
	return keys
}

// unschedule removes the schedule of an envelope of which nothing is left to
// send, if it waits for its time. What stays behind if that fails finds its
// messages closed when it fires.
func (in *Ingest) unschedule(ctx context.Context, tenant, envelopeID string, msgs []status.Message) {
	i := slices.IndexFunc(msgs, func(m status.Message) bool {
		return m.Waiting != nil && m.Waiting.Reason == "schedule" && m.Waiting.Until != nil
	})
	if i < 0 {
		return
	}
	if err := in.bus.CancelSchedule(ctx, bus.DelaySubmit, scheduleID(tenant, envelopeID), *msgs[i].Waiting.Until); err != nil {
		in.log.Warn("schedule not removed", "tenant", tenant, "envelope", envelopeID, "error", err)
	}
}

// scheduleID names an envelope's schedule.
func scheduleID(tenant, envelopeID string) string { return tenant + "." + envelopeID }
