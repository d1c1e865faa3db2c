package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Words is what a gateway says in words: a JSON string, or a number or boolean as
// its own text. Anything else says nothing, and is no error: words are kept and
// shown, and nothing that hangs on an answer is lost by their shape.
type Words string

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (w *Words) UnmarshalJSON(b []byte) error {
	*w = ""
	var s string
	var scalar Scalar
	if json.Unmarshal(b, &s) == nil {
		*w = Words(cut(s, 8*maxDetail)) // as much as Trim looks at
	} else if scalar.UnmarshalJSON(b) == nil {
		*w = Words(scalar)
	}
	return nil
}

// Truth is a JSON boolean, or one written as 0, 1 or a string. What is neither is
// not Known.
type Truth struct{ Known, True bool }

// TruthOf reads the text of a boolean, in any case.
func TruthOf(s string) Truth {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "1":
		return Truth{Known: true, True: true}
	case "false", "0":
		return Truth{Known: true}
	}
	return Truth{}
}

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (t *Truth) UnmarshalJSON(b []byte) error {
	var s Scalar
	*t = Truth{}
	if s.UnmarshalJSON(b) == nil {
		*t = TruthOf(string(s))
	}
	return nil
}

// List is a JSON array of objects, or one object that stands for an array of one.
// Elements that cannot be read are left out; whatever else it is is an empty list.
type List[T any] []T

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (l *List[T]) UnmarshalJSON(b []byte) error {
	*l = nil
	raw, _, err := Objects(b)
	if err != nil {
		return nil
	}
	out := make(List[T], 0, len(raw))
	for _, r := range raw {
		var v T
		if bytes.HasPrefix(r, []byte("{")) && json.Unmarshal(r, &v) == nil {
			out = append(out, v)
		}
	}
	*l = out
	return nil
}

// Document returns what is left of a body without the white space around it and
// the mark of UTF-8 that some editors and frameworks put before it.
func Document(body []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\ufeff")))
}
