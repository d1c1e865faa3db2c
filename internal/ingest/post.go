package ingest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Answer is what a submission is answered with.
type Answer struct {
	ID string `json:"id,omitempty"` // envelope; none for a dry run
	Counts
	Messages []AcceptedMessage `json:"messages"`
	Errors   []Rejected        `json:"errors"`
	Batches  map[string]int    `json:"batches,omitempty"` // dry run: requests by account
}

// AcceptedMessage is one accepted recipient.
type AcceptedMessage struct {
	ID       string `json:"id,omitempty"`
	To       string `json:"to"`
	Segments int    `json:"segments"`
	Provider string `json:"provider,omitempty"` // dry run: the account that would be tried first
}

var errOptOuts = errors.New("ingest: who has opted out is not known yet")

func (in *Ingest) postMessages(w http.ResponseWriter, r *http.Request) error {
	typ, err := mediaType(r)
	if err != nil {
		return err
	}
	if in.optOuts != nil {
		select {
		case <-in.optOuts:
		default:
			return unavailable(errOptOuts)
		}
	}
	s := submission{tenant: tenant(r.Context())}
	leave, err := in.enter(r, s.tenant.Name)
	if err != nil {
		return err
	}
	defer leave()
	if s.dryRun, err = dryRun(r); err != nil {
		return err
	}
	if s.key, err = idempotencyKey(r); err != nil {
		return err
	}
	ctx, trace, end := in.span(r.Context(), "submit", traceparent(r.Header.Get("traceparent")))
	s.trace = trace
	if typ == typeNDJSON {
		err = in.postLines(ctx, w, r, s)
	} else {
		err = in.postOne(ctx, w, r, s)
	}
	end(err)
	return err
}

func (in *Ingest) postOne(ctx context.Context, w http.ResponseWriter, r *http.Request, s submission) error {
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	if s.env, err = envelope.Decode(data); err != nil {
		return decodeProblem(err)
	}
	if s.key, err = agree(s.key, s.env.IdempotencyKey); err != nil {
		return err
	}
	rec, err := in.submit(ctx, s)
	in.countRefused(s, rec, err)
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if s.dryRun {
		status = http.StatusOK
	}
	writeJSON(w, status, typeJSON, rec.answer(s.dryRun))
	return nil
}

// countRefused counts what is refused of a submission that was understood.
func (in *Ingest) countRefused(s submission, rec *receipt, err error) {
	var p *Problem
	switch {
	case s.dryRun:
	case err == nil:
		in.refused(len(rec.refused))
	case errors.As(err, &p):
		in.refused(len(p.Errors))
	}
}

// answer tells a receipt.
func (r *receipt) answer(dryRun bool) *Answer {
	p := r.piece
	a := &Answer{Counts: Counts{len(p.Messages), len(r.refused)}, Errors: r.refused, Messages: make([]AcceptedMessage, len(p.Messages))}
	if a.Errors == nil {
		a.Errors = []Rejected{}
	}
	for i := range p.Messages {
		m := &p.Messages[i]
		a.Messages[i] = AcceptedMessage{To: m.To, Segments: m.Segments}
		if dryRun {
			a.Messages[i].Provider = r.accounts[m.Index]
		} else {
			a.Messages[i].ID = envelope.MessageID(p.ID, m.Index)
		}
	}
	if dryRun {
		a.Batches = r.batches
	} else {
		a.ID = p.ID
	}
	return a
}

// exact is the most bytes that room is made for because a client says that they
// will come.
const exact = 64 << 10

// readBody reads a JSON body within its size and time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// Not every writer has deadlines (tests' recorders have none); the server's do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWithin))
	if r.ContentLength < 0 || r.ContentLength > exact {
		data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return nil, bodyProblem(err)
		}
		return data, nil
	}
	data := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, data); err != nil {
		return nil, bodyProblem(err)
	}
	return data, nil
}

// bodyProblem answers a body that could not be read to its end.
func bodyProblem(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem(http.StatusRequestTimeout, codeTimeout, "the body did not arrive in time")
	}
	return problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "the body could not be read to its end")
}

// decodeProblem answers what Decode refuses: 400, but too many recipients, of
// which the rest is fine, 422.
func decodeProblem(err error) error {
	var r *envelope.Refusal
	if errors.As(err, &r) && r.Code == envelope.TooManyRecipients {
		p := refusalProblem(http.StatusUnprocessableEntity, err)
		p.Errors = []Rejected{rejected(envelope.MaxRecipients, "", err)} // where it goes too far
		return p
	}
	return refusalProblem(http.StatusBadRequest, err)
}

// idempotencyKey returns the header's key.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) > 1 {
		return "", problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "Idempotency-Key is given twice")
	}
	if len(values) == 0 {
		return "", nil
	}
	if values[0] == "" {
		return "", problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "Idempotency-Key is empty")
	}
	if err := envelope.CheckKey("Idempotency-Key", values[0]); err != nil {
		return "", refusalProblem(http.StatusBadRequest, err)
	}
	return values[0], nil
}

// agree returns the one key that header and field name.
func agree(header, field string) (string, error) {
	if header != "" && field != "" && header != field {
		p := problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "the header Idempotency-Key and the field idempotency_key differ")
		p.Field = "idempotency_key"
		return "", p
	}
	if header != "" {
		return header, nil
	}
	return field, nil
}

// dryRun reads the flag of that name. One without a value does not count as false:
// whoever wrote it does not want anything sent.
func dryRun(r *http.Request) (bool, error) {
	if q := r.URL.Query(); q.Has("dry_run") && q.Get("dry_run") == "" {
		return false, problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "dry_run must be true or false")
	}
	return flag(r, "dry_run")
}

// flag reads a boolean of the query.
func flag(r *http.Request, name string) (bool, error) {
	if r.URL.RawQuery == "" {
		return false, nil
	}
	v := r.URL.Query().Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), name+" must be true or false")
	}
	return b, nil
}

// traceparent returns a W3C traceparent if s is one, else "". An invalid one is
// no reason to refuse a message.
func traceparent(s string) string {
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return ""
	}
	for _, part := range []string{s[3:35], s[36:52], s[53:]} {
		for i := range len(part) {
			if c := part[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
				return ""
			}
		}
	}
	return s
}
