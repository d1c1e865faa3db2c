package bulksmsrates

import (
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// wire is a message as this API carries it: a body that it may share with
// others, its own values of the body's {{placeholders}}, and the text that the
// two must make.
type wire struct {
	body   string
	values map[string]string
	text   string
	extras extras
}

// wholeBody is a body that is nothing but one variable.
const (
	wholeName = "t"
	wholeBody = "{{" + wholeName + "}}"
)

// whole returns w with its text as a value. Values are not said to be
// interpreted, so a text with braces arrives as typed.
func (w wire) whole() wire {
	w.body, w.values = wholeBody, map[string]string{wholeName: w.text}
	return w
}

// single returns w for a request of its own: filled in here, unless the gateway
// would see a placeholder.
func (w wire) single() wire {
	if w.extras.template != "" {
		return w
	}
	if strings.Contains(w.text, "{{") {
		return w.whole()
	}
	w.body, w.values = w.text, nil
	return w
}

func (p *provider) write(m *providers.Message) (wire, error) {
	x, err := p.optionsOf(m)
	if err != nil {
		return wire{}, err
	}
	if m.Template != nil {
		return wire{}, refuse(providers.RejectedHere, envelope.InvalidText, "sends no templates by SMS; see template_id")
	}
	if !validSender(m.From) {
		return wire{}, refuse(providers.RejectedHere, envelope.InvalidSender, "takes senders of at most 11 letters and digits, or a number")
	}
	if !envelope.ValidNumber(m.To) {
		return wire{}, refuse(providers.Rejected, envelope.InvalidNumber, "takes E.164 numbers only")
	}
	text, err := httpapi.Text(m)
	if err != nil {
		return wire{}, err
	}
	if text == "" {
		return wire{}, refuse(providers.Rejected, envelope.InvalidText, "wants a text")
	}
	w := wire{text: text, extras: x}
	var names []string
	if m.Variables != nil {
		names = envelope.Placeholders(m.Text)
	}
	switch {
	case x.template != "": // the gateway's own text: ours is only to name the values
		w.body, w.values = m.Text, m.Variables
		return w, nil
	case len(names) == 0:
		return w.single(), nil
	}
	w = template(m, names, text)
	w.extras = x
	return w, nil
}

// template returns the message with its own body and values, if what the
// gateway makes of them cannot be in doubt. Braces beside placeholders or in
// values are in doubt (three in a row; values filled in one after the other),
// and so are empty values, which may count as missing. Those go as a whole.
func template(m *providers.Message, names []string, text string) wire {
	values := make(map[string]string, len(names))
	blank := make(map[string]string, len(names))
	marks := make(map[string]string, len(names))
	doubt := false
	for _, name := range names {
		v := m.Variables[name]
		values[name], blank[name], marks[name] = v, "", "{{"+name+"}}"
		doubt = doubt || v == "" || strings.ContainsAny(v, "{}")
	}
	literal, err := envelope.Render(m.Text, blank)
	if err != nil || doubt || strings.ContainsAny(literal, "{}") {
		return wire{text: text}.whole()
	}
	body, err := envelope.Render(m.Text, marks) // {{ name }} as {{name}}, the only form documented
	if err != nil {
		return wire{text: text}.whole()
	}
	return wire{body: body, values: values, text: text}
}

// steps are the validities that messages are rounded up to, in minutes, so that
// a few seconds of age do not split a batch. The last is the gateway's default:
// it and anything longer is not sent at all, the longest validity being
// undocumented.
var steps = [...]int{1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 960, 1440, 2160, 2880}

// validity returns the validity_minutes of m, which we take to run from when it
// is sent; 0: the gateway's default.
func (p *provider) validity(m *providers.Message, x extras) int {
	if m.ExpiresAt.IsZero() {
		return 0
	}
	left := m.ExpiresAt.Sub(x.from(p.now()))
	for _, step := range steps[:len(steps)-1] {
		if left <= time.Duration(step)*time.Minute {
			return step
		}
	}
	return 0
}

// validSender reports whether s is a "Sender ID (up to 11 alphanum chars, or
// number)".
func validSender(s string) bool {
	digits := strings.TrimPrefix(s, "+")
	if digits == "" || len(digits) > 15 {
		return false
	}
	number := true
	for i := range len(digits) {
		switch c := digits[i]; {
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			number = false
		default:
			return false
		}
	}
	return number || digits == s && len(s) <= 11
}

func refuse(class providers.Class, code envelope.Code, detail string) error {
	return &providers.Error{Class: class, Code: string(code), Detail: detail}
}
