package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

const (
	linesAtOnce   = 64   // of one request, under way
	maxLineErrors = 1000 // that a summary lists
	writeWithin   = 30 * time.Second
)

// errStopping is why a body is not read to its end.
var errStopping = errors.New("ingest: stopping")

// line is one envelope of an NDJSON body and what became of it.
type line struct {
	number int
	data   []byte
	done   chan struct{} // closed once the rest is set
	answer *Answer
	err    *Problem
}

// postLines takes a body of one envelope a line, of any length: linesAtOnce
// lines are in memory at a time, and a client that does not read its answer, or
// is over its rate, is read from no further. A line that is refused does not
// stop the others; the bus being away does.
func (in *Ingest) postLines(w http.ResponseWriter, r *http.Request, s submission) error {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	s.wait = true
	var out lineSink = &summary{dryRun: s.dryRun, batches: map[string]int{}}
	if accepts(r, typeNDJSON) {
		out = newLineStream(w)
	}
	order := make(chan *line, linesAtOnce)
	told := make(chan struct{})
	go func() { // ends when order is closed, which is waited for below
		defer close(told)
		for l := range order {
			<-l.done
			if !out.add(l) {
				stop()
			}
		}
	}()
	readErr := in.readLines(ctx, w, r, func(l *line) {
		order <- l
		go in.takeLine(ctx, s, l)
	})
	close(order)
	<-told
	return out.end(w, readErr)
}

// takeLine submits one line.
func (in *Ingest) takeLine(ctx context.Context, s submission, l *line) {
	defer close(l.done)
	rec, err := in.submitLine(ctx, s, l)
	l.data = nil
	if err == nil {
		l.answer = rec.answer(s.dryRun)
		return
	}
	if !errors.As(err, &l.err) {
		l.err = problem(http.StatusInternalServerError, codeInternal, "")
		l.err.cause = err
	}
}

func (in *Ingest) submitLine(ctx context.Context, s submission, l *line) (rec *receipt, err error) {
	if l.data == nil {
		return nil, problem(http.StatusRequestEntityTooLarge, codeTooLarge, "the line is longer than "+strconv.Itoa(maxLine)+" bytes")
	}
	if s.env, err = envelope.Decode(l.data); err != nil {
		return nil, decodeProblem(err)
	}
	if s.key != "" {
		s.key += "-" + strconv.Itoa(l.number)
	}
	if s.key, err = agree(s.key, s.env.IdempotencyKey); err != nil {
		return nil, err
	}
	rec, err = in.submit(ctx, s)
	in.countRefused(s, rec, err)
	return rec, err
}

// readLines calls take for each line that is not blank. A line that is too long
// is passed over and told by a nil data.
func (in *Ingest) readLines(ctx context.Context, w http.ResponseWriter, r *http.Request, take func(*line)) error {
	rc := http.NewResponseController(w)
	b := bufio.NewReaderSize(r.Body, 64<<10)
	for number := 1; ; number++ {
		select {
		case <-ctx.Done():
			return nil
		case <-service.Stopping(ctx):
			return unavailable(errStopping)
		default:
		}
		_ = rc.SetReadDeadline(time.Now().Add(bodyWithin)) // tests' recorders have no deadlines
		data, err := readLine(b)
		if err != nil && !errors.Is(err, io.EOF) {
			return bodyProblem(err)
		}
		if data == nil || !blank(data) {
			take(&line{number: number, data: data, done: make(chan struct{})})
		}
		if err != nil {
			return nil
		}
	}
}

// readLine returns the next line, never nil unless it is longer than maxLine.
func readLine(b *bufio.Reader) ([]byte, error) {
	data := []byte{}
	for {
		part, err := b.ReadSlice('\n')
		if data != nil && len(data)+len(part) <= maxLine {
			data = append(data, part...)
		} else {
			data = nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return data, err
		}
	}
}

func blank(data []byte) bool {
	for _, c := range data {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

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

func newLineStream(w http.ResponseWriter) *lineStream {
	s := &lineStream{w: w, rc: http.NewResponseController(w)}
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
	a := LineAnswer{Line: l.number, Status: http.StatusAccepted, Answer: l.answer}
	if l.err != nil {
		list := l.rejects()
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
