package envelope

import "unicode/utf8"

// Encoding is how a text travels over the air.
type Encoding string

// The encodings.
const (
	GSM7 Encoding = "gsm7" // GSM 03.38 default alphabet with its extension table
	UCS2 Encoding = "ucs2" // 16-bit units; a character beyond them takes two
)

// Room of one segment, in septets or 16-bit units. Where a text needs several,
// the header that joins them takes six bytes of each.
const (
	gsmSingle, gsmPart = 160, 153
	ucsSingle, ucsPart = 70, 67
)

// Measure returns the encoding that text needs and the number of segments it
// takes, 0 for the empty text. Neither an escape pair of GSM-7 nor a surrogate
// pair is split between segments. Bytes that are not UTF-8 count as U+FFFD.
func Measure(text string) (Encoding, int) {
	if total, ok := gsmLength(text); ok {
		return GSM7, segments(text, total, gsmSingle, gsmPart, septets)
	}
	total := 0
	for _, r := range text {
		total += units(r)
	}
	return UCS2, segments(text, total, ucsSingle, ucsPart, units)
}

func gsmLength(text string) (total int, ok bool) {
	for _, r := range text {
		n := septets(r)
		if n == 0 {
			return 0, false
		}
		total += n
	}
	return total, true
}

// segments fills parts one after the other; a character that does not fit the
// rest of a part begins the next.
func segments(text string, total, single, part int, cost func(rune) int) int {
	if total == 0 {
		return 0
	}
	if total <= single {
		return 1
	}
	count, used := 1, 0
	for _, r := range text {
		n := cost(r)
		if used+n > part {
			count, used = count+1, 0
		}
		used += n
	}
	return count
}

// units returns the 16-bit units of r.
func units(r rune) int {
	if r > 0xffff && r <= utf8.MaxRune {
		return 2
	}
	return 1
}
