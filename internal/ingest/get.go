package ingest

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

func (in *Ingest) getMessage(w http.ResponseWriter, r *http.Request) error {
	var m status.Message
	if err := in.known(r.Context(), "message", func() (ok bool) {
		m, ok = in.status.Message(tenant(r.Context()).Name, r.PathValue("id"))
		return ok
	}); err != nil {
		return err
	}
	in.explain(&m)
	writeJSON(w, http.StatusOK, typeJSON, m)
	return nil
}

func (in *Ingest) getEnvelope(w http.ResponseWriter, r *http.Request) error {
	var e status.Envelope
	if err := in.known(r.Context(), "envelope", func() (ok bool) {
		e, ok = in.status.Envelope(tenant(r.Context()).Name, r.PathValue("id"))
		return ok
	}); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, typeJSON, e)
	return nil
}

// MessagePage is a page of an envelope's messages.
type MessagePage struct {
	Messages []status.Message `json:"messages"`
	Next     string           `json:"next,omitempty"` // cursor of the next page; absent on the last
}

func (in *Ingest) getEnvelopeMessages(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	filter := envelope.Status(q.Get("status"))
	if filter != "" && !slices.Contains(allStatuses(), filter) {
		return problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "status is none of ours")
	}
	if c := q.Get("cursor"); c != "" && !status.IsCursor(c) {
		return problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "cursor is none of ours")
	}
	limit, err := number(r, "limit", 0, status.MaxPage)
	if err != nil {
		return err
	}
	var page []status.Message
	var next string
	if err := in.known(r.Context(), "envelope", func() (ok bool) {
		page, next, ok = in.status.Messages(tenant(r.Context()).Name, r.PathValue("id"), filter, q.Get("cursor"), limit)
		return ok
	}); err != nil {
		return err
	}
	for i := range page {
		in.explain(&page[i])
	}
	writeJSON(w, http.StatusOK, typeJSON, MessagePage{page, next})
	return nil
}

// known looks for something of the caller's, and once more after all that anybody
// has stored has been read. If it is not there, the error is the answer: 404, but
// 503 while nobody can tell: the statuses are being rebuilt, or the bus cannot be
// asked for what others have stored.
func (in *Ingest) known(ctx context.Context, what string, look func() bool) error {
	if look() {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	err := in.status.Refresh(within, tenant(ctx).Name)
	switch {
	case look():
		return nil
	case err != nil:
		return rebuilding()
	}
	return problem(http.StatusNotFound, codeNotFound, "there is no such "+what)
}

// rebuilding answers what nobody can tell right now.
func rebuilding() *Problem {
	p := problem(http.StatusServiceUnavailable, codeUnavailable, "statuses are being rebuilt; try again")
	p.RetryAfter = statusRetry
	return p
}

// explain says what the statuses alone do not know of a message that waits.
func (in *Ingest) explain(m *status.Message) {
	switch {
	case m.Waiting == nil || m.Waiting.Reason != "queue" || m.Provider == "":
	case in.journal.Paused(m.Provider):
		m.Waiting.Reason = "paused"
	default:
		m.Waiting.Reason, m.Waiting.Until = in.waits(m.Provider)
	}
}

func allStatuses() []envelope.Status {
	return []envelope.Status{
		envelope.Accepted, envelope.Scheduled, envelope.Submitted, envelope.Uncertain, envelope.Delivered,
		envelope.Undelivered, envelope.Rejected, envelope.Failed, envelope.Expired, envelope.Canceled,
	}
}

// number reads a number of the query; absent is otherwise.
func number(r *http.Request, name string, otherwise, most int) (int, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), name+" must be a number from 1 to "+strconv.Itoa(most))
	}
	return n, nil
}
