package bulksmsrates

import "github.com/tuma-sms/tuma/pkg/providers"

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
	class providers.Class
	scope scope
}

// meanings are the document's "Error Codes", with its own words. A pair that is
// not among them goes by its status alone.
var meanings = map[errorKey]meaning{
	{400, "VALIDATION_ERROR"}:     {providers.RejectedHere, ofMessage},  // Invalid request body or query parameters
	{400, "INVALID_PHONE_NUMBER"}: {providers.Rejected, ofMessage},      // Destination is not a valid E.164 number
	{400, "INVALID_SENDER_ID"}:    {providers.RejectedHere, ofRequest},  // Sender ID not approved or too long
	{400, "MESSAGE_TOO_LONG"}:     {providers.RejectedHere, ofMessage},  // Body exceeds maximum character limit. With its values, perhaps
	{401, "UNAUTHORIZED"}:         {providers.Misconfigured, ofRequest}, // Missing, invalid, or expired credentials
	{401, "ACCOUNT_LOCKED"}:       {providers.Misconfigured, ofRequest}, // Account locked after repeated failed logins
	{403, "FORBIDDEN"}:            {providers.Misconfigured, ofRequest}, // Authenticated but lacking required permission
	{404, "NOT_FOUND"}:            {providers.Misconfigured, ofRequest}, // Resource does not exist. We name none: the base URL is wrong
	{409, "CONFLICT"}:             {providers.Uncertain, ofRequest},     // Duplicate resource or state conflict. Of what with what is not said
	{422, "INSUFFICIENT_BALANCE"}: {providers.Misconfigured, ofRequest}, // Wallet balance too low for this request
	{422, "OPT_OUT"}:              {providers.Rejected, ofMessage},      // Recipient has opted out of receiving messages
	{422, "BLACKLISTED"}:          {providers.Rejected, ofMessage},      // Destination number is blacklisted
	{429, "RATE_LIMITED"}:         {providers.Throttled, ofRequest},     // Too many requests — check Retry-After header
	{429, "ACCOUNT_LOCKED"}:       {providers.Misconfigured, ofRequest}, // Account temporarily locked (5 failed logins)
	{500, "INTERNAL_ERROR"}:       {providers.Uncertain, ofRequest},     // Unexpected server error
	{503, "SERVICE_UNAVAILABLE"}:  {providers.Unavailable, ofRequest},   // Upstream gateway temporarily unavailable
}

// refusedStates are the states of the document's message log that, in the
// answer to a single send, mean that it took the message and gave it up at once.
// Any other state, beside an id, means that it took it.
var refusedStates = map[string]bool{
	"failed":  true,
	"expired": true,
}

// events are the "Webhook Events" of the DLR payload, in lower case.
var events = map[string]providers.ReportStatus{
	"message.delivered": providers.ReportDelivered,
	"message.failed":    providers.ReportUndelivered,
	"message.expired":   providers.ReportUndelivered,
}

// otherEvents are those that are about no message of ours.
var otherEvents = map[string]bool{
	"opt_out":            true, // Recipient replied STOP
	"campaign.completed": true, // Campaign finished sending
	"campaign.failed":    true, // Campaign encountered errors
	"balance.low":        true, // Balance below threshold
	"whatsapp.message":   true, // Inbound WhatsApp message
}
