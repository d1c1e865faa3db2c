package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDetail is the length of a detail, maxScalar that of an id or code, in bytes.
const (
	maxDetail = 200
	maxScalar = 128
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
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	s = number.ReplaceAllString(strings.Join(strings.Fields(s), " "), "#")
	return cut(s, maxDetail)
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
	s = strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", ".", "").Replace(s)
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

// Scalar is a JSON string, number or boolean as its own text: gateways write
// the same id as 2 and as "2". null is "". It holds at most 128 bytes of it.
type Scalar string

// UnmarshalJSON implements json.Unmarshaler. Objects and arrays are errors.
func (s *Scalar) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0 || b[0] == '{' || b[0] == '[':
		return errors.New("httpapi: want a string or a number")
	case b[0] == '"':
		var v string
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		*s = Scalar(cut(v, maxScalar))
	case string(b) == "null":
		*s = ""
	default:
		*s = Scalar(cut(string(b), maxScalar))
	}
	return nil
}
