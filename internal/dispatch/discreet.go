package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// withheld stands for a gateway's words that repeat what it was told: they go
// into logs, spans and events, and to operators who may not read the messages.
const withheld = "(withheld: the gateway's words repeat the message)"

// quoted is how much of a text makes a quotation. Shorter runs are what every
// sentence has; a text that is shorter is one as a whole.
const (
	quoted   = 12
	shortest = 4
)

// request sends a batch through the account's adapter and sees to it that the
// answer gives away neither text nor number. An adapter that panics has said
// nothing: the messages may have been sent.
func (a *account) request(ctx context.Context, b *providers.Batch) (results []providers.Result, err error) {
	defer func() {
		if v := recover(); v != nil { // its words may quote a message
			results, err = nil, &providers.Error{Class: providers.Uncertain, Detail: "the adapter failed on the answer", Err: fmt.Errorf("dispatch: panic of %T", v)}
		}
	}()
	results, err = a.o.Provider.Send(ctx, b)
	var e *providers.Error
	if errors.As(err, &e) && (repeats(e.Detail, b.Messages) || repeats(e.Code, b.Messages)) {
		discreet := *e
		discreet.Code, discreet.Detail = "", withheld
		err = &discreet
	}
	for i := range min(len(results), len(b.Messages)) {
		r := &results[i]
		if of := b.Messages[i : i+1]; repeats(r.Detail, of) || repeats(r.Code, of) {
			r.Code, r.Detail = "", withheld
		}
	}
	return results, err
}

// repeats reports whether words quote the text, a value or the number of one of
// the messages.
func repeats(words string, msgs []providers.Message) bool {
	if len(words) < shortest {
		return false
	}
	runs := make(map[string]struct{}, max(0, len(words)-quoted+1))
	for i := 0; i+quoted <= len(words); i++ {
		runs[words[i:i+quoted]] = struct{}{}
	}
	before := ""
	for i := range msgs {
		m := &msgs[i]
		if m.Text != before && quotes(words, runs, m.Text) { // they mostly share one
			return true
		}
		before = m.Text
		if to := strings.TrimPrefix(m.To, "+"); to != "" && strings.Contains(words, to) {
			return true
		}
		for _, v := range m.Variables {
			if quotes(words, runs, v) {
				return true
			}
		}
	}
	return false
}

func quotes(words string, runs map[string]struct{}, text string) bool {
	if len(text) < quoted {
		return len(text) >= shortest && strings.Contains(words, text)
	}
	for i := 0; i+quoted <= len(text); i++ {
		if _, ok := runs[text[i:i+quoted]]; ok {
			return true
		}
	}
	return false
}
