package ingest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// DeadView is a dead letter as operators see it. Letter is told for one alone.
type DeadView struct {
	ID         string               `json:"id"`
	Time       time.Time            `json:"time"`
	Reason     envelope.DeadReason  `json:"reason"`
	Account    string               `json:"account"`
	Tenant     string               `json:"tenant,omitempty"`
	EnvelopeID string               `json:"envelope_id,omitempty"`
	Messages   int                  `json:"messages"`
	MessageIDs []string             `json:"message_ids,omitempty"`
	Error      *envelope.EventError `json:"error,omitempty"`
	Letter     *envelope.DeadLetter `json:"letter,omitempty"`
}

// DeadPage is a page of dead letters, newest first.
type DeadPage struct {
	Dead []DeadView `json:"dead"`
	Next string     `json:"next,omitempty"` // cursor of the next page; absent on the last
}

const (
	maxDeadPage = 1000
	deadWindow  = 1000 // sequences that are read at once
	deadWindows = 50   // that one request looks through, if a filter finds little
)

func (in *Ingest) getDeadLetters(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit", 100, maxDeadPage)
	if err != nil {
		return err
	}
	state, err := in.bus.State(r.Context(), bus.DeadStream)
	if err != nil {
		return unavailable(err)
	}
	q := r.URL.Query()
	before := state.LastSeq + 1
	if c := q.Get("cursor"); c != "" {
		if before, err = strconv.ParseUint(c, 10, 64); err != nil || before == 0 {
			return problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "cursor is none of ours")
		}
	}
	wanted := func(v *DeadView) bool {
		account, reason := q.Get("account"), envelope.DeadReason(q.Get("reason"))
		return (account == "" || account == v.Account) && (reason == "" || reason == v.Reason)
	}
	page := DeadPage{Dead: []DeadView{}}
	for range deadWindows {
		if before <= state.FirstSeq || len(page.Dead) == limit {
			break
		}
		if before, err = in.deadBefore(r.Context(), before, state.FirstSeq, limit, wanted, &page); err != nil {
			return unavailable(err)
		}
	}
	if before > state.FirstSeq {
		page.Next = strconv.FormatUint(before, 10)
	}
	writeJSON(w, http.StatusOK, typeJSON, page)
	return nil
}

// deadBefore adds the letters of one window below before to the page, newest
// first, and returns where to go on.
func (in *Ingest) deadBefore(ctx context.Context, before, first uint64, limit int, wanted func(*DeadView) bool, page *DeadPage) (uint64, error) {
	from := max(first, before-min(before, deadWindow))
	var found []*bus.Msg
	err := in.bus.Range(ctx, bus.DeadStream, from, int(before-from), func(m *bus.Msg) {
		if m.Seq < before {
			found = append(found, m)
		}
	})
	if err != nil {
		return before, err
	}
	for _, m := range slices.Backward(found) {
		v := deadView(m, false)
		if !wanted(&v) {
			continue
		}
		page.Dead = append(page.Dead, v)
		if len(page.Dead) == limit {
			return m.Seq, nil
		}
	}
	return from, nil
}

func (in *Ingest) getDeadLetter(w http.ResponseWriter, r *http.Request) error {
	m, err := in.deadLetter(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, typeJSON, deadView(m, true))
	return nil
}

func (in *Ingest) deleteDeadLetter(w http.ResponseWriter, r *http.Request) error {
	m, err := in.deadLetter(r)
	if err != nil {
		return err
	}
	if err := in.bus.Delete(r.Context(), bus.DeadStream, m.Seq); err != nil {
		return unavailable(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deadLetter reads the letter that a request names.
func (in *Ingest) deadLetter(r *http.Request) (*bus.Msg, error) {
	missing := problem(http.StatusNotFound, codeNotFound, "there is no such dead letter")
	seq, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || seq == 0 {
		return nil, missing
	}
	m, err := in.bus.Get(r.Context(), bus.DeadStream, seq)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return m, nil
}

func deadView(m *bus.Msg, whole bool) DeadView {
	v := DeadView{ID: strconv.FormatUint(m.Seq, 10), Time: m.Time}
	letter := new(envelope.DeadLetter)
	if err := json.Unmarshal(m.Data, letter); err != nil {
		v.Reason, v.Error = envelope.DeadPoison, &envelope.EventError{Code: codeInternal, Detail: "the letter cannot be read"}
		return v
	}
	v.Time, v.Reason, v.Account, v.Tenant, v.Error = letter.Time, letter.Reason, letter.Account, letter.Tenant, letter.Error
	if p := letter.Piece; p != nil {
		v.EnvelopeID, v.Messages = p.ID, len(p.Messages)
		for i := range p.Messages {
			v.MessageIDs = append(v.MessageIDs, envelope.MessageID(p.ID, p.Messages[i].Index))
		}
	}
	if whole {
		v.Letter = letter
	}
	return v
}

// Replayed is a message that a replay made.
type Replayed struct {
	ID       string `json:"id"`
	ReplayOf string `json:"replay_of"`
}

// postReplay sends a dead letter's messages as new ones and removes the letter.
// A letter whose messages may have been sent needs force: the handset may get
// them twice.
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
	if letter.Reason != envelope.DeadRefused && !force {
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
	answer := struct {
		ID       string     `json:"id"` // of the first new message
		Messages int        `json:"messages"`
		Replayed []Replayed `json:"replayed"`
	}{Messages: len(made), Replayed: made}
	if len(made) > 0 {
		answer.ID = made[0].ID
	}
	writeJSON(w, http.StatusAccepted, typeJSON, answer)
	return nil
}

// replay stores each message of p as a new envelope of its own. A replay that
// fails half-way is repeated without harm within the bus's window: a message's
// second copy has the id of the first.
func (in *Ingest) replay(ctx context.Context, letter uint64, p *envelope.Piece) ([]Replayed, error) {
	var made []Replayed
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
		ack, err := in.storeWhole(ctx, &one, fmt.Sprintf("replay-%d-%s", letter, one.ReplayOf), "")
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
