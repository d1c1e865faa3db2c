package dispatch

import (
	"context"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// keep gives up the messages on which an outcome did not act: it came late, and
// others called them uncertain, freed them and may be trying them again. If the
// gateway took them all the same, the journal is told, which stops a second try
// that has not left. complete: the outcome acted on all.
func (t *attempt) keep(ctx context.Context, vs []verdict, effect idempotency.Effect) (kept []verdict, complete bool) {
	lost := positions(effect.Lost)
	if effect.Acted > 0 && len(lost) <= t.all-len(t.items) { // these were never won
		return vs, true
	}
	var ours, gone, sent []item
	var pos []uint32
	var told []envelope.EventMessage
	for i, it := range t.items {
		if _, ok := lost[t.position(i)]; !ok && effect.Acted > 0 {
			ours, pos, told, kept = append(ours, it), append(pos, t.position(i)), append(told, t.told[i]), append(kept, vs[i])
			continue
		}
		gone = append(gone, it)
		if vs[i].status == envelope.Submitted {
			sent = append(sent, it)
		}
	}
	t.items, t.pos, t.told = ours, pos, told
	t.a.d.Log.Warn("outcome came late", "account", t.a.o.Name, "batch", journal.BatchID(t.a.j.Epoch(), t.seq), "messages", len(gone), "sent", len(sent))
	t.a.prove(ctx, sent)
	t.a.abandon(gone)
	return kept, false
}

// prove tells that messages were sent which others may be about to send again.
func (a *account) prove(ctx context.Context, items []item) {
	var open []item
	for _, it := range items {
		if s := a.j.State(it.key()); s.State != idempotency.Closed && s.CloseStands != journal.Reported {
			open = append(open, it)
		}
	}
	if len(open) == 0 {
		return
	}
	placed := make([]idempotency.PlacedKey, len(open))
	byTenant := map[string][]envelope.EventMessage{}
	for i, it := range open {
		placed[i] = it.placed()
		em := journal.EventMessage(&it.h.p, it.msg())
		em.Attempts++
		byTenant[it.h.p.Tenant] = append(byTenant[it.h.p.Tenant], em)
	}
	rec := idempotency.Record{Kind: idempotency.Close, Reason: journal.Reported, Spans: idempotency.Spans(placed)}
	seq, _, err := a.persist(ctx, rec)
	if err != nil {
		a.d.Log.Error("sent messages not reported", "account", a.o.Name, "messages", len(open), "error", err)
		return
	}
	var events []envelope.Event
	for tenant, msgs := range byTenant {
		events = append(events, journal.ClosedEvents(cause(seq), tenant, a.o.Name, envelope.Submitted, "", a.d.Now().UTC(), msgs)...)
	}
	a.tell(ctx, events) // best effort: a report tells it, too
}

// waitFor is how long an uncertain message waits for evidence before its retry.
func waitFor(p *envelope.Piece) time.Duration {
	if p.Priority == envelope.High {
		return evidenceHigh
	}
	return evidence
}

// retried reports whether an uncertain message gets its one retry: its policy says
// so, and there is time left. Else it is held: it never expires, as it may have
// been sent.
func (a *account) retried(p *envelope.Piece, released bool) bool {
	return retries(p, a.o.OnUncertain, released) && p.ExpiresAt.After(a.d.Now().Add(waitFor(p)))
}

// holdReleased holds messages whose time ran out before their second try: they may have
// been sent by the first.
func (a *account) holdReleased(ctx context.Context, items []item) error {
	by := map[uint64][]item{}
	for _, it := range items {
		by[it.h.p.RetryOf] = append(by[it.h.p.RetryOf], it)
	}
	for intent, its := range by {
		err := a.bury(ctx, its, intent, func(item) journal.MessageResult {
			return journal.MessageResult{Status: envelope.Uncertain, Code: "uncertain", Detail: "its time ran out before its second try"}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
