package cloudrebue

import (
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// refusals are the words of an answer whose status is false, with what they
// mean. A row counts when its words occur in the answer's, in any case. Words
// that no row knows are RejectedHere: refused, and nobody knows why.
var refusals = [...]struct {
	words string
	class providers.Class
}{
	{"unauthenticated", providers.Misconfigured}, // "Unauthenticated.": Invalid or Missing Token
	{"insufficient", providers.Misconfigured},    // ours, undocumented: no units left
	{"not enough", providers.Misconfigured},      // ours, undocumented: no units left
	{"too many attempts", providers.Throttled},   // ours, undocumented: rate limited to 120 requests per second
	{"too many requests", providers.Throttled},   // ours, undocumented
	{"invalid phone", providers.Rejected},        // ours, undocumented
	{"phone is invalid", providers.Rejected},     // ours, undocumented
	{"server error", providers.Uncertain},        // ours, undocumented
	{"successfully queued", providers.Uncertain}, // a refusal that says otherwise: nobody can tell
}

func refusalClass(words string) providers.Class {
	words = strings.ToLower(words)
	for _, r := range refusals {
		if strings.Contains(words, r.words) {
			return r.class
		}
	}
	return providers.RejectedHere
}

// reportStatus reads the deliveryStatus of a report, in any case.
func reportStatus(word string) providers.ReportStatus {
	switch strings.ToLower(word) {
	case "deliveredtoterminal": // the only one documented
		return providers.ReportDelivered
	case "deliveryimpossible": // ours, undocumented
		return providers.ReportUndelivered
	}
	return providers.ReportUnknown
}
