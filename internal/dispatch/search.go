package dispatch

import (
	"context"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// search finds the message for which a gateway refuses a whole batch without
// naming it. Each step sends the first half of the suspects: if it is taken, the
// bad one is in the second half, which need not be tried whole to know; if not,
// the second half is set aside. So one bad message in n costs log2(n) requests
// and one more for those set aside.
//
// Guarded by account.mu.
type search struct {
	suspects []item // at least one of them is bad
	aside    []item // no longer suspected; they leave together at the end
	idle     bool   // the next step may be taken
}

// next is the step to try. It is always a part of the suspects, so that the last
// one is found without asking for it alone.
func (s *search) next() []item { return s.suspects[:max(1, len(s.suspects)/2)] }

// searched starts a search after a whole batch was refused, or takes the next
// step of one. vs is nil when nothing was sent.
func (t *attempt) searched(ctx context.Context, vs []verdict) {
	var left []item
	for i := range vs {
		if vs[i].then == split {
			left = append(left, t.items[i])
		}
	}
	a, s := t.a, t.batch.search
	if s == nil {
		if len(left) == 0 {
			return
		}
		a.mu.Lock()
		free := a.search == nil
		if free {
			a.search = &search{suspects: left, idle: true}
		}
		a.mu.Unlock()
		if !free { // one search at a time; these try again after it
			a.back(left)
			return
		}
		a.signal()
		return
	}
	t.step(ctx, s, vs, left)
}

// step draws the conclusion from a step of the search.
func (t *attempt) step(ctx context.Context, s *search, vs []verdict, left []item) {
	a, tried := t.a, len(t.batch.items)
	rest := s.suspects[tried:]
	switch {
	case len(left) > 0: // refused again: the bad one is among these
		s.aside = append(s.aside, rest...)
		s.suspects = left
	case len(vs) > 0 && (vs[0].then == done || vs[0].status == envelope.Submitted):
		s.suspects = rest
	default: // the step itself was refused, or could not be sent: no more to learn here
		s.aside = append(s.aside, rest...)
		s.suspects = nil
	}
	if len(s.suspects) > 1 {
		a.mu.Lock()
		s.idle = true
		a.mu.Unlock()
		a.signal()
		return
	}
	if len(s.suspects) == 1 && len(left) == 0 {
		// The only one left of a refused batch whose others were all taken.
		t.condemn(ctx, s.suspects[0])
	} else {
		s.aside = append(s.aside, s.suspects...)
	}
	a.mu.Lock()
	a.search = nil
	a.mu.Unlock()
	a.back(s.aside)
}

// endSearch gives up a search of which no step is under way.
func (a *account) endSearch() {
	a.mu.Lock()
	s := a.search
	a.search = nil
	a.mu.Unlock()
	if s != nil {
		a.back(append(s.suspects, s.aside...))
	}
}

// condemned says why a message failed that a search has found.
const condemned = "the gateway refuses every batch with this message"

// condemn closes the message that a search has found.
func (t *attempt) condemn(ctx context.Context, bad item) {
	a := t.a
	rec := idempotency.Record{Kind: idempotency.Close, Account: a.o.Name, Owes: true, Reason: "refused", Spans: idempotency.Spans([]idempotency.PlacedKey{bad.placed()})}
	seq, effect, err := a.j.Append(ctx, rec)
	if err != nil || effect.Acted == 0 {
		a.abandon([]item{bad})
		return
	}
	em := journal.EventMessage(&bad.h.p, bad.msg())
	em.Error = &envelope.EventError{Code: "rejected", Detail: condemned}
	events := journal.ClosedEvents(cause(seq), bad.h.p.Tenant, a.o.Name, envelope.Failed, "", a.d.Now(), []envelope.EventMessage{em})
	why := func(item) journal.MessageResult {
		return journal.MessageResult{Status: envelope.Failed, Code: em.Error.Code, Detail: em.Error.Detail}
	}
	if !a.tell(ctx, events) || a.bury(ctx, []item{bad}, seq, why) != nil {
		a.abandon([]item{bad})
		return
	}
	a.j.Told(seq)
	a.finished([]item{bad})
}
