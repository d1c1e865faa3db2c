package dispatch

import (
	"slices"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// split keeps a message for the search of the bad one in its batch.
const split action = 100

// verdicts decides for every message of the attempt, and says what the outcome
// record tells of it.
func (t *attempt) verdicts(results []providers.Result, e *providers.Error) ([]verdict, *journal.OutcomeDetail) {
	vs := make([]verdict, len(t.items))
	d := &journal.OutcomeDetail{Time: t.a.d.Now().UTC()}
	for i, it := range t.items {
		r := t.result(i, it, results, e)
		if r.OptOut {
			t.optOuts = append(t.optOuts, it.msg().To)
		}
		f := facts{single: e == nil, hasNext: len(it.h.p.Route) > 0}
		if r.Class == providers.Uncertain {
			f.retry = t.a.retried(&it.h.p, t.a.j.State(it.key()).Released)
		}
		vs[i] = decide(r.Class, f)
		if e != nil && e.Bisect && len(t.items) > 1 && len(e.BadNumbers) == 0 {
			vs[i] = verdict{to: idempotency.Free, then: split}
		}
		mr := journal.MessageResult{Status: vs[i].status, Code: vs[i].code}
		if vs[i].status != "" {
			mr.ProviderID = r.ProviderID
			mr.Bill = d.AddBill(billed(&r, it.msg().Segments))
			if vs[i].code != "" {
				mr.ProviderCode, mr.Detail, mr.Taken = r.Code, r.Detail, r.Taken
			}
		}
		if i == 1 && mr != d.Default { // as the gateway names each: so it goes on
			d.Each = make(map[uint32]journal.MessageResult, len(t.items))
		}
		t.note(d, i, mr)
	}
	if t.pos != nil { // positions that others won tell nothing
		won := positions(t.pos)
		for p := range uint32(t.all) {
			if _, ok := won[p]; !ok && d.Default != (journal.MessageResult{}) {
				d.Each = put(d.Each, p, journal.MessageResult{})
			}
		}
	}
	return vs, d
}

// billed is what the gateway told of a message's price, beyond what we counted.
func billed(r *providers.Result, counted int) journal.Bill {
	b := journal.Bill{Segments: r.Segments, Cost: r.Cost, Operator: r.Operator}
	if b.Segments == counted {
		b.Segments = 0
	}
	return b
}

// note writes one message's result: the first is the rule, others exceptions.
func (t *attempt) note(d *journal.OutcomeDetail, i int, r journal.MessageResult) {
	if i == 0 {
		d.Default = r
	} else if r != d.Default {
		d.Each = put(d.Each, t.position(i), r)
	}
}

func put[K comparable, V any](m map[K]V, k K, v V) map[K]V {
	if m == nil {
		m = map[K]V{}
	}
	m[k] = v
	return m
}

// result is the answer for one message: its own, or what the whole request's
// failure means for it.
func (t *attempt) result(i int, it item, results []providers.Result, e *providers.Error) providers.Result {
	if e == nil {
		return results[i]
	}
	r := providers.Result{Class: e.Class, Code: e.Code, Detail: e.Words(), RetryAfter: e.RetryAfter, OptOut: e.OptOut && len(t.items) == 1}
	if len(e.BadNumbers) > 0 {
		if slices.Contains(e.BadNumbers, it.msg().To) {
			r.Class, r.OptOut = providers.Rejected, e.OptOut
		} else {
			r.Class = providers.Unavailable // the request was refused whole: this one was not sent
		}
	}
	return r
}

// runs are the states of the intent's messages, in its order. What others won is
// none of this outcome's business; the fold ignores it.
func (t *attempt) runs(vs []verdict) []idempotency.Run {
	states := make([]idempotency.State, t.all)
	for i := range vs {
		states[t.position(i)] = vs[i].to
	}
	return idempotency.AppendRuns(states)
}

// events of an outcome, and of messages that were cancelled while they were
// taken and are closed now that the outcome has freed them.
func (t *attempt) events(seq uint64, vs []verdict, d *journal.OutcomeDetail, effect idempotency.Effect) []envelope.Event {
	events := journal.EventsOf(t.a.o.Name, seq, t.all, func(p int) (*envelope.EventMessage, string) {
		if i := t.won(uint32(p)); i >= 0 {
			return &t.told[i], t.items[i].h.p.Tenant
		}
		return nil, ""
	}, d)
	for n, p := range effect.Freed {
		i := t.won(p)
		if i < 0 {
			continue
		}
		vs[i].then = done
		status, detail := closedAs(effect.Reasons[n])
		if status == "" {
			continue
		}
		events = append(events, journal.ClosedEvents(cause(seq), t.items[i].h.p.Tenant, t.a.o.Name, status, detail, d.Time, t.told[i:i+1:i+1])...)
	}
	return events
}

// closedAs translates a close record's reason into what events say; an empty
// status: nothing, who closed it has told what it knew.
func closedAs(reason string) (envelope.Status, string) {
	switch reason {
	case "superseded":
		return envelope.Canceled, reason
	case "expired":
		return envelope.Expired, ""
	case "refused", "failed":
		return envelope.Failed, ""
	case "reported":
		return "", ""
	}
	return envelope.Canceled, ""
}
