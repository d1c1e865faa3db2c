package envelope

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Decode reads one envelope from JSON, strictly. Refused are: anything but one
// JSON object, an unknown field (names are lower-case, as documented), a field
// given twice, a wrong type (null included), data after the object, bytes that
// are not UTF-8 and lone surrogates, and both or neither of to and recipients.
//
// The error is a *Refusal with code InvalidEnvelope whose Field is the path of
// the cause, such as recipients[3].to. Values are not validated further; see
// Check. More than MaxRecipients recipients are refused as TooManyRecipients
// without reading on.
func Decode(data []byte) (*Envelope, error) {
	p := &parser{data: data}
	e := new(Envelope)
	if err := p.object(func(key string) error { return e.field(p, key) }); err != nil {
		return nil, err
	}
	if p.space(); p.pos != len(p.data) {
		return nil, invalid("", "data after the envelope")
	}
	switch {
	case e.To == "" && len(e.Recipients) == 0:
		return nil, invalid("to", "one of to and recipients must be given")
	case e.To != "" && e.Recipients != nil:
		return nil, invalid("to", "only one of to and recipients may be given")
	}
	return e, nil
}

// field reads the value of one field.
func (e *Envelope) field(p *parser, key string) (err error) {
	switch key {
	case "to":
		if e.To, err = p.string(); err == nil && e.To == "" {
			err = invalid("", "is empty")
		}
	case "recipients":
		e.Recipients = []Recipient{}
		err = p.array(func(i int) error {
			if i == MaxRecipients {
				return Refuse(TooManyRecipients, "", "at most 10,000 in one envelope")
			}
			e.Recipients = append(e.Recipients, Recipient{})
			return p.object(func(key string) error { return e.Recipients[i].field(p, key) })
		})
	case "from":
		e.From, err = p.string()
	case "text":
		e.Text, err = p.string()
	case "variables":
		e.Variables, err = p.strings()
	case "priority":
		e.Priority, err = text[Priority](p)
	case "send_at":
		e.SendAt, err = p.time()
	case "expires_at":
		e.ExpiresAt, err = p.time()
	case "provider":
		e.Provider, err = p.string()
	case "idempotency_key":
		e.IdempotencyKey, err = p.string()
	case "supersede_key":
		e.SupersedeKey, err = p.string()
	case "on_uncertain":
		e.OnUncertain, err = text[Policy](p)
	case "ref":
		e.Ref, err = p.string()
	case "metadata":
		e.Metadata, err = p.strings()
	case "channel":
		e.Channel, err = text[Channel](p)
	case "template":
		e.Template = new(Template)
		err = p.object(func(key string) error { return e.Template.field(p, key) })
	case "options":
		e.Options, err = p.strings()
	default:
		err = invalid("", "unknown field")
	}
	return err
}

func (r *Recipient) field(p *parser, key string) (err error) {
	switch key {
	case "to":
		r.To, err = p.string()
	case "variables":
		r.Variables, err = p.strings()
	case "ref":
		r.Ref, err = p.string()
	default:
		err = invalid("", "unknown field")
	}
	return err
}

func text[T ~string](p *parser) (T, error) {
	s, err := p.string()
	return T(s), err
}

// strings reads an object whose values are strings; never nil without an error.
func (p *parser) strings() (map[string]string, error) {
	m := make(map[string]string)
	err := p.object(func(key string) (err error) {
		m[key], err = p.string()
		return err
	})
	return m, err
}

// time reads an RFC 3339 time; its zone is required.
func (p *parser) time() (*time.Time, error) {
	s, err := p.string()
	if err != nil {
		return nil, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err == nil {
		_, err = t.MarshalText() // refuses zones of a day or more
	}
	// Package time also takes a one-digit hour and a comma before the fraction.
	if err != nil || s[len("2006-01-02T15")] != ':' || strings.Contains(s, ",") {
		return nil, invalid("", "want an RFC 3339 time with a zone, such as 2026-12-01T08:00:00Z")
	}
	return &t, nil
}

func invalid(field, detail string) *Refusal { return Refuse(InvalidEnvelope, field, detail) }

// within puts a field or index before the path of err.
func within(step string, err error) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	switch {
	case r.Field == "":
		r.Field = step
	case r.Field[0] == '[':
		r.Field = step + r.Field
	default:
		r.Field = step + "." + r.Field
	}
	return r
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }
