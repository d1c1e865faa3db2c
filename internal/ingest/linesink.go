package ingest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// rejects lists the recipients that are refused on this line; a line that could
// not be read counts as one.
func (l *line) rejects() []Rejected {
	var list []Rejected
	switch {
	case l.answer != nil:
		list = l.answer.Errors
	case len(l.err.Errors) > 0:
		list = l.err.Errors
	default:
		list = []Rejected{{Code: envelope.Code(l.err.Code), Detail: l.err.Detail}}
	}
	for i := range list {
		list[i].Line = l.number
	}
	return list
}

// fatal reports whether the lines after this one would fare no better.
func (l *line) fatal() bool { return l.err != nil && l.err.Status >= http.StatusInternalServerError }

// lineSink tells what became of the lines, in their order.
type lineSink interface {
	add(l *line) (goOn bool)
	end(w http.ResponseWriter, readErr error) error
}

// summary is the answer that sums up.
type summary struct {
	Counts
	errors  []Rejected
	batches map[string]int
	dryRun  bool
	failed  *line
}

func (s *summary) add(l *line) bool {
	if l.fatal() {
		if s.failed == nil {
			s.failed = l
		}
		return false
	}
	list := l.rejects()
	s.Rejected += len(list)
	if l.answer != nil {
		s.Accepted += l.answer.Accepted
		for account, n := range l.answer.Batches {
			s.batches[account] += n
		}
	}
	s.errors = append(s.errors, list[:min(len(list), maxLineErrors-len(s.errors))]...)
	return true
}

func (s *summary) end(w http.ResponseWriter, readErr error) error {
	var p *Problem
	switch {
	case s.failed != nil:
		p = problem(s.failed.err.Status, s.failed.err.Code, "line "+strconv.Itoa(s.failed.number)+" and perhaps lines after it were not stored: "+s.failed.err.Detail)
		p.RetryAfter, p.cause = s.failed.err.RetryAfter, s.failed.err.cause
	case errors.As(readErr, &p):
	case readErr != nil:
		return readErr
	case s.Accepted == 0 && s.Rejected == 0:
		p = problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "the body has no line")
	case s.Accepted == 0:
		p = problem(http.StatusUnprocessableEntity, string(s.errors[0].Code), "every recipient is refused; the first: "+s.errors[0].Detail)
	}
	if p != nil {
		p.Errors, p.Counts = s.errors, &s.Counts
		return p
	}
	a := Answer{Counts: s.Counts, Errors: s.errors}
	status := http.StatusAccepted
	if a.Errors == nil {
		a.Errors = []Rejected{}
	}
	if s.dryRun {
		status, a.Batches = http.StatusOK, s.batches
	}
	writeJSON(w, status, typeJSON, struct {
		Answer
		Messages *struct{} `json:"messages,omitempty"` // a summary lists none
	}{Answer: a})
	return nil
}

// lineStream answers one line for each, as soon as it and those before it are
// stored. Its status is 200: it is sent before anything is.
type lineStream struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	well    int // status of a line that is accepted
	started bool
	broken  bool
}

// LineAnswer is one line of a streamed answer.
type LineAnswer struct {
	Line   int    `json:"line"`
	Status int    `json:"status"` // as if the line had been a request of its own
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
	*Answer
}

func newLineStream(w http.ResponseWriter, dryRun bool) *lineStream {
	s := &lineStream{w: w, rc: http.NewResponseController(w), well: http.StatusAccepted}
	if dryRun {
		s.well = http.StatusOK
	}
	_ = s.rc.EnableFullDuplex() // where it is not supported the answers come after the body
	return s
}

func (s *lineStream) add(l *line) bool {
	if s.broken {
		return false
	}
	if !s.started {
		s.started = true
		s.w.Header().Set("Content-Type", typeNDJSON)
		s.w.WriteHeader(http.StatusOK)
	}
	a := LineAnswer{Line: l.number, Status: s.well, Answer: l.answer}
	list := l.rejects()
	if l.err != nil {
		a.Status, a.Code, a.Detail = l.err.Status, l.err.Code, l.err.Detail
		a.Answer = &Answer{Counts: Counts{0, len(list)}, Messages: []AcceptedMessage{}, Errors: list}
	}
	s.write(a)
	return !s.broken && !l.fatal()
}

func (s *lineStream) write(v any) {
	data, err := json.Marshal(v)
	if err == nil {
		_ = s.rc.SetWriteDeadline(time.Now().Add(writeWithin))
		_, err = s.w.Write(append(data, '\n'))
	}
	if err == nil {
		err = s.rc.Flush()
	}
	s.broken = s.broken || err != nil && !errors.Is(err, http.ErrNotSupported)
}

func (s *lineStream) end(w http.ResponseWriter, readErr error) error {
	if !s.started {
		if readErr != nil {
			return readErr
		}
		w.Header().Set("Content-Type", typeNDJSON)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	var p *Problem
	if errors.As(readErr, &p) {
		s.write(p)
	}
	return nil
}
