package providers

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ErrAgain is wrapped by an Error of class Unavailable. It says that the request's slot
// was spent on something that has to come first (a new token), or that a token has
// just lapsed: nothing was sent, nothing is wrong, and the next try may come at once.
var ErrAgain = errors.New("providers: something had to come first")

// Error is a whole request's failure, or a refusal of a message before it was
// sent. Its Class says whether anything may have been sent.
type Error struct {
	Class      Class
	Status     int           // HTTP status, 0 when there was no answer
	Code       string        // the gateway's own code, verbatim
	Detail     string        // the gateway's own words, trimmed to 200 bytes, free of texts, numbers and secrets
	RetryAfter time.Duration // with Throttled, Unavailable and Misconfigured; 0: not told
	BadNumbers []string      // E.164 numbers that the gateway names as the cause; the others were not sent either
	Bisect     bool          // the cause is one or more messages that the gateway does not name: smaller batches will tell
	Need       Need
	OptOut     bool // refused because BadNumbers, or the batch's only one, want nothing from this account, or may get nothing
	Err        error
}

// Error returns class, status, code and the gateway's words.
func (e *Error) Error() string {
	s := e.Class.String()
	if e.Status != 0 {
		s = fmt.Sprintf("%s (http %d)", s, e.Status)
	}
	if e.Code != "" {
		s += " " + e.Code
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Words is what there is to tell a person of the failure: the gateway's own words,
// else the status that it answered, else that there was no answer. It is free of
// texts, numbers and secrets, as Detail is; Err is not in it.
func (e *Error) Words() string {
	switch {
	case e.Detail != "":
		return e.Detail
	case e.Status != 0:
		return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.Status, http.StatusText(e.Status)))
	}
	return "no answer"
}
