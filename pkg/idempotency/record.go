// Package idempotency holds the two memories that keep Tuma from sending twice:
// the journal's fold, a pure function from a stream of records to the state of
// every message, and the client's idempotency keys, kept on Redis.
//
// The journal decides what was sent. No clock, lease, Redis or key-value store
// takes part in the fold, so it can be simulated, replayed and proved. The keys
// only spare a client a second submission of the same thing.
package idempotency

import "encoding/json"

// Key is the identity of one message: where its submission was first stored on
// the bus, and its index in the submission.
type Key struct {
	Stream string
	Epoch  int64
	Seq    uint64
	Index  uint32
}

// Span names messages of one origin stream, in one of two shapes: the messages
// with indices First to End-1 of the submission Seq, or (Run > 1) the messages
// with index 0 of the Run submissions Seq, Seq+1, ... A span names at least one.
type Span struct {
	Stream string `json:"st"`
	Epoch  int64  `json:"ep"`
	Seq    uint64 `json:"q"`
	Run    uint32 `json:"run,omitempty"` // 0 and 1: one submission
	First  uint32 `json:"i,omitempty"`
	End    uint32 `json:"e,omitempty"` // exclusive; 0 stands for First+1
	// At is where the copies that were sent lie in the account's queue stream
	// (for a run: At, At+1, ...). Zero: at Seq itself. The fold ignores it.
	At uint64 `json:"at,omitempty"`
}

// Kind is what a record does.
type Kind string

// The kinds of records. A record acts only on those of its messages that are in
// the state it asks for at its place in the journal; the first in order wins.
const (
	Intent    Kind = "intent"    // free -> taken by this record
	Outcome   Kind = "outcome"   // taken (or uncertain) by Record.Intent -> as its runs say
	Close     Kind = "close"     // free -> closed, with a reason; on a taken message it stands for when it is freed
	Release   Kind = "release"   // uncertain by Record.Intent -> free, once in a message's life
	Supersede Kind = "supersede" // the newest submission of a key closes the free messages of the older ones
	Mode      Kind = "mode"      // an account's mode: paused or not
	Sender    Kind = "sender"    // the only process that may send for an account, or all of them
	Told      Kind = "told"      // only says what was Told; decides nothing
	Health    Kind = "health"    // what a process found of an account: ill, for LeaseMillis, or well; decides nothing
)

// State is what the journal knows of a message.
type State uint8

// The states.
const (
	Free      State = iota // may be sent
	Taken                  // an intent holds it: it may be on its way right now
	Unsettled              // uncertain: it may have been sent, nobody can tell
	Closed                 // sent, refused, expired, cancelled: never again
)

// Run says what an outcome makes of the next N messages of its intent.
type Run struct {
	N  uint32 `json:"n"`
	To State  `json:"to"` // Free (surely not sent), Unsettled or Closed
}

// Record is one entry of the journal. Which fields count depends on Kind.
type Record struct {
	Kind    Kind   `json:"k"`
	Account string `json:"a,omitempty"`
	Owner   string `json:"o,omitempty"` // the process that wrote it
	Tenant  string `json:"t,omitempty"` // Supersede

	Spans []Span `json:"s,omitempty"` // Intent, Close, Release, Supersede

	// LeaseMillis: how long after reading an Intent others must leave it alone; how
	// long to keep away from an ill account.
	LeaseMillis int64 `json:"l,omitempty"`

	Intent uint64 `json:"n,omitempty"` // Outcome, Release: journal sequence of the intent
	Runs   []Run  `json:"r,omitempty"` // Outcome: over the intent's messages in their order, won or not
	Class  string `json:"c,omitempty"` // Outcome: for people

	Reason string `json:"w,omitempty"` // Close: canceled, superseded, expired, refused, reported; Health: breaker, account, well

	SupersedeKey string `json:"sk,omitempty"` // hash of tenant and key
	At           int64  `json:"ts,omitempty"` // Supersede: acceptance, Unix nanoseconds; the greater is the newer
	ID           string `json:"id,omitempty"` // Supersede: envelope id, breaks ties; Close: for people
	Until        int64  `json:"u,omitempty"`  // Supersede: Unix nanoseconds after which none of it is sent any more; 0: At + 72 h

	Paused bool   `json:"p,omitempty"` // Mode
	Sender string `json:"m,omitempty"` // Sender: the owner whose intents count; empty: everybody's
	Was    string `json:"b,omitempty"` // Sender: acts only if this is the sender so far

	// Owes: something has to be stored because of this record, and a later one says
	// in Told when that is done. Told names such records, by their sequences. The
	// fold reads neither.
	Owes bool     `json:"x,omitempty"`
	Told []uint64 `json:"y,omitempty"`

	// Detail is what the outside wants to know (ids, errors, times). The fold
	// never reads it.
	Detail json.RawMessage `json:"d,omitempty"`
}

// Effect is what a record did.
type Effect struct {
	// Lost are the positions (in the order of the record's spans; for an outcome
	// those of its intent) on which the record did not act.
	Lost []uint32
	// Acted is the number of messages on which it did act.
	Acted int
	// Freed are the positions that an outcome or a release freed and for which a
	// close record already stood: they are closed now, by the reason in Reasons.
	Freed   []uint32
	Reasons []string
	// Superseded are the spans that a supersede record closed, the envelope's
	// own messages included if it lost to a newer one. What it did not close is
	// not told (Lost is empty): a part of it was sent, or comes back as Freed.
	Superseded []Span
	// SupersededID is the envelope id of the submission that lost, by which the
	// messages of Superseded can be told. Empty if none was closed.
	SupersededID string
}
