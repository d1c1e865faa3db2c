package envelope

import (
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxFieldName = 64 // bounds what an error repeats of a name that a client made up
	maxFields    = 64 // of one object: more than any field's own limit, few enough to compare each with each
)

// parser reads the JSON of an envelope. encoding/json would not do: it keeps
// the last of two equal keys, matches names in any case, and turns lone
// surrogates and broken UTF-8 into U+FFFD, each of which would send a text or a
// number that nobody meant. Only what is asked for is parsed, so that nesting
// cannot go deeper than an envelope does.
type parser struct {
	data []byte
	pos  int
}

// object reads an object and calls value for each of its fields, in order.
func (p *parser) object(value func(key string) error) error {
	if !p.take('{') {
		return p.unexpected("an object")
	}
	if p.take('}') {
		return nil
	}
	var room [16]string
	for seen := room[:0]; ; {
		key, err := p.string()
		if err != nil {
			return err
		}
		if slices.Contains(seen, key) {
			return invalid(clip(key), "given twice")
		}
		if len(seen) == maxFields {
			return invalid("", "too many fields")
		}
		seen = append(seen, key)
		if !p.take(':') {
			return p.unexpected("a colon")
		}
		if err := value(key); err != nil {
			return within(clip(key), err)
		}
		if p.take('}') {
			return nil
		}
		if !p.take(',') {
			return p.unexpected("a comma or the end of the object")
		}
	}
}

// array reads an array and calls value for each element.
func (p *parser) array(value func(i int) error) error {
	if !p.take('[') {
		return p.unexpected("an array")
	}
	if p.take(']') {
		return nil
	}
	for i := 0; ; i++ {
		if err := value(i); err != nil {
			return within(index(i), err)
		}
		if p.take(']') {
			return nil
		}
		if !p.take(',') {
			return p.unexpected("a comma or the end of the array")
		}
	}
}

// string reads a string.
func (p *parser) string() (string, error) {
	if !p.take('"') {
		return "", p.unexpected("a string")
	}
	start := p.pos
	for i := start; i < len(p.data); i++ {
		switch c := p.data[i]; {
		case c == '"':
			p.pos = i + 1
			return string(p.data[start:i]), nil
		case c < ' ' || c == '\\' || c >= utf8.RuneSelf:
			return p.slowString(start, i)
		}
	}
	return "", invalid("", "ends within a string")
}

// slowString reads on from the first byte that is not plain ASCII.
func (p *parser) slowString(start, at int) (string, error) {
	out := append([]byte(nil), p.data[start:at]...)
	p.pos = at
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; {
		case c == '"':
			p.pos++
			return string(out), nil
		case c < ' ':
			return "", invalid("", "has a control character that is not escaped")
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		default:
			r, n := utf8.DecodeRune(p.data[p.pos:])
			if r == utf8.RuneError && n == 1 {
				return "", invalid("", "is not valid UTF-8")
			}
			out = append(out, p.data[p.pos:p.pos+n]...)
			p.pos += n
		}
	}
	return "", invalid("", "ends within a string")
}

// escape reads an escape sequence, a surrogate pair as one.
func (p *parser) escape() (rune, error) {
	p.pos++
	if p.pos == len(p.data) {
		return 0, invalid("", "ends within a string")
	}
	c := p.data[p.pos]
	p.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.unicodeEscape()
	}
	return 0, invalid("", "has an unknown escape sequence")
}

func (p *parser) unicodeEscape() (rune, error) {
	r, ok := p.hex()
	if !ok {
		return 0, invalid("", "has a broken \\u escape")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.pos+1 < len(p.data) && p.data[p.pos] == '\\' && p.data[p.pos+1] == 'u' {
		p.pos += 2
		if low, ok := p.hex(); ok {
			if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
				return full, nil
			}
		}
	}
	return 0, invalid("", "has half of a surrogate pair")
}

func (p *parser) hex() (rune, bool) {
	if p.pos+4 > len(p.data) {
		return 0, false
	}
	var r rune
	for _, c := range p.data[p.pos : p.pos+4] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	p.pos += 4
	return r, true
}

// take skips white space and consumes c if it is next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.pos < len(p.data) && p.data[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// unexpected says what stands where want was wanted.
func (p *parser) unexpected(want string) error {
	return invalid("", "want "+want+", found "+p.found())
}

func (p *parser) found() string {
	if p.pos >= len(p.data) {
		return "the end"
	}
	switch c := p.data[p.pos]; {
	case c == '"':
		return "a string"
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == 't' || c == 'f':
		return "a boolean"
	case c == 'n':
		return "null"
	case c == '-' || '0' <= c && c <= '9':
		return "a number"
	}
	return "byte " + strconv.Itoa(p.pos+1) + ", which is not JSON here"
}

// clip shortens a name that an error repeats, at a character's boundary.
func clip(name string) string {
	if len(name) <= maxFieldName {
		return name
	}
	n := maxFieldName
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n]
}
