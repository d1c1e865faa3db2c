package dispatch

import (
	"context"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// screen looks up what the journal knows of a piece's messages, and returns
// those that may be sent. Whatever the queue delivers again ends here: what was
// done is not done twice, what is uncertain follows its policy, what another
// process holds right now is handed back.
func (a *account) screen(ctx context.Context, h *held) []item {
	free, unsettled := a.sort(h)
	if h.p.RetryOf != 0 && h.p.ExpiresAt.After(a.d.Now()) {
		var others []item
		released := false
		for _, it := range unsettled {
			if a.j.State(it.key()).Intent == h.p.RetryOf {
				released = true
			} else {
				others = append(others, it)
			}
		}
		if released && a.free(ctx, h, unsettled) {
			free, others = a.sort(h)
		}
		unsettled = others
	}
	if err := a.unsettledPolicy(ctx, unsettled); err != nil {
		h.foreign = true
	}
	return free
}

// sort groups a piece's messages by their state; those that somebody holds make
// the piece come again. What is free is the lane's to use until its next piece.
func (a *account) sort(h *held) (free, unsettled []item) {
	h.foreign = false
	keys := h.l.keys[:0]
	free = h.l.free[:0]
	for i := range h.p.Messages {
		keys = append(keys, item{h, int32(i)}.key())
	}
	a.j.States(keys, func(i int, s idempotency.MessageState) {
		it := item{h, int32(i)}
		switch s.State {
		case idempotency.Free:
			free = append(free, it)
		case idempotency.Unsettled:
			unsettled = append(unsettled, it)
		case idempotency.Taken:
			h.foreign = true
		}
	})
	h.l.keys, h.l.free = keys, free
	return free, unsettled
}

// free releases uncertain messages for their one retry: nothing has proved them
// sent in the time that they waited.
func (a *account) free(ctx context.Context, h *held, items []item) bool {
	placed := make([]idempotency.PlacedKey, len(items))
	for i, it := range items {
		placed[i] = it.placed()
	}
	seq, effect, err := a.j.Append(ctx, idempotency.Record{
		Kind: idempotency.Release, Account: a.o.Name, Owes: true, Intent: h.p.RetryOf, Spans: idempotency.Spans(placed),
	})
	if err != nil {
		h.foreign = true
		return false
	}
	crash.At("dispatch.after-release")
	var events []envelope.Event
	for n, p := range effect.Freed { // cancelled while uncertain: closed instead of freed
		status, detail := closedAs(effect.Reasons[n])
		if status == "" {
			continue
		}
		em := journal.EventMessage(&h.p, items[p].msg())
		events = append(events, journal.ClosedEvents(cause(seq), h.p.Tenant, a.o.Name, status, detail, a.d.Now().UTC(), []envelope.EventMessage{em})...)
	}
	if !a.tell(ctx, events) {
		h.foreign = true
		return false
	}
	a.j.Told(seq)
	return true
}

// unsettledPolicy gives uncertain messages what their policy says. It is done
// by whoever holds the piece, as often as need be: the schedule and the dead
// letter have fixed ids.
func (a *account) unsettledPolicy(ctx context.Context, items []item) error {
	type fate struct {
		intent uint64
		renew  bool
	}
	by := map[fate][]item{}
	for _, it := range items {
		s := a.j.State(it.key())
		f := fate{s.Intent, a.retried(&it.h.p, s.Released)}
		by[f] = append(by[f], it)
	}
	for f, its := range by {
		var err error
		if f.renew {
			err = a.renew(ctx, its, f.intent)
		} else {
			err = a.bury(ctx, its, f.intent, func(item) journal.MessageResult {
				return journal.MessageResult{Status: envelope.Uncertain, Code: "uncertain"}
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// returnDue puts pieces whose wait is over back into the queue.
func (a *account) returnDue(ctx context.Context) {
	spec := bus.Consumer{Stream: bus.DelayStream, Name: "due-queue-" + a.o.Name, Filters: []string{"sms.due.queue." + a.o.Name + ".>"}}
	for ctx.Err() == nil {
		err := a.b.Consume(ctx, spec, func(ctx context.Context, m *bus.Msg) {
			o := bus.Out{
				Subject: "sms.queue." + m.Subject[len("sms.due.queue."):], Header: ownHeaders(m.Header), Data: m.Data,
				MsgID: "due-" + m.Place(),
			}
			o.Pack()
			if _, err := a.b.Publish(ctx, o); err != nil {
				_ = m.Nak(time.Second) // comes again by itself if this fails too
				return
			}
			crash.At("dispatch.due-before-ack")
			_ = m.Ack() // a lost ack makes a copy, and copies are harmless
		})
		if ctx.Err() == nil {
			a.d.Log.Warn("due messages interrupted", "account", a.o.Name, "error", err)
			service.Sleep(ctx, 250*time.Millisecond)
		}
	}
}

// ownHeaders drops what the server added.
func ownHeaders(h bus.Header) bus.Header {
	if v := h["traceparent"]; len(v) > 0 {
		return bus.Header{"traceparent": v}
	}
	return nil
}

// janitor settles what dead dispatchers left behind, and measures.
func (a *account) janitor(take, work context.Context) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	minute := time.NewTicker(a.d.SweepEvery)
	defer minute.Stop()
	look := time.NewTicker(a.d.MeasureEvery) // it asks the server about every lane
	defer look.Stop()
	for {
		select {
		case <-take.Done():
			return
		case <-second.C:
			a.mopUp(work)
			a.tellOwed(work)
			a.pace.consider(take)
		case <-look.C:
			a.measure(take)
		case <-minute.C:
			a.sweep(take)
		}
	}
}

// mopUp declares uncertain what dispatchers left open that had their whole lease.
func (a *account) mopUp(ctx context.Context) {
	for _, o := range a.j.Abandoned(a.o.Name) {
		d := journal.OutcomeDetail{
			Time:    a.d.Now().UTC(),
			Default: journal.MessageResult{Status: envelope.Uncertain, Code: "uncertain", Detail: "the dispatcher that was sending it went away"},
		}
		seq, effect, err := a.j.AppendOutcome(ctx, o, idempotency.Unsettled, "uncertain", &d)
		if err != nil || effect.Acted == 0 {
			continue
		}
		crash.At("dispatch.after-takeover")
		a.d.Log.Warn("abandoned request is uncertain", "account", a.o.Name, "batch", journal.BatchID(a.j.Epoch(), o.Seq), "owner", o.Owner, "messages", effect.Acted)
		if err := a.tellRecord(ctx, journal.Owing{Seq: seq, At: d.Time, Effect: effect}); err != nil {
			a.d.Log.Warn("events of an abandoned request wait", "account", a.o.Name, "error", err)
		}
	}
}
