package ingest

import (
	"strings"

	"github.com/nyaruka/phonenumbers"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// KnownRegion reports whether numbers can be read as of a region; empty is one in
// which none are.
func KnownRegion(region string) bool {
	return region == "" || phonenumbers.GetSupportedRegions()[region]
}

// normalise returns number in E.164. A number that is written so already is
// taken as it is (some hundred times faster than parsing), unless the tenant is
// strict. Any other needs the tenant's default region and must fit its
// numbering plan: nothing is guessed.
func normalise(t *Tenant, number string) (string, error) {
	plain := envelope.ValidNumber(number)
	if plain && !t.StrictNumbers {
		return number, nil
	}
	number = strings.Trim(number, " ") // tables have them
	if !plain && !dialled(number) {
		return "", envelope.Refuse(envelope.InvalidNumber, "to", "is not a phone number")
	}
	if t.DefaultRegion == "" && !strings.HasPrefix(number, "+") {
		return "", envelope.Refuse(envelope.InvalidNumber, "to", "must be in E.164, such as +254712345678: this tenant has no default region")
	}
	n, err := phonenumbers.Parse(number, t.DefaultRegion)
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return "", envelope.Refuse(envelope.InvalidNumber, "to", "no numbering plan has such a number")
	}
	e164 := phonenumbers.Format(n, phonenumbers.E164)
	if !envelope.ValidNumber(e164) {
		return "", envelope.Refuse(envelope.InvalidNumber, "to", "is not a phone number that can be called from abroad")
	}
	return e164, nil
}

// dialled reports whether s is written as people write numbers: ASCII digits,
// perhaps with a plus before and spaces, hyphens, dots and brackets between.
// The parser would take much more: letters, extensions, tel: addresses and
// digits of other scripts.
func dialled(s string) bool {
	if len(s) == 0 || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if '0' <= c && c <= '9' || c == '+' && i == 0 {
			continue
		}
		if !strings.ContainsRune(" -.()", rune(c)) {
			return false
		}
	}
	return true
}
