package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// maxScalar is how many bytes of an id are kept.
const maxScalar = 128

var errNoScalar = errors.New("httpapi: want a string or a number")

// Scalar is a JSON string, number or boolean as its own text: gateways write
// the same id as 2 and as "2". null is "". It holds at most 128 bytes of it.
type Scalar string

// ID returns a gateway's id as a Scalar of it would be: compared as text, at
// most 128 bytes.
func ID(s string) string { return cut(strings.TrimSpace(s), maxScalar) }

// UnmarshalJSON implements json.Unmarshaler. Objects and arrays are errors.
func (s *Scalar) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0 || b[0] == '{' || b[0] == '[':
		return errNoScalar
	case plainString(b):
		*s = Scalar(ID(string(b[1 : len(b)-1])))
	case b[0] == '"':
		var v string
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		*s = Scalar(ID(v))
	case string(b) == "null":
		*s = ""
	default:
		*s = Scalar(ID(string(b)))
	}
	return nil
}

// plainString reports whether b is a JSON string of printable ASCII without
// escapes, as nearly every id is: it stands for its own bytes.
func plainString(b []byte) bool {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return false
	}
	for _, c := range b[1 : len(b)-1] {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

var errNoObject = errors.New("httpapi: want a JSON object or an array of objects")

// Objects splits a document that is one JSON object, or an array of them, so
// that one which cannot be read does not lose the others. Members of an array
// that are no objects stay in it. A mark of UTF-8 before it is passed over.
func Objects(body []byte) (list []json.RawMessage, array bool, err error) {
	body = Document(body)
	switch {
	case len(body) == 0 || !json.Valid(body):
		return nil, false, ErrUnreadable
	case body[0] == '{':
		return []json.RawMessage{body}, false, nil
	case body[0] == '[':
		err := json.Unmarshal(body, &list)
		return list, true, err
	}
	return nil, false, errNoObject
}

// JSON encodes a request's body without escaping <, > and &, which some
// gateways hand on as they are. The error is an *providers.Error: v cannot be
// encoded, and nothing was sent.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, &providers.Error{Class: providers.Rejected, Err: errors.New("httpapi: the request cannot be encoded")}
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
