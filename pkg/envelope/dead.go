package envelope

import "time"

// DeadReason says why a dead letter was kept; it is the last token of its
// subject.
type DeadReason string

// The reasons.
const (
	DeadRefused   DeadReason = "refused"   // every account of the route refused it: status failed
	DeadUncertain DeadReason = "uncertain" // it may have been sent, and its policy is to hold it
	DeadPoison    DeadReason = "poison"    // it could not be read
)

// DeadLetter is what waits for an operator: messages with everything that is
// needed to send them again, or what could not be read, as it was published.
type DeadLetter struct {
	Time    time.Time   `json:"time"`
	Tenant  string      `json:"tenant"`
	Account string      `json:"account,omitempty"` // empty before routing
	Reason  DeadReason  `json:"reason"`
	Error   *EventError `json:"error,omitempty"`

	Piece *Piece `json:"piece,omitempty"` // its Origin is set; its Messages are the dead ones only

	Subject string `json:"subject,omitempty"` // poison: where it was published
	Raw     []byte `json:"raw,omitempty"`     // poison: at most MaxDeadRaw bytes of it
}

// MaxDeadRaw bounds what a dead letter keeps of something unreadable.
const MaxDeadRaw = 64 << 10
