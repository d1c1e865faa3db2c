package ingest

import (
	"errors"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Rejected is one refused recipient as the answer tells of it.
type Rejected struct {
	Line   int           `json:"line,omitempty"` // NDJSON: counted from 1
	Index  int           `json:"index"`
	To     string        `json:"to,omitempty"`
	Code   envelope.Code `json:"code"`
	Detail string        `json:"detail,omitempty"`
}

// prepare turns an envelope into a piece without an account: validated, numbers
// in E.164, texts measured. Recipients that are refused are left out of the
// piece and told beside it; they keep their index. now is when the submission
// was accepted. The error is a *envelope.Refusal of the whole envelope.
//
// It depends on nothing but its arguments, so preparing a stored submission
// again gives the same piece.
func prepare(t *Tenant, e *envelope.Envelope, id string, now time.Time) (*envelope.Piece, []Rejected, error) {
	if err := e.Check(); err != nil {
		return nil, nil, err
	}
	if err := t.mayUse(e); err != nil {
		return nil, nil, err
	}
	sendAt, expiresAt, err := e.Times(now)
	if err != nil {
		return nil, nil, err
	}
	w, err := newWriter(e)
	if err != nil {
		return nil, nil, err
	}
	p := &envelope.Piece{
		ID: id, Tenant: t.Name, Priority: priority(e), From: e.From, Text: e.Text, Template: w.names != nil,
		AcceptedAt: now.UTC(), SendAt: sendAt, ExpiresAt: expiresAt, OnUncertain: e.OnUncertain,
		SupersedeKey: e.SupersedeKey, Provider: e.Provider, Ref: e.Ref, Metadata: e.Metadata,
		Channel: e.Channel.Named(), Form: e.Template, Options: e.Options,
	}
	recipients := recipientsOf(e)
	p.Messages = make([]envelope.Message, 0, len(recipients))
	var refused []Rejected
	for i := range recipients {
		m, err := w.message(t, i, &recipients[i])
		if err != nil {
			refused = append(refused, rejected(i, recipients[i].To, err))
			continue
		}
		p.Messages = append(p.Messages, m)
	}
	return p, refused, nil
}

// mayUse checks the sender against the tenant's. WhatsApp sends from the account's
// own number: a tenant that is bound to senders may use it only where it is bound
// to accounts too, for then somebody has said which numbers it may speak for.
func (t *Tenant) mayUse(e *envelope.Envelope) error {
	switch {
	case len(t.Senders) == 0, slices.Contains(t.Senders, e.From), e.From == "" && len(t.Accounts) > 0:
		return nil
	case e.From == "":
		return envelope.Refuse(envelope.InvalidSender, "channel", "is not for a tenant that is bound to senders but to no accounts")
	}
	return envelope.Refuse(envelope.InvalidSender, "from", "is not one of this tenant's senders")
}

// recipientsOf returns the recipients in either of the envelope's two forms.
func recipientsOf(e *envelope.Envelope) []envelope.Recipient {
	if e.To != "" {
		return []envelope.Recipient{{To: e.To}}
	}
	return e.Recipients
}

func priority(e *envelope.Envelope) envelope.Priority {
	if e.Priority == "" {
		return envelope.Normal
	}
	return e.Priority
}

// writer makes the messages of one envelope.
type writer struct {
	e        *envelope.Envelope
	names    []string // placeholders; nil: the text is sent as typed
	segments int      // of a text without placeholders
}

// newWriter checks what the recipients share. The text is a template where any
// variables are given, for the whole envelope: a recipient that lacks them is
// refused rather than sent the bare placeholders.
func newWriter(e *envelope.Envelope) (*writer, error) {
	w := &writer{e: e}
	templated := e.Variables != nil || slices.ContainsFunc(e.Recipients, func(r envelope.Recipient) bool { return r.Variables != nil })
	if e.Template != nil {
		if w.segments = 1; templated {
			w.names = e.Template.Placeholders()
		}
		return w, nil // checked with the envelope
	}
	if templated {
		w.names = envelope.Placeholders(e.Text)
	}
	if w.names != nil {
		return w, envelope.CheckTemplate(e.Text)
	}
	_, n, err := envelope.CheckText(e.Text)
	w.segments = n
	return w, err
}

func (w *writer) message(t *Tenant, index int, r *envelope.Recipient) (envelope.Message, error) {
	to, err := normalise(t, r.To)
	if err != nil {
		return envelope.Message{}, err
	}
	if err := envelope.CheckRef(r.Ref); err != nil {
		return envelope.Message{}, err
	}
	if err := envelope.CheckVariables(r.Variables); err != nil {
		return envelope.Message{}, err
	}
	m := envelope.Message{Index: index, To: to, Ref: r.Ref, Segments: w.segments}
	if w.names == nil {
		return m, nil
	}
	// Only what the text uses travels on.
	m.Variables = make(map[string]string, len(w.names))
	for _, name := range w.names {
		value, ok := r.Variables[name]
		if !ok {
			value, ok = w.e.Variables[name]
		}
		if ok {
			m.Variables[name] = value
		}
	}
	if w.e.Template != nil {
		_, err := w.e.Template.Fill(m.Variables)
		return m, err
	}
	text, err := envelope.Render(w.e.Text, m.Variables)
	if err != nil {
		return envelope.Message{}, err
	}
	_, m.Segments, err = envelope.CheckText(text)
	return m, err
}

// rejected tells a refusal of one recipient. What the client wrote is repeated
// to it, shortened.
func rejected(index int, to string, err error) Rejected {
	r := Rejected{Index: index, To: to[:min(len(to), 40)], Code: envelope.InvalidEnvelope, Detail: err.Error()}
	var refusal *envelope.Refusal
	if errors.As(err, &refusal) {
		r.Code, r.Detail = refusal.Code, refusal.Detail
		if refusal.Field != "" {
			r.Detail = refusal.Field + ": " + refusal.Detail
		}
	}
	return r
}

// rejectAll tells one refusal for every recipient of an envelope.
func rejectAll(e *envelope.Envelope, err error) []Rejected {
	var out []Rejected
	for i, r := range recipientsOf(e) {
		out = append(out, rejected(i, r.To, err))
	}
	return out
}
