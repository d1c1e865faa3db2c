package smsscheduler

import "github.com/tuma-sms/tuma/pkg/providers"

// state is a row of the document's table of statuses.
type state struct {
	status providers.ReportStatus
	words  string
	optOut bool
}

// states are the statuses of GET /message/{id}, with the document's own words.
var states = map[int]state{
	10: {status: providers.ReportPending, words: "Scheduled"},
	11: {status: providers.ReportPending, words: "Pending"},
	12: {status: providers.ReportPending, words: "Sent"},
	13: {status: providers.ReportDelivered, words: "Received"},
	20: {status: providers.ReportUndelivered, words: "Cancelled - Missing contact or phone number"},
	21: {status: providers.ReportUndelivered, words: "Cancelled - Missing text message"},
	22: {status: providers.ReportUndelivered, words: "Cancelled - Invalid text message"},
	23: {status: providers.ReportUndelivered, words: "Cancelled - Missing sender"},
	24: {status: providers.ReportUndelivered, words: "Cancelled - Invalid sender"},
	25: {status: providers.ReportUndelivered, words: "Cancelled - Not enough credits"},
	26: {status: providers.ReportUndelivered, words: "Cancelled - Blacklisted contact or phone number", optOut: true},
	27: {status: providers.ReportUndelivered, words: "Cancelled - End of validity period"},
	28: {status: providers.ReportUndelivered, words: "Cancelled - Unavailable country"},
	29: {status: providers.ReportUndelivered, words: "Cancelled - Error"},
	30: {status: providers.ReportUndelivered, words: "Missed - Invalid phone number"},
	31: {status: providers.ReportUndelivered, words: "Missed - Blacklisted phone number or blocked by phone carrier"}, // or: no opt-out for certain
	32: {status: providers.ReportUndelivered, words: "Missed - End of validity period"},
	33: {status: providers.ReportUndelivered, words: "Missed - Network not available on sending phone"},
	// 34 to 37 are not in the document. All of the thirties that are mean Missed.
	34: {status: providers.ReportUndelivered, words: ""},
	35: {status: providers.ReportUndelivered, words: ""},
	36: {status: providers.ReportUndelivered, words: ""},
	37: {status: providers.ReportUndelivered, words: ""},
	38: {status: providers.ReportUndelivered, words: "Missed - Sending failed (Unknown reason)"},
	39: {status: providers.ReportUndelivered, words: "Missed - Error"},
}

// meaning says what an error in a field of the request is.
type meaning struct {
	class  providers.Class
	bisect bool // one of several numbers may be the cause; all else is shared
}

// fields are the fields that a 400 "errors: List of error messages indexed by
// field names" can blame. We write sender, date and stop flag ourselves, so an
// error there is about the account or about us, and another account may do.
// Where phone_numbers alone is to blame, sentences that repeat numbers of ours
// name those that are refused; see named.
var fields = map[string]meaning{
	"message_text":  {providers.RejectedHere, false},
	"message_stop":  {providers.RejectedHere, false},
	"delivery_date": {providers.RejectedHere, false},
	"sender_id":     {providers.RejectedHere, false},
	"phone_numbers": {providers.Rejected, true},
}
