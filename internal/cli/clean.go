package cli

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// escapes are terminal control sequences: CSI, OSC and the two-byte ones.
var escapes = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[ -~])`)

// clean makes text from outside fit for one line of a terminal: no control
// sequences, which could hide or forge output, and nothing that reorders what is
// read.
func clean(s string) string {
	s = escapes.ReplaceAllString(strings.ToValidUTF8(s, "\ufffd"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case hostile(r):
			return -1
		}
		return r
	}, s)
}

// cleanJSON escapes in a JSON text what clean would remove. Outside of strings
// JSON has no such runes, so that the meaning is the same.
func cleanJSON(b []byte) string {
	var out strings.Builder
	for _, r := range strings.ToValidUTF8(string(b), "\ufffd") {
		if hostile(r) && r != '\n' && r != '\t' && r != '\r' {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// hostile reports control characters of both sets and the marks that change the
// direction of writing.
func hostile(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029
}
