package envelope

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// scanner reads the JSON that Tuma's own programs wrote, in one pass and with
// one allocation for all strings: what they keep is the whole document, so who
// keeps a single string for long must clone it.
//
// It knows only what a writer of this version writes, strictly. Whatever else it
// meets (an unknown or repeated field, null, an escape it leaves to others, text
// that is not UTF-8, a number with a fraction) is not an error but the end of the
// fast way: off is set, everything returns zeros, and the caller has
// encoding/json read the document from the beginning. So the two cannot differ,
// and records of other versions are read as they always were.
type scanner struct {
	s   string
	pos int
	off bool
}

// object reads an object, asking field for each value; field returns a number
// that tells fields apart (below 64), or a negative one for a field unknown to it.
func (s *scanner) object(field func(key string) int) {
	var seen uint64
	s.want('{')
	if s.take('}') {
		return
	}
	for !s.off {
		key := s.string()
		s.want(':')
		if s.off {
			return
		}
		n := field(key)
		if n < 0 || seen&(1<<n) != 0 {
			s.off = true
			return
		}
		seen |= 1 << n
		if s.take(',') {
			continue
		}
		s.want('}')
		return
	}
}

// array reads an array, calling element at each of its elements.
func (s *scanner) array(element func()) {
	s.want('[')
	if s.take(']') {
		return
	}
	for !s.off {
		element()
		if s.take(',') {
			continue
		}
		s.want(']')
		return
	}
}

// atMost guesses how many elements of a least size are still to come, so that an
// array need not grow; never more than most.
func (s *scanner) atMost(size, most int) int { return min((len(s.s)-s.pos)/size, most) }

// strings reads an object of strings.
func (s *scanner) strings() map[string]string {
	m := map[string]string{}
	s.want('{')
	if s.take('}') {
		return m
	}
	for !s.off {
		key := s.string()
		s.want(':')
		m[key] = s.string()
		if s.take(',') {
			continue
		}
		s.want('}')
		break
	}
	return m
}

// string reads a string. What has no escapes is a part of the document.
func (s *scanner) string() string {
	s.want('"')
	if s.off {
		return ""
	}
	ascii := true
	for i := s.pos; i < len(s.s); i++ {
		switch c := s.s[i]; {
		case c == '"':
			v := s.s[s.pos:i]
			s.pos = i + 1
			if !ascii && !utf8.ValidString(v) {
				s.off = true
			}
			return v
		case c == '\\':
			return s.escaped(i)
		case c < ' ':
			s.off = true
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.off = true
	return ""
}

// escaped reads a string whose first backslash is at i.
func (s *scanner) escaped(i int) (v string) {
	for ; i < len(s.s) && s.s[i] != '"'; i++ {
		if s.s[i] == '\\' {
			i++
		}
	}
	if i >= len(s.s) || json.Unmarshal([]byte(s.s[s.pos-1:i+1]), &v) != nil {
		s.off = true
		return ""
	}
	s.pos = i + 1
	return v
}

// uint reads a number without sign, fraction and exponent.
func (s *scanner) uint() (n uint64) {
	from := s.pos
	for s.pos < len(s.s) && '0' <= s.s[s.pos] && s.s[s.pos] <= '9' {
		n = n*10 + uint64(s.s[s.pos]-'0')
		s.pos++
	}
	// 19 digits always fit; a number does not begin with a zero.
	if digits := s.pos - from; digits == 0 || digits > 19 || digits > 1 && s.s[from] == '0' {
		s.off = true
	}
	return n
}

func (s *scanner) int() int {
	n := s.uint()
	if n > 1<<31-1 {
		s.off = true
	}
	return int(n)
}

func (s *scanner) int64() int64 {
	sign := int64(1)
	if s.take('-') {
		sign = -1
	}
	n := s.uint()
	if n > 1<<63-1 {
		s.off = true
	}
	return sign * int64(n)
}

func (s *scanner) bool() bool {
	for _, word := range [...]string{"true", "false"} {
		if len(s.s)-s.pos >= len(word) && s.s[s.pos:s.pos+len(word)] == word {
			s.pos += len(word)
			return word == "true"
		}
	}
	s.off = true
	return false
}

func (s *scanner) time() (t time.Time) {
	if err := t.UnmarshalText([]byte(s.string())); err != nil {
		s.off = true
	}
	return t
}

// end is called after the document.
func (s *scanner) end() { s.off = s.off || s.pos != len(s.s) }

func (s *scanner) want(c byte) {
	if !s.take(c) {
		s.off = true
	}
}

// take consumes c if it is next. There is no white space: our writers make none.
func (s *scanner) take(c byte) bool {
	if s.pos < len(s.s) && s.s[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// AppendString appends s as encoding/json writes it.
func AppendString(b []byte, s string) []byte { return appendString(b, s) }

// appendString writes s as encoding/json does: quoted, and with what means
// something in HTML and JavaScript escaped.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c == 0x7f {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendEscaped leaves the rare strings to encoding/json.
func appendEscaped(b []byte, s string) []byte {
	data, err := json.Marshal(s)
	if err != nil { // strings always can
		return append(b, `""`...)
	}
	return append(b, data...)
}

// appendKey writes a key, with the comma before it where one is due.
func appendKey(b []byte, key string) []byte {
	if n := len(b); n > 0 && b[n-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

// appendText writes a field that is left out if empty.
func appendText(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(appendKey(b, key), value)
}

// appendTime writes a field; a time that RFC 3339 cannot write is written empty.
func appendTime(b []byte, key string, t time.Time) []byte {
	b = append(appendKey(b, key), '"')
	if text, err := t.AppendText(b); err == nil {
		b = text
	}
	return append(b, '"')
}

// appendMap writes a field that is left out if empty, its keys in order.
func appendMap(b []byte, key string, m map[string]string) []byte {
	if len(m) == 0 {
		return b
	}
	data, err := json.Marshal(m)
	if err != nil { // maps of strings always can
		return b
	}
	return append(appendKey(b, key), data...)
}
