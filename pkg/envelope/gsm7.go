package envelope

import "strings"

// Characters of the GSM 03.38 default alphabet outside of ASCII, and its
// extension table (each of which costs two septets).
const (
	gsmBeyondASCII = "£¥èéùìòÇØøÅåΔΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà"
	gsmExtension   = "\f^{}\\[~]|€"
)

// septets returns what r costs in the GSM-7 alphabet: 1, 2 for a character of
// the extension table, 0 when GSM-7 does not have it.
func septets(r rune) int {
	switch {
	case 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || ' ' <= r && r <= '?':
		return 1
	case r == '\n' || r == '\r' || r == '@' || r == '_':
		return 1
	case r == '`':
		return 0
	case strings.ContainsRune(gsmExtension, r):
		return 2
	case r >= 0x80 && strings.ContainsRune(gsmBeyondASCII, r):
		return 1
	}
	return 0
}
