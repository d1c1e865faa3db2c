package ingest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/oklog/ulid/v2"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Replayed is a message that a replay made.
type Replayed struct {
	ID       string `json:"id"`
	ReplayOf string `json:"replay_of"`
}

// ReplayAnswer is the answer to POST /v1/dead/{id}/replay.
type ReplayAnswer struct {
	ID       string                  `json:"id"` // of the first new message; empty: there is none
	Messages int                     `json:"messages"`
	Replayed []Replayed              `json:"replayed"`
	Skipped  map[envelope.Status]int `json:"skipped,omitempty"` // messages that were sent after all, by status
}

// postReplay sends a dead letter's messages as new ones and removes the letter.
// A letter whose messages may have been sent needs force: the handset may get
// them twice. What is known to have been sent is never sent again.
func (in *Ingest) postReplay(w http.ResponseWriter, r *http.Request) error {
	force, err := flag(r, "force")
	if err != nil {
		return err
	}
	m, err := in.deadLetter(r)
	if err != nil {
		return err
	}
	var letter envelope.DeadLetter
	if err := json.Unmarshal(m.Data, &letter); err != nil || letter.Piece == nil {
		return problem(http.StatusConflict, codeConflict, "what could not be read cannot be replayed")
	}
	if !in.status.Ready() {
		return rebuilding()
	}
	skipped := in.leaveOutSent(&letter)
	if letter.Reason != envelope.DeadRefused && !force && len(letter.Piece.Messages) > 0 {
		return problem(http.StatusConflict, codeConflict, "it may have been sent; replay with force=true to risk sending it twice")
	}
	if in.tenants[letter.Piece.Tenant] == nil {
		return problem(http.StatusConflict, codeConflict, "its tenant is not configured any more")
	}
	made, err := in.replay(r.Context(), m.Seq, letter.Piece)
	if err != nil {
		return err
	}
	if err := in.bus.Delete(r.Context(), bus.DeadStream, m.Seq); err != nil {
		return unavailable(err)
	}
	in.log.InfoContext(r.Context(), "dead letter replayed", "dead", m.Seq, "tenant", letter.Tenant, "messages", len(made))
	answer := ReplayAnswer{Messages: len(made), Replayed: made, Skipped: skipped}
	if len(made) > 0 {
		answer.ID = made[0].ID
	}
	writeJSON(w, http.StatusAccepted, typeJSON, answer)
	return nil
}

// leaveOutSent takes the messages out of a letter that were sent, as is known by
// now, and counts them by status.
func (in *Ingest) leaveOutSent(letter *envelope.DeadLetter) map[envelope.Status]int {
	skipped := map[envelope.Status]int{}
	var open []envelope.Message
	for i, m := range letter.Piece.Messages {
		if s := in.sent(letter, i); s != "" {
			skipped[s]++
		} else {
			open = append(open, m)
		}
	}
	letter.Piece.Messages = open
	return skipped
}

// sent returns the status of a letter's message of which a report or a look-up
// has said since that the gateway took it; empty: none has, or it did not arrive.
// Statuses are forgotten before letters are; until the journal forgets too, it
// knows of an uncertain message that it was settled.
func (in *Ingest) sent(letter *envelope.DeadLetter, i int) envelope.Status {
	p := letter.Piece
	index := p.Messages[i].Index
	if m, ok := in.status.Message(p.Tenant, envelope.MessageID(p.ID, index)); ok {
		switch m.Status {
		case envelope.Submitted, envelope.Delivered:
			return m.Status
		case envelope.Uncertain: // its event may be on the way
		default:
			return ""
		}
	}
	if o := p.Origin; o != nil && letter.Reason == envelope.DeadUncertain {
		k := idempotency.Key{Stream: o.Stream, Epoch: o.Epoch, Seq: o.Seq, Index: uint32(index)}
		if in.journal.State(k).State == idempotency.Closed {
			return envelope.Submitted
		}
	}
	return ""
}

// replay stores each message of p as a new envelope of its own. A replay that
// fails half-way is repeated without harm within the bus's window: a message's
// second copy has the id of the first.
func (in *Ingest) replay(ctx context.Context, letter uint64, p *envelope.Piece) ([]Replayed, error) {
	made := []Replayed{}
	for i := range p.Messages {
		now := in.now()
		one := *p
		one.ID = ulid.MustNew(ulid.Timestamp(now), rand.Reader).String()
		one.Origin, one.Account, one.Route, one.SendAt, one.SupersedeKey = nil, "", nil, nil, ""
		one.Attempts, one.RetryOf = 0, 0
		one.AcceptedAt, one.ExpiresAt = now.UTC(), now.UTC().Add(envelope.DefaultTTL)
		one.ReplayOf = envelope.MessageID(p.ID, p.Messages[i].Index)
		one.Messages = []envelope.Message{p.Messages[i]}
		one.Messages[0].Index = 0
		var ack bus.Ack
		o, err := in.outgoing(&one, fmt.Sprintf("replay-%d-%s", letter, one.ReplayOf))
		if err == nil {
			ack, err = in.store(ctx, o, nil)
		}
		if err != nil {
			return nil, unavailable(err)
		}
		if ack.Duplicate {
			continue
		}
		origin, err := in.origin(ctx, ack.Stream, ack.Seq)
		if err != nil {
			return nil, unavailable(err)
		}
		in.status.Register(&one, origin)
		if err := in.tellAccepted(ctx, origin, &one); err != nil {
			return nil, unavailable(err)
		}
		made = append(made, Replayed{envelope.MessageID(one.ID, 0), one.ReplayOf})
	}
	return made, nil
}
