package envelope

import (
	"slices"
	"strings"
)

// Placeholders returns the distinct names of the {{placeholders}} in text, in
// the order of their first appearance; nil when there are none.
//
// A placeholder is {{name}} with spaces allowed inside the braces; a name is
// [A-Za-z_][A-Za-z0-9_]*. Anything else between braces is literal text.
func Placeholders(text string) []string {
	var names []string
	for {
		_, name, rest, ok := nextPlaceholder(text)
		if !ok {
			return names
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		text = rest
	}
}

// Render fills the placeholders of text from vars, in one pass: a value is
// never interpreted again, whatever it contains. A placeholder without a value
// is a *Refusal with code MissingVariable whose Field names it; an empty value
// is a value.
func Render(text string, vars map[string]string) (string, error) {
	var b strings.Builder
	b.Grow(len(text))
	for {
		before, name, rest, ok := nextPlaceholder(text)
		if !ok {
			b.WriteString(text)
			return b.String(), nil
		}
		value, known := vars[name]
		if !known {
			return "", &Refusal{Code: MissingVariable, Field: name, Detail: "the text has a placeholder for it and no value is given"}
		}
		b.WriteString(before)
		b.WriteString(value)
		text = rest
	}
}

// nextPlaceholder finds the first placeholder of s. In "{{{a}}}" it is the
// inner {{a}}, so that a text in braces keeps its braces.
func nextPlaceholder(s string) (before, name, rest string, ok bool) {
	for from := 0; ; {
		at := strings.Index(s[from:], "{{")
		if at < 0 {
			return "", "", "", false
		}
		at += from
		if name, size := placeholderAt(s[at:]); size > 0 {
			return s[:at], name, s[at+size:], true
		}
		from = at + 1
	}
}

// placeholderAt reads the placeholder that s begins with; size 0: none.
func placeholderAt(s string) (name string, size int) {
	i := 2
	for i < len(s) && s[i] == ' ' {
		i++
	}
	start := i
	for i < len(s) && nameByte(s[i], i > start) {
		i++
	}
	end := i
	for i < len(s) && s[i] == ' ' {
		i++
	}
	if end == start || !strings.HasPrefix(s[i:], "}}") {
		return "", 0
	}
	return s[start:end], i + 2
}

func nameByte(c byte, digits bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || digits && '0' <= c && c <= '9'
}
