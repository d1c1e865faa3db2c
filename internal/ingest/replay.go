package ingest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

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
	Skipped  map[envelope.Status]int `json:"skipped,omitempty"` // messages that were sent after all, or replayed before, by status
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
	if letter.Piece.Origin == nil { // of another version
		origin, err := in.origin(r.Context(), bus.DeadStream, m.Seq)
		if err != nil {
			return unavailable(err)
		}
		letter.Piece.Origin = &origin
	}
	made, err := in.replay(r.Context(), letter.Piece, skipped)
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

// replay stores each message of p as a new envelope of its own. Where it would
// have been stored first is made of where the buried message was: however often
// and from however many copies of a letter a message is replayed, the journal
// takes it for one. Those that a replay has dealt with already are counted in
// skipped, by their status.
func (in *Ingest) replay(ctx context.Context, p *envelope.Piece, skipped map[envelope.Status]int) ([]Replayed, error) {
	made := []Replayed{}
	for i := range p.Messages {
		origin := replayed(*p.Origin, p.Messages[i].Index)
		one := *p
		one.ID = envelopeID(p.AcceptedAt, origin)
		now := in.now()
		one.Origin, one.Account, one.Route, one.SendAt, one.SupersedeKey = &origin, "", nil, nil, ""
		one.Attempts, one.RetryOf = 0, 0
		one.AcceptedAt, one.ExpiresAt = now.UTC(), now.UTC().Add(envelope.DefaultTTL)
		one.ReplayOf = envelope.MessageID(p.ID, p.Messages[i].Index)
		one.Messages = []envelope.Message{p.Messages[i]}
		one.Messages[0].Index = 0
		if s := in.again(&one); s != "" {
			skipped[s]++
			continue
		}
		o, err := in.outgoing(&one, "replay-"+place(origin))
		if err == nil {
			_, err = in.store(ctx, o, nil)
		}
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

// again returns the status of a replayed message that was replayed before and has
// come further than the queue; empty: it has not.
func (in *Ingest) again(p *envelope.Piece) envelope.Status {
	k := idempotency.Key{Stream: p.Origin.Stream, Epoch: p.Origin.Epoch, Seq: p.Origin.Seq}
	if in.journal.State(k).State == idempotency.Free {
		return ""
	}
	if m, ok := in.status.Message(p.Tenant, envelope.MessageID(p.ID, 0)); ok {
		return m.Status
	}
	return envelope.Submitted
}

const (
	replayMark = "~" // before the stream of an origin: no stream is called so
	indexBits  = 14  // an envelope has 10,000 recipients at most
)

// replayed is the origin of a message's replay. A replay's own has no index to
// tell its messages apart: there is one.
func replayed(o envelope.Origin, index int) envelope.Origin {
	if !strings.HasPrefix(o.Stream, replayMark) {
		o.Seq = o.Seq<<indexBits | uint64(index)
	}
	o.Stream = replayMark + o.Stream
	return o
}
