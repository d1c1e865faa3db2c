package httpapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Scan reads the plain part of JSON without reflection, for answers that name
// every message of a large request. Whatever is out of the ordinary (an object
// where none is expected, a key twice or in another case, an escape or a number
// with a fraction where it matters, what is no JSON) ends it: OK is false, what
// was read counts for nothing, and the caller has encoding/json read the document
// from its beginning. So the two cannot differ.
//
// Strings are parts of the document: who keeps one keeps all of it.
type Scan struct {
	s   string
	pos int
	off bool
}

// NewScan reads a copy of body.
func NewScan(body []byte) *Scan { return &Scan{s: string(body)} }

// OK is asked at the end: all of the document was plain, and read.
func (s *Scan) OK() bool {
	s.space()
	return !s.off && s.pos == len(s.s)
}

// Array reads an array, calling element at each of its elements.
func (s *Scan) Array(element func()) {
	s.want('[')
	if s.take(']') {
		return
	}
	for !s.off {
		element()
		if !s.take(',') {
			s.want(']')
			return
		}
	}
}

// Object reads an object, calling field with the place of a key among keys (64 at
// most); the values of others are passed over.
func (s *Scan) Object(keys []string, field func(key int)) {
	var seen uint64
	s.want('{')
	if s.take('}') {
		return
	}
	for !s.off {
		key := s.text()
		s.want(':')
		n := s.known(keys, key)
		switch {
		case s.off:
			return
		case n < 0:
			s.skip()
		case seen&(1<<n) != 0:
			s.off = true
		default:
			seen |= 1 << n
			field(n)
		}
		if !s.take(',') {
			s.want('}')
			return
		}
	}
}

// known finds a key, and gives up on one that encoding/json would take for another.
func (s *Scan) known(keys []string, key string) int {
	for i, k := range keys {
		if k == key {
			return i
		}
	}
	for _, k := range keys {
		s.off = s.off || strings.EqualFold(k, key)
	}
	return -1
}

// Null reports whether null is next, and passes over it.
func (s *Scan) Null() bool { return s.word("null") }

// Bool reads true or false.
func (s *Scan) Bool() bool {
	if s.word("true") {
		return true
	}
	s.off = s.off || !s.word("false")
	return false
}

// Scalar reads what a Scalar holds.
func (s *Scan) Scalar() Scalar {
	s.space()
	switch {
	case s.pos < len(s.s) && s.s[s.pos] == '"':
		return Scalar(ID(s.text()))
	case s.word("null"):
		return ""
	case s.word("true"):
		return "true"
	case s.word("false"):
		return "false"
	}
	return Scalar(ID(s.digits()))
}

// Words reads what Words holds.
func (s *Scan) Words() Words {
	s.space()
	if s.pos < len(s.s) && s.s[s.pos] == '"' {
		return Words(cut(s.text(), 8*maxDetail))
	}
	return Words(s.Scalar())
}

// text reads a string of printable ASCII without escapes.
func (s *Scan) text() string {
	s.want('"')
	for i := s.pos; i < len(s.s) && !s.off; i++ {
		switch c := s.s[i]; {
		case c == '"':
			v := s.s[s.pos:i]
			s.pos = i + 1
			return v
		case c < ' ' || c > '~' || c == '\\':
			s.off = true
		}
	}
	s.off = true
	return ""
}

// digits reads a whole number that is not negative.
func (s *Scan) digits() string {
	from := s.pos
	for s.pos < len(s.s) && '0' <= s.s[s.pos] && s.s[s.pos] <= '9' {
		s.pos++
	}
	v := s.s[from:s.pos]
	s.off = s.off || v == "" || len(v) > 1 && v[0] == '0'
	return v
}

// skip passes over any value but an object or an array.
func (s *Scan) skip() {
	s.space()
	if s.pos >= len(s.s) || s.s[s.pos] != '"' {
		s.Scalar()
		return
	}
	for i := s.pos + 1; i < len(s.s); i++ {
		switch s.s[i] {
		case '"':
			// Long texts are passed over here, and what an escape may be is checked by who knows.
			if v := s.s[s.pos : i+1]; strings.IndexByte(v, '\\') >= 0 || control(v) {
				s.off = s.off || !json.Valid([]byte(v))
			}
			s.pos = i + 1
			return
		case '\\':
			i++
		}
	}
	s.off = true
}

func control(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' {
			return true
		}
	}
	return false
}

func (s *Scan) word(w string) bool {
	s.space()
	if strings.HasPrefix(s.s[s.pos:], w) {
		s.pos += len(w)
		return true
	}
	return false
}

func (s *Scan) want(c byte) {
	if !s.take(c) {
		s.off = true
	}
}

func (s *Scan) take(c byte) bool {
	s.space()
	if s.pos < len(s.s) && s.s[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *Scan) space() {
	for s.pos < len(s.s) && (s.s[s.pos] == ' ' || s.s[s.pos] == '\n' || s.s[s.pos] == '\t' || s.s[s.pos] == '\r') {
		s.pos++
	}
}

// AppendString appends a string as JSON writes it.
func AppendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil { // strings always can
		return append(b, `""`...)
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}
