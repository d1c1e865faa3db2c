package digitalservices

import (
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// What an error asks for beside its class.
type remedy int

const (
	none       remedy = iota
	badNumbers        // the words end with a list of numbers
	nextDay           // nothing is taken until tomorrow
)

// failures are the documented errors: HTTP status and the words that the message
// begins with, in any case; of several rows the first counts. What no row knows
// goes by its HTTP status alone.
var failures = [...]struct {
	status int
	words  string
	class  providers.Class
	remedy remedy
}{
	{401, "Invalid API key or credentials", providers.Misconfigured, none},          // Wrong api_key, username, or password
	{429, "Daily SMS limit reached for testing mode", providers.Throttled, nextDay}, // Exceeded 15 SMS/day testing limit
	{400, "Invalid phone numbers:", providers.RejectedHere, badNumbers},             // Phone number format incorrect
	{500, "Failed to send SMS via external gateway", providers.Uncertain, none},     // Carrier network issue
	{400, "Missing required parameter: message", providers.RejectedHere, none},      // a text that counts as none over there, as "0" may
	{400, "Missing required parameter:", providers.Misconfigured, none},             // Required field not provided: no message causes it
}

// resultClasses are the words of one recipient in an answer.
var resultClasses = [...]struct {
	word  string
	class providers.Class
}{
	{"sent", providers.Accepted},
	{"failed", providers.RejectedHere}, // no reason is told: another account may try
}

func resultClass(word string) providers.Class {
	for _, r := range resultClasses {
		if strings.EqualFold(r.word, word) {
			return r.class
		}
	}
	return providers.Uncertain
}

// reportStatuses are the words of dlvrMsgStat.
var reportStatuses = [...]struct {
	word   string
	status providers.ReportStatus
}{
	{"D", providers.ReportDelivered},             // Message reached the recipient's phone. Final status.
	{"U", providers.ReportUndelivered},           // Message could not be delivered. Final status.
	{"Delivered", providers.ReportDelivered},     // the meaning for the code
	{"Undelivered", providers.ReportUndelivered}, // likewise
	{"P", providers.ReportPending},               // Processing: "handled internally", should never come
	{"Q", providers.ReportPending},               // Queued: likewise
}

func reportStatus(word string) providers.ReportStatus {
	for _, r := range reportStatuses {
		if strings.EqualFold(r.word, word) {
			return r.status
		}
	}
	return providers.ReportUnknown
}
