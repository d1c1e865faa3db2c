package ingest

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Problem is an error answer (RFC 9457). Code and the members after it are
// extensions. It is also the error type of everything that ends in an answer.
type Problem struct {
	Type   string     `json:"type"`
	Title  string     `json:"title"`
	Status int        `json:"status"`
	Detail string     `json:"detail,omitempty"`
	Code   string     `json:"code,omitempty"`
	Field  string     `json:"field,omitempty"`
	Errors []Rejected `json:"errors,omitempty"`

	*Counts // NDJSON: what came of the lines before

	RetryAfter time.Duration `json:"-"`
	allow      string        // methods that are possible
	cause      error
}

// Counts says how many recipients were accepted and refused.
type Counts struct {
	Accepted int `json:"accepted"`
	Rejected int `json:"rejected"`
}

// Error returns the answer in one line.
func (p *Problem) Error() string {
	s := strconv.Itoa(p.Status) + " " + p.Code
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	return s
}

// Unwrap returns what is behind the answer; it is for the log, not the client.
func (p *Problem) Unwrap() error { return p.cause }

// problem returns an error answer. code is a stable word for programs.
func problem(status int, code, detail string) *Problem {
	return &Problem{Type: "urn:tuma:problem:" + code, Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// Codes of problems beside the codes of refusal.
const (
	codeUnauthorized = "unauthorized"
	codeForbidden    = "forbidden"
	codeNotFound     = "not_found"
	codeMethod       = "method_not_allowed"
	codeTooLarge     = "too_large"
	codeMediaType    = "unsupported_media_type"
	codePending      = "in_progress"
	codeUnavailable  = "unavailable"
	codeConflict     = "conflict"
	codeTimeout      = "timeout"
	codeInternal     = "internal"
)

// refusalProblem answers a refusal of a whole envelope.
func refusalProblem(status int, err error) *Problem {
	var r *envelope.Refusal
	if !errors.As(err, &r) {
		return unavailable(err)
	}
	p := problem(status, string(r.Code), r.Detail)
	p.Field = r.Field
	if r.Field != "" {
		p.Detail = r.Field + ": " + r.Detail
	}
	return p
}

// unavailable answers that the bus cannot store right now.
func unavailable(cause error) *Problem {
	p := problem(http.StatusServiceUnavailable, codeUnavailable, "the submission could not be stored; try again")
	if errors.Is(cause, bus.ErrFull) {
		p.Detail = "the queue is full; try again later"
	}
	p.RetryAfter, p.cause = time.Second, cause
	return p
}

// limited answers that the tenant's rate is used up.
func limited(wait time.Duration) *Problem {
	p := problem(http.StatusTooManyRequests, string(envelope.RateLimited), "the tenant's rate is used up")
	p.RetryAfter = wait
	return p
}

// fail writes an error answer and logs what is ours to mend.
func (in *Ingest) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *Problem
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &large):
		p = problem(http.StatusRequestEntityTooLarge, codeTooLarge, "the body is larger than "+strconv.FormatInt(large.Limit, 10)+" bytes")
	default:
		p = problem(http.StatusInternalServerError, codeInternal, "")
		p.cause = err
	}
	if p.Status >= http.StatusInternalServerError {
		in.log.WarnContext(r.Context(), "request failed", "status", p.Status, "route", r.Pattern, "error", p.cause)
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// writeJSON writes an answer. A client that is gone cannot be told anything, so
// errors of writing are dropped.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeWithin)) // who does not read is not waited for; tests' recorders have none
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}
