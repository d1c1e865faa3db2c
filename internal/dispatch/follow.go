package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/optout"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Waiting times before an uncertain message is tried again, for evidence to come.
const (
	evidenceHigh = 5 * time.Second
	evidence     = 2 * time.Minute
)

// follow does what the verdicts of the outcome at seq ask for, and lets the
// messages go once that is stored. What could not be stored is handed back: it
// comes again, and the journal knows what was done.
func (t *attempt) follow(ctx context.Context, seq uint64, vs []verdict, d *journal.OutcomeDetail) {
	a := t.a
	t.tellOptOuts(ctx)
	if !slices.ContainsFunc(vs, func(v verdict) bool { return v.then != done }) { // nearly always
		a.j.Told(seq)
		a.finished(t.items)
		return
	}
	by, why := map[action][]item{}, map[item]journal.MessageResult{}
	for i, v := range vs {
		by[v.then] = append(by[v.then], t.items[i])
		if v.then == dead {
			why[t.items[i]] = d.At(t.position(i))
		}
	}
	failed := map[action]error{
		dead:  a.bury(ctx, by[dead], t.seq, func(it item) journal.MessageResult { return why[it] }),
		renew: a.renew(ctx, by[renew], t.seq),
		later: a.retryLater(ctx, by[later]),
		move:  a.move(ctx, by[move], true),
	}
	if failed[dead] == nil { // else the letters are written when the messages come again
		a.j.Told(seq)
	}
	for _, act := range []action{done, dead, renew, later, move} {
		if err := failed[act]; err != nil {
			a.d.Log.Warn("messages handed back", "account", a.o.Name, "messages", len(by[act]), "error", err)
			a.abandon(by[act])
			continue
		}
		a.finished(by[act])
	}
	a.back(by[again])
}

// tellOptOuts tells everybody which numbers want nothing from the account any
// more. One that is not stored is told by the gateway again, at the price of
// another request.
func (t *attempt) tellOptOuts(ctx context.Context) {
	for _, number := range t.optOuts {
		e := optout.Entry{Account: t.a.o.Name, Number: number, Out: true, Source: "refused", Time: t.a.d.Now().UTC()}
		if err := optout.Tell(ctx, t.a.b, e); err != nil {
			t.a.d.Log.Warn("opt-out not stored", "account", t.a.o.Name, "error", err)
		}
	}
}

// abandon hands messages back to the queue: what is to be done with them is
// found out when they come again. So it goes with what others have or had, closed
// or not: whoever closed it may have died before telling.
func (a *account) abandon(items []item) {
	a.mu.Lock()
	for _, it := range items {
		it.h.foreign = true
	}
	a.mu.Unlock()
	a.finished(items)
}

// pieces groups messages by the piece they came in, in order.
func pieces(items []item) map[*held][]item {
	out := map[*held][]item{}
	for _, it := range items {
		out[it.h] = append(out[it.h], it)
	}
	return out
}

// copyOf returns a piece that carries only the given messages, with their
// identity.
func copyOf(h *held, items []item) envelope.Piece {
	p := h.p
	origin := h.origin
	p.Origin = &origin
	p.Messages = make([]envelope.Message, len(items))
	for i, it := range items {
		p.Messages[i] = *it.msg()
	}
	return p
}

func headers(p *envelope.Piece) bus.Header {
	if p.Traceparent == "" {
		return nil
	}
	return bus.Header{"traceparent": {p.Traceparent}}
}

func (a *account) store(ctx context.Context, p *envelope.Piece, o bus.Out) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("dispatch: %w", err)
	}
	o.Data, o.Header = data, headers(p)
	o.Pack() // it may have come packed
	_, err = a.b.Publish(ctx, o)
	return err
}

// renew schedules uncertain messages for their one retry, after a wait for
// evidence. The copy names the intent that it may free.
func (a *account) renew(ctx context.Context, items []item, intent uint64) error {
	for h, its := range pieces(items) {
		p := copyOf(h, its)
		p.RetryOf = intent
		p.Attempts++
		id := fmt.Sprintf("renew-%s-%d", h.msg.Place(), intent)
		if err := a.store(ctx, &p, bus.Out{
			Subject: bus.DueQueueSubject(a.o.Name, string(p.Priority), p.Tenant), SchedID: id, At: a.d.Now().Add(waitFor(&p)),
		}); err != nil {
			return err
		}
		crash.At("dispatch.after-renew")
	}
	return nil
}

// retryLater schedules messages that the gateway refused for now, one by one,
// while it took others: 1 s doubling to 5 min.
func (a *account) retryLater(ctx context.Context, items []item) error {
	for h, its := range pieces(items) {
		p := copyOf(h, its)
		wait := min(time.Second<<min(p.Tries, 9), 5*time.Minute)
		p.Tries++
		id := "later-" + h.msg.Place() + "-" + p.Digest()
		if err := a.store(ctx, &p, bus.Out{
			Subject: bus.DueQueueSubject(a.o.Name, string(p.Priority), p.Tenant), SchedID: id, At: a.d.Now().Add(wait),
		}); err != nil {
			return err
		}
	}
	return nil
}

// move puts messages into the queue of the next account of their route.
func (a *account) move(ctx context.Context, items []item, tried bool) error {
	for h, its := range pieces(items) {
		p := copyOf(h, its)
		p.Account, p.Route = p.Route[0], p.Route[1:]
		if p.RetryOf = 0; tried {
			p.Attempts++
		}
		if err := a.store(ctx, &p, bus.Out{
			Subject: bus.QueueSubject(p.Account, string(p.Priority), p.Tenant),
			MsgID:   "move-" + h.msg.Place() + "-" + p.Digest(),
		}); err != nil {
			h.crowded = errors.Is(err, bus.ErrFull)
			return err
		}
		crash.At("dispatch.after-move")
		a.d.Log.Info("messages moved", "account", a.o.Name, "to", p.Account, "envelope", p.ID, "messages", len(its))
	}
	return nil
}

// How long a lane leaves other accounts' queues alone when one was full; it doubles.
const (
	fullLeast = 5 * time.Second
	fullMost  = time.Minute
)

// moveAll moves the messages of a piece that have somewhere to go, and returns
// the others.
func (l *lane) moveAll(ctx context.Context, h *held, free []item) []item {
	if len(h.p.Route) == 0 || len(free) == 0 {
		return free
	}
	switch err := l.a.move(ctx, free, false); {
	case err == nil:
		l.fullFor = 0
		return nil
	case errors.Is(err, bus.ErrFull):
		l.fullFor = min(max(2*l.fullFor, fullLeast), fullMost)
		l.a.mu.Lock()
		l.full = l.a.d.Now().Add(l.fullFor)
		l.a.mu.Unlock()
		l.a.d.Log.Warn("the next account's queue is full", "account", l.a.o.Name, "to", h.p.Route[0], "wait_ms", l.fullFor.Milliseconds())
	}
	return free
}

// bury writes dead letters, one for each piece and reason: what was refused may
// be replayed without a second thought, what is uncertain may not.
func (a *account) bury(ctx context.Context, items []item, intent uint64, why func(item) journal.MessageResult) error {
	byReason := map[envelope.DeadReason][]item{}
	for _, it := range items {
		reason := envelope.DeadRefused
		if why(it).Status == envelope.Uncertain {
			reason = envelope.DeadUncertain
		}
		byReason[reason] = append(byReason[reason], it)
	}
	for reason, its := range byReason {
		if err := a.buryAs(ctx, reason, its, intent, why); err != nil {
			return err
		}
	}
	return nil
}

func (a *account) buryAs(ctx context.Context, reason envelope.DeadReason, items []item, intent uint64, why func(item) journal.MessageResult) error {
	for h, its := range pieces(items) {
		r := why(its[0])
		p := copyOf(h, its)
		letter := envelope.DeadLetter{
			Time: a.d.Now().UTC(), Account: a.o.Name, Reason: reason, Tenant: p.Tenant, Piece: &p,
			Error: &envelope.EventError{Code: r.Code, ProviderCode: r.ProviderCode, Detail: r.Detail},
		}
		data, err := json.Marshal(&letter)
		if err != nil {
			return fmt.Errorf("dispatch: %w", err)
		}
		o := bus.Out{
			Subject: bus.DeadSubject(a.o.Name, string(reason)), Data: data, Header: headers(&p),
			MsgID: fmt.Sprintf("dead-%s-%s-%d-%s", reason, h.msg.Place(), intent, p.Digest()),
		}
		o.Pack()
		if _, err := a.b.Publish(ctx, o); err != nil {
			return err
		}
		crash.At("dispatch.after-bury")
	}
	return nil
}

// maxRaw is what a dead letter keeps of what cannot be read: it must fit into a
// message itself.
const maxRaw = 256 << 10

// poison takes what cannot be read out of the queue, into the dead letters.
func (a *account) poison(ctx context.Context, m *bus.Msg, cause error) {
	detail := "not a piece of this lane"
	if cause != nil {
		detail = "not JSON of a piece"
	}
	err := a.letter(ctx, m, detail)
	if err == nil {
		err = m.Term("poison")
	} else {
		err = m.Nak(5 * time.Second)
	}
	a.d.Log.Error("poison in the queue", "account", a.o.Name, "seq", m.Seq, "error", err)
}

// letter keeps what cannot be read as a dead letter.
func (a *account) letter(ctx context.Context, m *bus.Msg, detail string) error {
	letter := envelope.DeadLetter{
		Time: a.d.Now().UTC(), Account: a.o.Name, Reason: envelope.DeadPoison, Subject: m.Subject, Raw: m.Data[:min(len(m.Data), maxRaw)],
		Error: &envelope.EventError{Code: string(envelope.InvalidEnvelope), Detail: detail},
	}
	data, err := json.Marshal(&letter)
	if err != nil {
		return err
	}
	_, err = a.b.Publish(ctx, bus.Out{
		Subject: bus.DeadSubject(a.o.Name, string(envelope.DeadPoison)), Data: data, MsgID: "poison-" + m.Place(),
	})
	return err
}
