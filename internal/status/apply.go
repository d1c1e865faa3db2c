package status

import (
	"strings"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// maxSteps bounds one history. Only a message that is tried for days can come
// near; what comes after that still counts if it changes the status.
const maxSteps = 64

// applying is one event under way. It remembers the step it made for the last
// past it met, so that messages of one past share it, and the last note and id,
// which most messages of an event share too.
type applying struct {
	store    *Store
	event    *envelope.Event
	provider uint16
	at       int64

	past, step *step
	stepNote   *note
	lastNote   *note
	lastID     string
}

// message folds the event into one message. Callers hold the shard.
func (a *applying) message(e *entry, m *envelope.EventMessage) {
	_, index, ok := envelope.SplitMessageID(m.ID)
	if !ok || index >= envelope.MaxRecipients {
		return
	}
	r := e.record(index)
	a.fill(e, r, m)
	e.touch(a.event.Time)
	if a.event.Status == envelope.Accepted {
		if e.accepted == 0 {
			e.accepted = a.at
		}
		return
	}
	to, known := codeOf(a.event.Status)
	if !known || r.has(a.at, to, a.provider) {
		return
	}
	remark := a.event.Remarks()
	if remark && r.remarked(to, a.event.Detail) {
		return
	}
	late := r.head != nil && statuses[r.head.status].Supersedes(a.event.Status)
	again := r.status() == a.event.Status && (remark || !a.event.Status.Final()) // a second account, a second attempt
	switch {
	case a.event.Status.Supersedes(r.status()) || again && r.length() < maxSteps:
		r.head = a.on(r.head, to, m)
		a.identify(r, m, true)
	case late && (remark || !a.event.Status.Final()) && r.length() < maxSteps:
		r.head = a.under(r.head, to, m)
		a.identify(r, m, false)
	}
}

// fill notes what an event says of a message whose piece was not read yet.
func (a *applying) fill(e *entry, r *record, m *envelope.EventMessage) {
	e.setTrace(m.Traceparent)
	if r.number == 0 {
		r.number = packNumber(m.To)
	}
	if taken := a.event.Status == envelope.Submitted; m.Segments > 0 && (taken || r.segments == 0) {
		r.segments, r.billed = clamp8(m.Segments), taken
	}
	r.attempts = max(r.attempts, clamp8(m.Attempts))
	if m.Ref != "" && e.ref(r.index) != m.Ref {
		e.rare().setRef(int(r.index), strings.Clone(m.Ref))
	}
	if m.ReplayOf != "" {
		e.rare().replayOf = strings.Clone(m.ReplayOf)
	}
}

// identify keeps the provider's id; a late event's only where there is none.
func (a *applying) identify(r *record, m *envelope.EventMessage, newest bool) {
	if id := m.ProviderMessageID; id != "" && (newest || r.providerID == "") && r.providerID != id {
		if a.lastID != id {
			a.lastID = strings.Clone(id)
		}
		r.providerID = a.lastID
	}
}

// on returns the history past with the event as its newest step.
func (a *applying) on(past *step, to code, m *envelope.EventMessage) *step {
	n := a.note(m)
	if a.step == nil || a.past != past || a.stepNote != n {
		a.past, a.stepNote = past, n
		a.step = &step{prev: past, at: a.at, note: n, provider: a.provider, status: to}
	}
	return a.step
}

// under returns the history with the event below every step that it could not
// have followed.
func (a *applying) under(head *step, to code, m *envelope.EventMessage) *step {
	if head == nil || !statuses[head.status].Supersedes(a.event.Status) {
		return &step{prev: head, at: a.at, note: a.note(m), provider: a.provider, status: to}
	}
	above := *head
	above.prev = a.under(head.prev, to, m)
	return &above
}

// note returns what the event says of a message beside the status, one for all
// in a row of which it says the same.
func (a *applying) note(m *envelope.EventMessage) *note {
	switch {
	case a.event.Detail == "" && m.Error == nil && m.Cost == "" && m.Operator == "":
		return nil
	case a.lastNote == nil || a.lastNote.cost != m.Cost || a.lastNote.operator != m.Operator || !sameError(a.lastNote.err, m.Error):
		a.lastNote = &note{ // an event's strings share its bytes
			detail: strings.Clone(a.event.Detail), cost: strings.Clone(m.Cost), operator: strings.Clone(m.Operator),
		}
		if e := m.Error; e != nil {
			a.lastNote.err = &envelope.EventError{
				Code: strings.Clone(e.Code), ProviderCode: strings.Clone(e.ProviderCode), Detail: strings.Clone(e.Detail),
			}
		}
	}
	return a.lastNote
}

func sameError(x, y *envelope.EventError) bool {
	return x == y || x != nil && y != nil && *x == *y
}

// has reports whether this very change is in the history already.
func (r *record) has(at int64, to code, provider uint16) bool {
	for s := r.head; s != nil; s = s.prev {
		if s.at == at && s.status == to && s.provider == provider {
			return true
		}
	}
	return false
}

// remarked reports whether the history has this remark on this status already:
// gateways repeat themselves.
func (r *record) remarked(to code, detail string) bool {
	for s := r.head; s != nil; s = s.prev {
		if s.status == to && s.note != nil && s.note.detail == detail {
			return true
		}
	}
	return false
}

func (r *record) length() (n int) {
	for s := r.head; s != nil; s = s.prev {
		n++
	}
	return n
}
