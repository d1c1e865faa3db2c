package ingest

import (
	"context"
	"errors"
	"slices"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// asBefore is what the submission was answered that first stands for, made again of
// the same body. Routes, rights and opt-outs may have changed since: the statuses
// say what was stored then, and what was not must not be called accepted now. While
// they cannot, the answer goes by what holds today, as it does for what they do not
// know of a submission that is not wholly stored yet (whole: it is).
func (in *Ingest) asBefore(ctx context.Context, s submission, first keyAnswer, whole bool) (*receipt, error) {
	r, err := in.plan(s, first.ID, first.At)
	stored := in.storedOf(ctx, s.tenant.Name, first.ID)
	p, refused, broken := prepare(s.tenant, s.env, first.ID, first.At)
	if stored == nil || broken != nil {
		return r, err
	}
	today := map[int]Rejected{}
	segments := map[int]int{} // as routed: a text that goes in ASCII takes fewer
	var all *Problem
	switch {
	case err == nil:
		for i := range r.piece.Messages {
			segments[r.piece.Messages[i].Index] = r.piece.Messages[i].Segments
		}
		all = &Problem{Errors: r.refused}
	case !errors.As(err, &all):
		return nil, err
	}
	for _, no := range all.Errors {
		today[no.Index] = no
	}
	p.Traceparent = s.trace
	out := &receipt{piece: p, refused: refused}
	p.Messages = slices.DeleteFunc(p.Messages, func(m envelope.Message) bool {
		no, ok := today[m.Index]
		if stored[m.Index] || !whole && !ok {
			return false
		}
		if !ok {
			no = rejected(m.Index, m.To, envelope.Refuse(envelope.NoRoute, "to", "was refused when this was submitted first"))
		}
		out.refused = append(out.refused, no)
		return true
	})
	slices.SortFunc(out.refused, func(a, b Rejected) int { return a.Index - b.Index })
	for i := range p.Messages {
		if n, ok := segments[p.Messages[i].Index]; ok {
			p.Messages[i].Segments = n
		}
	}
	return out, nil
}

// storedOf are the indices of an envelope's messages as far as they were stored;
// nil: nobody can tell.
func (in *Ingest) storedOf(ctx context.Context, tenant, id string) map[int]bool {
	within, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if in.status.Refresh(within, tenant) != nil {
		return nil
	}
	msgs, ok := in.messages(tenant, id)
	if !ok {
		return nil
	}
	out := make(map[int]bool, len(msgs))
	for i := range msgs {
		if _, index, ok := envelope.SplitMessageID(msgs[i].ID); ok {
			out[index] = true
		}
	}
	return out
}
