package bulksmsrates

import (
	"net/http"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// scope says which messages of a request an error is about.
type scope int

const (
	ofRequest scope = iota // all of them
	ofMessage              // some of them, unnamed: smaller batches will tell which
)

// errorKey is how the document lists an error: by status and code.
type errorKey struct {
	status int
	code   string
}

type meaning struct {
	class  providers.Class
	scope  scope
	need   providers.Need
	optOut bool // the number is to get nothing
}

// meaningOf finds what a code means. "Check the code field for programmatic
// handling": under a status that says little more than that something was refused,
// 200 included, a code means what it means under its own. Other pairs that the
// document does not have go by their status alone.
func meaningOf(status int, code string) (m meaning, known bool) {
	if m, known = meanings[errorKey{status, code}]; known {
		return m, true
	}
	switch status {
	case http.StatusBadRequest, http.StatusPaymentRequired, http.StatusForbidden, http.StatusConflict, http.StatusUnprocessableEntity:
	default:
		if status/100 != 2 {
			return m, false
		}
	}
	for key, m := range meanings { // a code under two statuses means the same
		if key.code == code {
			return m, true
		}
	}
	return m, false
}

// meanings are the document's "Error Codes", with its own words.
var meanings = map[errorKey]meaning{
	{400, "VALIDATION_ERROR"}:     {class: providers.RejectedHere, scope: ofMessage},                               // Invalid request body or query parameters
	{400, "INVALID_PHONE_NUMBER"}: {class: providers.Rejected, scope: ofMessage},                                   // Destination is not a valid E.164 number
	{400, "INVALID_SENDER_ID"}:    {class: providers.RejectedHere, scope: ofRequest},                               // Sender ID not approved or too long
	{400, "MESSAGE_TOO_LONG"}:     {class: providers.RejectedHere, scope: ofMessage},                               // Body exceeds maximum character limit. With its values, perhaps
	{401, "UNAUTHORIZED"}:         {class: providers.Misconfigured, scope: ofRequest},                              // Missing, invalid, or expired credentials
	{401, "ACCOUNT_LOCKED"}:       {class: providers.Misconfigured, scope: ofRequest},                              // Account locked after repeated failed logins
	{403, "FORBIDDEN"}:            {class: providers.Misconfigured, scope: ofRequest},                              // Authenticated but lacking required permission
	{404, "NOT_FOUND"}:            {class: providers.Misconfigured, scope: ofRequest},                              // Resource does not exist. We name none: the base URL is wrong
	{409, "CONFLICT"}:             {class: providers.Uncertain, scope: ofRequest},                                  // Duplicate resource or state conflict. Of what with what is not said
	{422, "INSUFFICIENT_BALANCE"}: {class: providers.Misconfigured, scope: ofRequest, need: providers.NeedBalance}, // Wallet balance too low for this request
	{422, "OPT_OUT"}:              {class: providers.Rejected, scope: ofMessage, optOut: true},                     // Recipient has opted out of receiving messages
	{422, "BLACKLISTED"}:          {class: providers.Rejected, scope: ofMessage, optOut: true},                     // Destination number is blacklisted
	{429, "RATE_LIMITED"}:         {class: providers.Throttled, scope: ofRequest},                                  // Too many requests — check Retry-After header
	{429, "ACCOUNT_LOCKED"}:       {class: providers.Misconfigured, scope: ofRequest},                              // Account temporarily locked (5 failed logins)
	{500, "INTERNAL_ERROR"}:       {class: providers.Uncertain, scope: ofRequest},                                  // Unexpected server error
	{503, "SERVICE_UNAVAILABLE"}:  {class: providers.Unavailable, scope: ofRequest},                                // Upstream gateway temporarily unavailable
}

// refusedStates are the states of the document's message log that, in the
// answer to a single send and in lower case, mean that it took the message and gave it up at once.
// Any other state, beside an id, means that it took it.
var refusedStates = map[string]bool{
	"failed":  true,
	"expired": true,
}

// eventDLR is the event of reports where webhooks are configured; its payloads are
// shown under the names in events.
const eventDLR = "dlr"

// events are the "Webhook Events" of the DLR payload, in lower case.
var events = map[string]providers.ReportStatus{
	"message.delivered": providers.ReportDelivered,
	"message.failed":    providers.ReportUndelivered,
	"message.expired":   providers.ReportUndelivered,
}

// logged are the states of the document's message log, in lower case.
var logged = map[string]providers.ReportStatus{
	"queued":    providers.ReportPending,
	"sent":      providers.ReportPending,
	"delivered": providers.ReportDelivered,
	"failed":    providers.ReportUndelivered,
	"expired":   providers.ReportUndelivered,
}
