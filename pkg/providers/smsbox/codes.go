package smsbox

import "github.com/tuma-sms/tuma/pkg/providers"

// scope says which messages of a request an error code is about.
type scope int

const (
	ofRequest scope = iota // all of them: account, sender, schedule
	ofText                 // all of them if they share one text, some if each has a name in it
	ofMessage              // some of them: smaller batches will tell which
)

// meaning is a row of the document's "Error codes".
type meaning struct {
	class providers.Class
	scope scope
	need  providers.Need
}

// success is code 200, "Message Scheduled Successfully: Message has been
// submitted to the queue for processing."
const success = "200"

// meanings are the document's error codes, with its own words. What no message
// causes (a bug here, the account's set-up) is Misconfigured or RejectedHere,
// so that another account may carry what this one does not.
var meanings = map[string]meaning{
	"101": {class: providers.Rejected, scope: ofMessage},                                   // Invalid phone number: Invalid recipient dest_addr
	"102": {class: providers.Misconfigured, scope: ofRequest, need: providers.NeedBalance}, // Insufficient balance: Balance is not enough for Sending messages
	"103": {class: providers.Uncertain, scope: ofRequest},                                  // Network timeout. On whose side, and after what, is not said
	"104": {class: providers.RejectedHere, scope: ofMessage},                               // Please provide all required parameters: Missing Required Parameters
	"105": {class: providers.Misconfigured, scope: ofRequest},                              // Account not found: User credentials not found
	"106": {class: providers.Misconfigured, scope: ofRequest},                              // No route mapping to your account
	"107": {class: providers.Misconfigured, scope: ofRequest},                              // No authorization headers: Request is missing Authorization Header
	"108": {class: providers.Misconfigured, scope: ofRequest},                              // Invalid token: Invalid token provided on authorization header
	"109": {class: providers.RejectedHere, scope: ofText},                                  // Invalid Message: Invalid message content or empty message
	"110": {class: providers.RejectedHere, scope: ofText},                                  // Message contains special characters: Enter a plain text message only. Special characters(Unicode) are not supported
	"111": {class: providers.RejectedHere, scope: ofRequest},                               // Invalid Sender ID: Sender ID not active/registered
	"112": {class: providers.RejectedHere, scope: ofRequest},                               // The message cannot be scheduled for a date/time in the past. Their clock and ours differ
	"113": {class: providers.RejectedHere, scope: ofMessage},                               // Invalid request format: this apply on api sms both xml and json format
	"114": {class: providers.RejectedHere, scope: ofMessage},                               // Recipients exceed the Limit of 1000. We never send more, so their limit changed
	"115": {class: providers.Rejected, scope: ofMessage},                                   // Destination Number is Missing: Destination address not provided
	"116": {class: providers.Misconfigured, scope: ofRequest},                              // Missing/Invalid Reference Id: Reference id must be provided on api sms. No field for it is documented
	"117": {class: providers.RejectedHere, scope: ofRequest},                               // Invalid Scheduled Time: Confirm that the scheduled time is in the correct format
	"118": {class: providers.RejectedHere, scope: ofRequest},                               // Missing encoding type: Default encoding value is 0. Other encoding types are currently not supported
	"119": {class: providers.RejectedHere, scope: ofRequest},                               // Missing recipient(s) tag
	"120": {class: providers.Misconfigured, scope: ofRequest},                              // Invalid Authentication Parameters: Please confirm your authentication parameters API Key and Secret Key
	"121": {class: providers.RejectedHere, scope: ofRequest},                               // Invalid Senderid: Sender Name Should Not Exceed 11 Characters and can have only numbers, letters and the following special characters . - and space
	"122": {class: providers.RejectedHere, scope: ofRequest},                               // Duplicate senderid. Of request_sender_name, like 124
	"123": {class: providers.RejectedHere, scope: ofRequest},                               // Invalid template_id: Template Does Not Exist
	"124": {class: providers.RejectedHere, scope: ofRequest},                               // Sender Name sample content limit
	"125": {class: providers.Uncertain, scope: ofRequest},                                  // SMS Template Updated Successfully. No answer to a send, like the next three
	"126": {class: providers.Uncertain, scope: ofRequest},                                  // SMS Template Created Successfully
	"127": {class: providers.Uncertain, scope: ofRequest},                                  // SMS Template Delete Failed
	"128": {class: providers.Uncertain, scope: ofRequest},                                  // SMS Template Deleted Successfully
}

// words are the states of a delivery report. No report is documented: these are
// the words that gateways use and that we ask this one to be set up with, in
// any case.
var words = map[string]providers.ReportStatus{
	"DELIVERED":   providers.ReportDelivered,
	"UNDELIVERED": providers.ReportUndelivered,
	"FAILED":      providers.ReportUndelivered,
	"EXPIRED":     providers.ReportUndelivered,
	"REJECTED":    providers.ReportUndelivered,
}
