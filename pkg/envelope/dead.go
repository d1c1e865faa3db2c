package envelope

import "time"

// DeadLetter is what SMS_DEAD keeps of messages that Tuma gave up on, with
// everything that a replay needs.
type DeadLetter struct {
	Time    time.Time   `json:"time"`
	Account string      `json:"account"` // "none" before routing
	Reason  DeadReason  `json:"reason"`
	Tenant  string      `json:"tenant,omitempty"`
	Error   *EventError `json:"error,omitempty"`
	Piece   *Piece      `json:"piece,omitempty"`   // the messages concerned, all of one envelope; nil for poison
	Subject string      `json:"subject,omitempty"` // poison: where it was found
	Raw     []byte      `json:"raw,omitempty"`     // poison: as it was found; its first 256 KiB, of a callback all of it
}

// DeadReason is the last token of a dead letter's subject.
type DeadReason string

// The reasons.
const (
	DeadRefused   DeadReason = "refused"   // refused by every provider of the route; never sent
	DeadUncertain DeadReason = "uncertain" // may have been sent; held for an operator
	DeadPoison    DeadReason = "poison"    // could not be read
)
