// Package envelope holds what travels through Tuma: the Envelope that a client
// submits, the Piece of it that waits in an account's queue, and the Event that
// tells what became of its messages. It knows nothing of the bus, of providers
// or of configuration, and imports the standard library only.
//
// Lengths are in bytes unless a name says otherwise; times are written as RFC 3339.
// Functions keep nothing of a call and may be called from many goroutines. A value
// is its holder's: it is safe to read from many goroutines while nobody changes it.
package envelope

import "time"

// Limits of one submission.
const (
	MaxRecipients     = 10_000              // recipients of one envelope
	MaxPiece          = 1_000               // messages of one queued piece
	DefaultTTL        = 48 * time.Hour      // expiry after the send time, unless given
	MaxTTL            = 72 * time.Hour      // latest expiry after the send time
	MaxAhead          = 30 * 24 * time.Hour // latest send_at
	MaxSupersedeBytes = 128                 // length of a supersede_key
)

// Priority is the lane class of an envelope.
type Priority string

// The priorities, most urgent first.
const (
	High   Priority = "high"
	Normal Priority = "normal"
	Bulk   Priority = "bulk"
)

// Priorities lists every priority, most urgent first.
var Priorities = [...]Priority{High, Normal, Bulk}

// Policy says what to do with a message that may or may not have been sent.
type Policy string

// The policies. The zero value means: the account's, else the default of the
// priority (retry for high, hold for the others).
const (
	Hold  Policy = "hold"
	Retry Policy = "retry"
)

// Envelope is a submission as a client writes it: one sender and one text, or one
// template of a channel, for 1 to MaxRecipients recipients. The same JSON is POSTed and published.
type Envelope struct {
	To             string            `json:"to,omitempty"`
	Recipients     []Recipient       `json:"recipients,omitempty"`
	From           string            `json:"from,omitempty"`
	Text           string            `json:"text,omitempty"`
	Variables      map[string]string `json:"variables,omitempty"`
	Priority       Priority          `json:"priority,omitempty"`
	SendAt         *time.Time        `json:"send_at,omitempty"`
	ExpiresAt      *time.Time        `json:"expires_at,omitempty"`
	Provider       string            `json:"provider,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	SupersedeKey   string            `json:"supersede_key,omitempty"`
	OnUncertain    Policy            `json:"on_uncertain,omitempty"`
	Ref            string            `json:"ref,omitempty"`
	Metadata       map[string]string `json:"metadata,omitempty"`
	Channel        Channel           `json:"channel,omitempty"`
	Template       *Template         `json:"template,omitempty"` // instead of Text, where the channel sends nothing else
	Options        map[string]string `json:"options,omitempty"`  // what only some gateways know
}

// Recipient is one destination of an Envelope. Its variables win over the
// envelope's.
type Recipient struct {
	To        string            `json:"to"`
	Variables map[string]string `json:"variables,omitempty"`
	Ref       string            `json:"ref,omitempty"`
}
