package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

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
	Settled    int                  `json:"settled,omitempty"` // messages of which is known by now that they were sent
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
	all, err := flag(r, "settled")
	if err != nil {
		return err
	}
	account, reason := q.Get("account"), envelope.DeadReason(q.Get("reason"))
	switch reason {
	case "", envelope.DeadRefused, envelope.DeadUncertain, envelope.DeadPoison:
	default:
		return problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "reason must be refused, uncertain or poison")
	}
	wanted := func(v *DeadView) bool {
		open := all || v.Messages == 0 || v.Settled < v.Messages
		return open && (account == "" || account == v.Account) && (reason == "" || reason == v.Reason)
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
		v := in.deadView(m, false)
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
	writeJSON(w, http.StatusOK, typeJSON, in.deadView(m, true))
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

func (in *Ingest) deadView(m *bus.Msg, whole bool) DeadView {
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
			if in.sent(letter, i) != "" {
				v.Settled++
			}
		}
	}
	if whole {
		v.Letter = letter
	}
	return v
}
