package envelope

import "strings"

// Channel is the way in which a message reaches its number.
type Channel string

// The channels. The zero value means SMS, and that is how SMS is kept.
const (
	SMS      Channel = "sms"
	WhatsApp Channel = "whatsapp"
)

// Limits of what goes with a channel or with a gateway. None of them is a
// provider's.
const (
	MaxTemplateName   = 128  // bytes
	MaxParameters     = 32   // of one template
	MaxParameterBytes = 1024 // before its placeholders are filled, and after
	MaxOptions        = 16   // entries
	MaxOptionName     = 64   // bytes
	MaxOptionValue    = 256  // bytes
)

// Template is a text that the gateway keeps, by its name and language, with
// values for its own placeholders in their order. Parameters may have
// {{placeholders}} of ours, as a text may.
type Template struct {
	Name       string   `json:"name"`
	Language   string   `json:"language"`
	Parameters []string `json:"parameters,omitempty"`
}

// Named returns the channel as pieces keep it: empty for SMS.
func (c Channel) Named() Channel {
	if c == SMS {
		return ""
	}
	return c
}

// Placeholders returns the distinct names of the {{placeholders}} in the
// parameters, in the order of their first appearance; nil when there are none.
func (t *Template) Placeholders() []string { return Placeholders(strings.Join(t.Parameters, "\n")) }

// Fill returns the template with its parameters' placeholders filled from vars.
// The error is a *Refusal, as Render's, or of code InvalidText for what is empty
// or too long then.
func (t *Template) Fill(vars map[string]string) (*Template, error) {
	out := *t
	out.Parameters = make([]string, len(t.Parameters))
	for i, p := range t.Parameters {
		var err error
		if out.Parameters[i], err = Render(p, vars); err != nil {
			return nil, err
		}
	}
	return &out, out.checkParameters()
}

// checkParameters validates them as they would be sent.
func (t *Template) checkParameters() error {
	for _, p := range t.Parameters {
		if p == "" {
			return Refuse(InvalidText, "template.parameters", "one is empty")
		}
		if len(p) > MaxParameterBytes {
			return Refuse(InvalidText, "template.parameters", "one has more than 1,024 bytes")
		}
		if err := checkCharacters(p); err != nil {
			return Refuse(InvalidText, "template.parameters", "UTF-8 without control characters other than line breaks")
		}
	}
	return nil
}

// field reads the value of one field.
func (t *Template) field(p *parser, key string) (err error) {
	switch key {
	case "name":
		t.Name, err = p.string()
	case "language":
		t.Language, err = p.string()
	case "parameters":
		err = p.array(func(i int) error {
			if i == MaxParameters {
				return invalid("", "at most 32")
			}
			s, err := p.string()
			t.Parameters = append(t.Parameters, s)
			return err
		})
	default:
		err = invalid("", "unknown field")
	}
	return err
}

// checkChannel validates what depends on the channel: SMS has a sender and a
// text, WhatsApp a template and the account's own number.
func (e *Envelope) checkChannel() error {
	switch e.Channel {
	case "", SMS:
		if e.Template != nil {
			return Refuse(InvalidEnvelope, "template", "goes with channel whatsapp; an SMS has a text")
		}
		return CheckSender(e.From)
	case WhatsApp:
		switch {
		case e.Text != "":
			return Refuse(InvalidEnvelope, "text", "channel whatsapp sends templates only")
		case e.From != "":
			return Refuse(InvalidEnvelope, "from", "channel whatsapp sends from the account's own number")
		case e.Template == nil:
			return Refuse(InvalidEnvelope, "template", "must be given with channel whatsapp")
		}
		return e.Template.check()
	}
	return Refuse(InvalidEnvelope, "channel", "must be sms or whatsapp")
}

func (t *Template) check() error {
	if t.Name == "" || len(t.Name) > MaxTemplateName || !printable(t.Name) {
		return Refuse(InvalidEnvelope, "template.name", "1 to 128 bytes, no control characters")
	}
	if t.Language == "" || len(t.Language) > 16 || strings.Trim(t.Language, languageBytes) != "" {
		return Refuse(InvalidEnvelope, "template.language", "a code such as en or en_US")
	}
	if len(t.Parameters) > MaxParameters {
		return Refuse(InvalidEnvelope, "template.parameters", "at most 32")
	}
	return t.checkParameters()
}

const languageBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

// checkOptions validates names and sizes; which names there are is the account's
// to say.
func checkOptions(options map[string]string) error {
	if len(options) > MaxOptions {
		return Refuse(InvalidEnvelope, "options", "at most 16 entries")
	}
	for name, value := range options {
		if name == "" || len(name) > MaxOptionName || len(value) > MaxOptionValue || !printable(name) || !printable(value) {
			return Refuse(InvalidEnvelope, "options", "names of 1 to 64 bytes, values of at most 256, no control characters")
		}
	}
	return nil
}

// scan reads the value of one field, as a piece keeps it.
func (t *Template) scan(s *scanner, key string) int {
	switch key {
	case "name":
		t.Name = s.string()
		return 0
	case "language":
		t.Language = s.string()
		return 1
	case "parameters":
		t.Parameters = []string{}
		s.array(func() { t.Parameters = append(t.Parameters, s.string()) })
		return 2
	}
	return -1
}

func appendForm(b []byte, t *Template) []byte {
	if t == nil {
		return b
	}
	b = append(appendKey(b, "form"), '{')
	b = appendString(appendKey(b, "name"), t.Name)
	b = appendString(appendKey(b, "language"), t.Language)
	if len(t.Parameters) > 0 {
		b = append(appendKey(b, "parameters"), '[')
		for i, p := range t.Parameters {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, p)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}
