package smsbox

import (
	"encoding/json"

	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// decode reads JSON as this API writes it: where it is not valid it may have,
// as the document's samples do, a comma before a closing bracket and strings in
// single quotes. What is valid is read as it stands.
func decode(b []byte, v any) error {
	b = httpapi.Document(b)
	err := json.Unmarshal(b, v)
	if err == nil || json.Valid(b) {
		return err
	}
	return json.Unmarshal(repair(b), v)
}

// repair drops commas before } and ], and turns '…' into "…". Inside of a
// string nothing changes but the quotes around it.
func repair(b []byte) []byte {
	out := make([]byte, 0, len(b)+16)
	comma := -1 // place in out of a comma that only white space follows
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case '"', '\'':
			end := closing(b, i)
			out = appendString(out, b[i:end])
			i = end - 1
			comma = -1
		case ',':
			comma = len(out)
			out = append(out, c)
		case '}', ']':
			if comma >= 0 {
				out = append(out[:comma], out[comma+1:]...)
			}
			out = append(out, c)
			comma = -1
		case ' ', '\t', '\r', '\n':
			out = append(out, c)
		default:
			out = append(out, c)
			comma = -1
		}
	}
	return out
}

// closing returns the place after the string that begins at b[start].
func closing(b []byte, start int) int {
	for i := start + 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case b[start]:
			return i + 1
		}
	}
	return len(b)
}

// appendString appends the string literal s with double quotes.
func appendString(out, s []byte) []byte {
	if s[0] == '"' || len(s) < 2 || s[len(s)-1] != '\'' {
		return append(out, s...)
	}
	out = append(out, '"')
	for inner := s[1 : len(s)-1]; len(inner) > 0; inner = inner[1:] {
		switch c := inner[0]; {
		case c == '"':
			out = append(out, '\\', '"')
		case c == '\\' && len(inner) > 1:
			if inner[1] != '\'' {
				out = append(out, c)
			}
			out = append(out, inner[1])
			inner = inner[1:]
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}
