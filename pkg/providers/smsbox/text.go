package smsbox

import (
	"strings"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// receiverName is what the gateway replaces by each recipient's recipient_name.
const receiverName = "[{RECEIVERNAME}]"

// maxName bounds the values that go as a name. The document says "upto X
// Characters" and never gives X; a value that were cut would be a wrong text,
// so longer ones are filled in here and go by equal text.
const maxName = 50

// wire is what a message shares with its batch. Messages whose wires are equal
// differ in number and name alone.
type wire struct {
	sender, text string
	minute       int64 // of its scheduled time, since 1970; 0: at once
}

// write returns a message as this API carries it, with its name if the text has
// receiverName in it.
func write(m *providers.Message) (w wire, name string, err error) {
	if w.sender = strings.TrimPrefix(m.From, "+"); !validSender(w.sender) { // "No leading + sign"
		return wire{}, "", refuse(providers.RejectedHere, envelope.InvalidSender,
			"takes senders of at most 11 letters, digits, spaces, dots or hyphens, or a number")
	}
	if !envelope.ValidNumber(m.To) {
		return wire{}, "", refuse(providers.Rejected, envelope.InvalidNumber, "takes E.164 numbers only")
	}
	if err := httpapi.OnlyMessageOptions(m, httpapi.ScheduledAtOption); err != nil {
		return wire{}, "", err
	}
	at, err := httpapi.ScheduledAt(m)
	if err != nil {
		return wire{}, "", err
	}
	if !at.IsZero() {
		w.minute = minuteFrom(at)
	}
	if w.text, err = httpapi.Text(m); err != nil {
		return wire{}, "", err
	}
	if err := checkText(w.text); err != nil {
		return wire{}, "", err
	}
	name, ok := typed(w.text)
	if !ok {
		return wire{}, "", refuse(providers.RejectedHere, envelope.InvalidText, "would fill in "+receiverName)
	}
	if name != "" {
		return w, name, nil
	}
	if shared, own, ok := personal(m); ok {
		w.text, name = shared, own
	}
	return w, name, nil
}

// typed returns receiverName as a user typed it, in whatever case, if text has
// it: with that as its name it is replaced by itself, and arrives as typed
// whether the gateway minds case or not. It could not if several spellings met
// one name: then ok is false.
func typed(text string) (spelling string, ok bool) {
	upper := strings.ToUpper(text) // of ASCII: the same places
	for at := 0; ; {
		i := strings.Index(upper[at:], receiverName)
		if i < 0 {
			return spelling, true
		}
		at += i
		found := text[at : at+len(receiverName)]
		if spelling != "" && spelling != found {
			return "", false
		}
		spelling = found
		at += len(receiverName)
	}
}

// personal splits a message into the text that it shares with others and a name,
// if it has one placeholder, however often. Its filled text has nothing typed of
// receiverName, so that it stands nowhere but where the placeholder stood.
func personal(m *providers.Message) (shared, name string, ok bool) {
	if m.Variables == nil {
		return "", "", false
	}
	names := envelope.Placeholders(m.Text)
	if len(names) != 1 {
		return "", "", false
	}
	name = m.Variables[names[0]]
	// An empty name may count as a missing parameter (code 104), and outer
	// spaces are what servers trim.
	if name == "" || len(name) > maxName || strings.TrimSpace(name) != name {
		return "", "", false
	}
	shared, err := envelope.Render(m.Text, map[string]string{names[0]: receiverName})
	return shared, name, err == nil
}

// checkText refuses what the gateway would refuse.
//
// "Enter a plain text message only. Special characters(Unicode) are not
// supported" (code 110) leaves open whether é or £, which GSM-7 has, count as
// special. Taken narrowly: ASCII, less the backtick, which GSM-7 lacks. The
// price is that texts with accents need another account, or a tenant who lets
// them be transliterated; the other way round it would be whole batches refused.
func checkText(text string) error {
	if text == "" {
		return refuse(providers.Rejected, envelope.InvalidText, "wants a text")
	}
	for i := range len(text) {
		if c := text[i]; c != '\n' && c != '\r' && (c < ' ' || c > '~' || c == '`') {
			return refuse(providers.RejectedHere, envelope.InvalidText, "takes plain ASCII text only")
		}
	}
	return nil
}

// validSender reports whether s is "Limited to 11 characters if text" of
// "numbers, letters and the following special characters . - and space" (code
// 121), "Or valid mobile number in valid international number format".
func validSender(s string) bool {
	if strings.TrimSpace(s) == "" || len(s) > 15 {
		return false
	}
	number := true
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == ' ', c == '.', c == '-':
			number = false
		default:
			return false
		}
	}
	return number || len(s) <= 11
}

func refuse(class providers.Class, code envelope.Code, detail string) error {
	return &providers.Error{Class: class, Code: string(code), Detail: detail}
}
