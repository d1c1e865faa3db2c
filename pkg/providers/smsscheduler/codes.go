package smsscheduler

import "github.com/tuma-sms/tuma/pkg/providers"

// state is a row of the document's table of statuses.
type state struct {
	status providers.ReportStatus
	words  string
}

// states are the statuses of GET /message/{id}, with the document's own words.
var states = map[int]state{
	10: {providers.ReportPending, "Scheduled"},
	11: {providers.ReportPending, "Pending"},
	12: {providers.ReportPending, "Sent"},
	13: {providers.ReportDelivered, "Received"},
	20: {providers.ReportUndelivered, "Cancelled - Missing contact or phone number"},
	21: {providers.ReportUndelivered, "Cancelled - Missing text message"},
	22: {providers.ReportUndelivered, "Cancelled - Invalid text message"},
	23: {providers.ReportUndelivered, "Cancelled - Missing sender"},
	24: {providers.ReportUndelivered, "Cancelled - Invalid sender"},
	25: {providers.ReportUndelivered, "Cancelled - Not enough credits"},
	26: {providers.ReportUndelivered, "Cancelled - Blacklisted contact or phone number"},
	27: {providers.ReportUndelivered, "Cancelled - End of validity period"},
	28: {providers.ReportUndelivered, "Cancelled - Unavailable country"},
	29: {providers.ReportUndelivered, "Cancelled - Error"},
	30: {providers.ReportUndelivered, "Missed - Invalid phone number"},
	31: {providers.ReportUndelivered, "Missed - Blacklisted phone number or blocked by phone carrier"},
	32: {providers.ReportUndelivered, "Missed - End of validity period"},
	33: {providers.ReportUndelivered, "Missed - Network not available on sending phone"},
	// 34 to 37 are not in the document. All of the thirties that are mean Missed.
	34: {providers.ReportUndelivered, ""},
	35: {providers.ReportUndelivered, ""},
	36: {providers.ReportUndelivered, ""},
	37: {providers.ReportUndelivered, ""},
	38: {providers.ReportUndelivered, "Missed - Sending failed (Unknown reason)"},
	39: {providers.ReportUndelivered, "Missed - Error"},
}

// meaning says what an error in a field of the request is.
type meaning struct {
	class  providers.Class
	bisect bool // one of several numbers may be the cause; all else is shared
}

// fields are the fields that a 400 "errors: List of error messages indexed by
// field names" can blame. We write sender, date and stop flag ourselves, so an
// error there is about the account or about us, and another account may do.
var fields = map[string]meaning{
	"message_text":  {providers.RejectedHere, false},
	"message_stop":  {providers.RejectedHere, false},
	"delivery_date": {providers.RejectedHere, false},
	"sender_id":     {providers.RejectedHere, false},
	"phone_numbers": {providers.Rejected, true},
}
