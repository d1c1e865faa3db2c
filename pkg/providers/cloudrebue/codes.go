package cloudrebue

import (
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// refused is what a refusal means.
type refused struct {
	words  string
	class  providers.Class
	need   providers.Need
	optOut bool
}

// refusals are the words of an answer whose status is false, with what they
// mean. A row counts when its words occur in the answer's, in any case. Words
// that no row knows are RejectedHere: refused, and nobody knows why.
var refusals = [...]refused{
	{words: "unauthenticated", class: providers.Misconfigured},                           // "Unauthenticated.": Invalid or Missing Token
	{words: "insufficient", class: providers.Misconfigured, need: providers.NeedBalance}, // ours, undocumented: no units left
	{words: "not enough", class: providers.Misconfigured, need: providers.NeedBalance},   // ours, undocumented: no units left
	{words: "too many attempts", class: providers.Throttled},                             // ours, undocumented: rate limited to 120 requests per second
	{words: "too many requests", class: providers.Throttled},                             // ours, undocumented
	{words: "phone number is blacklisted", class: providers.Rejected, optOut: true},      // ours, undocumented
	{words: "phone number has opted out", class: providers.Rejected, optOut: true},       // ours, undocumented
	{words: "invalid phone", class: providers.Rejected},                                  // ours, undocumented
	{words: "phone is invalid", class: providers.Rejected},                               // ours, undocumented
	{words: "phone number is invalid", class: providers.Rejected},                        // ours, undocumented
	{words: "server error", class: providers.Uncertain},                                  // ours, undocumented
	{words: "successfully queued", class: providers.Uncertain},                           // a refusal that says otherwise: nobody can tell
}

func refusal(words string) refused {
	words = strings.ToLower(words)
	for _, r := range refusals {
		if strings.Contains(words, r.words) {
			return r
		}
	}
	return refused{class: providers.RejectedHere}
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
