package envelope

import (
	"strings"
	"time"
)

// Status is what is known of a message.
type Status string

// The statuses. A final status never changes, with one exception: a report
// "delivered" corrects any other, once.
const (
	Accepted    Status = "accepted"    // stored on the bus; nothing was sent
	Scheduled   Status = "scheduled"   // held until its send time
	Submitted   Status = "submitted"   // the provider took it; whether it arrives is not known
	Uncertain   Status = "uncertain"   // the provider may or may not have taken it, and nobody can tell yet
	Delivered   Status = "delivered"   // the provider reports it on the handset
	Undelivered Status = "undelivered" // the provider reports that it will not arrive
	Rejected    Status = "rejected"    // refused by us; never sent
	Failed      Status = "failed"      // refused by every provider of its route
	Expired     Status = "expired"     // its time ran out before it was sent
	Canceled    Status = "canceled"    // cancelled or superseded before it was sent
)

// Final reports whether s ends a message's life (a later delivered report may
// still correct it).
func (s Status) Final() bool {
	switch s {
	case Delivered, Undelivered, Rejected, Failed, Expired, Canceled:
		return true
	}
	return false
}

// Supersedes reports whether a change from old to s is allowed: statuses never
// regress, a final one stays, and delivered corrects anything but itself.
func (s Status) Supersedes(old Status) bool {
	if s == old {
		return false
	}
	if s == Delivered {
		return true
	}
	return !old.Final() && rank[s] > rank[old]
}

var rank = map[Status]int{
	"": 0, Accepted: 1, Scheduled: 2, Uncertain: 3, Submitted: 4,
	Delivered: 5, Undelivered: 5, Rejected: 5, Failed: 5, Expired: 5, Canceled: 5,
}

// Code is a reason of ours for refusing a recipient or an envelope.
type Code string

// The codes of refusal.
const (
	InvalidNumber     Code = "invalid_number"
	InvalidSender     Code = "invalid_sender"
	InvalidText       Code = "invalid_text"
	MissingVariable   Code = "missing_variable"
	TooManyRecipients Code = "too_many_recipients"
	CodeExpired       Code = "expired"
	NoRoute           Code = "no_route"
	OptedOut          Code = "opted_out"
	RateLimited       Code = "rate_limited"
	Duplicate         Code = "duplicate"
	InvalidEnvelope   Code = "invalid_envelope"
)

// Event is one change of 1 to 1,000 messages of one tenant. It is published at
// least once; ID is the same each time.
type Event struct {
	ID       string         `json:"id"`
	Time     time.Time      `json:"time"` // of the change; where nobody noted that, of the telling
	Tenant   string         `json:"tenant"`
	Status   Status         `json:"status"`
	Provider string         `json:"provider,omitempty"` // account
	Detail   string         `json:"detail,omitempty"`   // e.g. superseded, report: none
	Messages []EventMessage `json:"messages"`
}

// Remark begins the detail of an event that changes no status: what a gateway
// said in a word that no table knows, or that it said nothing at all.
const Remark = "report: "

// Remarks reports whether e changes no status but only adds a detail to it.
func (e *Event) Remarks() bool { return strings.HasPrefix(e.Detail, Remark) }

// EventMessage is one message of an Event. A rejected recipient that never got
// an id has only Index, To and Error.
type EventMessage struct {
	ID                string      `json:"id,omitempty"`
	EnvelopeID        string      `json:"envelope_id,omitempty"`
	Index             *int        `json:"index,omitempty"` // rejected only
	To                string      `json:"to,omitempty"`
	Ref               string      `json:"ref,omitempty"`
	Traceparent       string      `json:"traceparent,omitempty"`
	ProviderMessageID string      `json:"provider_message_id,omitempty"`
	Segments          int         `json:"segments,omitempty"` // as billed, where the provider tells; else as counted
	Attempts          int         `json:"attempts,omitempty"`
	ReplayOf          string      `json:"replay_of,omitempty"`
	Cost              string      `json:"cost,omitempty"`     // as the provider tells it, with its unit
	Operator          string      `json:"operator,omitempty"` // the network, as the provider names it
	Error             *EventError `json:"error,omitempty"`
}

// EventError says why. Code is ours, ProviderCode and Detail are the
// provider's own words.
type EventError struct {
	Code         string `json:"code"`
	ProviderCode string `json:"provider_code,omitempty"`
	Detail       string `json:"detail,omitempty"`
}

// MaxEventMessages is the most messages of one Event.
const MaxEventMessages = 1000
