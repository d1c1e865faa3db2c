package httpapi

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// How many bytes of a gateway's words are kept.
const (
	maxDetail = 200
	maxWord   = 64
)

// Credential returns an error that names the first of the keys that creds does
// not hold, or holds empty.
func Credential(creds map[string]string, keys ...string) error {
	for _, k := range keys {
		if creds[k] == "" {
			return fmt.Errorf("credentials.%s: missing", k)
		}
	}
	return nil
}

// number is what may be a phone number: seven digits or more, however spaced.
var number = regexp.MustCompile(`\d(?:[ .\-()]{0,2}\d){6,}`)

// Trim makes a gateway's words fit to be kept: one line, no control
// characters, valid UTF-8, at most 200 bytes, and no phone numbers, which
// become "#". It cannot know a text or a secret; adapters pass no field to it
// that repeats one.
func Trim(s string) string {
	if len(s) > 8*maxDetail {
		s = s[:8*maxDetail]
	}
	return cut(number.ReplaceAllString(oneLine(s), "#"), maxDetail)
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.Join(strings.Fields(s), " ")
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Digits returns an E.164 number without its plus.
func Digits(e164 string) string { return strings.TrimPrefix(e164, "+") }

// E164 returns a number as a gateway writes it (with or without a plus or 00,
// spaces and dashes) in E.164, or "" when it cannot be an international one.
// National numbers are not guessed at.
func E164(s string) string {
	if strings.ContainsAny(s, " -().") {
		s = strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", ".", "").Replace(s)
	}
	s = strings.TrimPrefix(strings.TrimPrefix(s, "+"), "00")
	if len(s) < 8 || len(s) > 15 || s[0] == '0' {
		return ""
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return ""
		}
	}
	return "+" + s
}

// Word returns a gateway's code or status word, fit to be kept: one line, no
// control characters, at most 64 bytes.
func Word(s string) string {
	if len(s) <= maxWord && oneWord(s) {
		return s
	}
	return strings.TrimSpace(cut(oneLine(cut(s, 4*maxWord)), maxWord))
}

// oneWord reports whether s is one word of ASCII, as nearly every code is.
func oneWord(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Text returns what m says, its placeholders filled. The error is an
// *providers.Error of class Rejected: a placeholder without a value.
func Text(m *providers.Message) (string, error) {
	if m.Variables == nil {
		return m.Text, nil
	}
	text, err := envelope.Render(m.Text, m.Variables)
	if err != nil {
		return "", &providers.Error{Class: providers.Rejected, Code: string(envelope.MissingVariable), Err: err}
	}
	return text, nil
}

// OnlyOptions returns an error that names an option of an account which is not
// among those known.
func OnlyOptions(options map[string]any, known ...string) error {
	for _, k := range slices.Sorted(maps.Keys(options)) {
		if !slices.Contains(known, k) {
			return fmt.Errorf("options.%s: unknown", k)
		}
	}
	return nil
}

// OnlyMessageOptions refuses m for this account when it has an option that is
// not among those known: another account may know it.
func OnlyMessageOptions(m *providers.Message, known ...string) error {
	if len(m.Options) == 0 {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(m.Options)) {
		if !slices.Contains(known, k) {
			return &providers.Error{Class: providers.RejectedHere, Code: string(envelope.InvalidEnvelope), Detail: "has no option " + Trim(k)}
		}
	}
	return nil
}

// ScheduledAtOption is the option of a message that hands it over now, for the
// gateway to send later: an RFC 3339 time.
const ScheduledAtOption = "scheduled_at"

// ScheduledAt returns the time of that option, zero when m has none. It refuses
// what is no time, and one at which the message has expired: a gateway that holds
// it would send it all the same.
func ScheduledAt(m *providers.Message) (time.Time, error) {
	given, ok := m.Options[ScheduledAtOption]
	if !ok {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, given)
	switch {
	case err != nil:
		return time.Time{}, &providers.Error{
			Class: providers.Rejected, Code: string(envelope.InvalidEnvelope),
			Detail: ScheduledAtOption + " is no time like 2026-12-01T08:00:00Z",
		}
	case !m.ExpiresAt.IsZero() && !at.Before(m.ExpiresAt):
		return time.Time{}, &providers.Error{
			Class: providers.Rejected, Code: string(envelope.CodeExpired), Detail: ScheduledAtOption + " is not before the message expires",
		}
	}
	return at, nil
}

// BatchSize returns the recipients of one request: what the account asks for,
// never above what the API takes; 0 asks for the API's own.
func BatchSize(asked, most int) int {
	if asked <= 0 || asked > most {
		return most
	}
	return asked
}
