package smsscheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// sendRequest is the body of POST /sms.
type sendRequest struct {
	Text    string   `json:"message_text"`
	Stop    bool     `json:"message_stop"`
	Date    string   `json:"delivery_date"`
	Sender  int64    `json:"sender_id"`
	Numbers []string `json:"phone_numbers"` // "with the country prefix": the plus stays
}

// Send implements providers.Provider. A message whose number the answer does
// not list is Uncertain, under the request's id: a look-up will tell.
func (p *provider) Send(ctx context.Context, b *providers.Batch) ([]providers.Result, error) {
	body, err := p.compose(b.Messages)
	if err != nil {
		return nil, err
	}
	resp, err := p.http.Do(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/sms", Header: p.header,
		ContentType: jsonType, Body: body, Start: b.Start, Fence: b.Fence,
	})
	if err != nil {
		return nil, err
	}
	if resp.Status/100 == 2 {
		return p.read(resp, b.Messages)
	}
	e := p.failure(resp, len(b.Messages))
	own := refusal(resp, b.Messages)
	switch {
	case own == nil:
	case e.Class == providers.RejectedHere: // 400, as documented, or another 4xx that says no more
		return nil, own
	case resp.Status == http.StatusServiceUnavailable: // the API itself says so, not a proxy
		e.Class = providers.Unavailable
	}
	return nil, e
}

// errMixed guards against a text that reaches somebody else: the caller groups,
// and a mistake there must not be sent.
var errMixed = errors.New("smsscheduler: messages of different group keys in one batch")

func (p *provider) compose(messages []providers.Message) ([]byte, error) {
	var shared wire
	numbers := make([]string, len(messages))
	for i := range messages {
		w, err := p.write(&messages[i])
		if err != nil {
			return nil, alone(err, len(messages))
		}
		if i == 0 {
			shared = w
		}
		if w != shared {
			return nil, &providers.Error{Class: providers.RejectedHere, Bisect: true, Err: errMixed}
		}
		numbers[i] = messages[i].To
	}
	return httpapi.JSON(sendRequest{shared.text, shared.stop, p.date(shared.at), shared.sender, numbers})
}

// alone says of a refusal of one message that the others of its batch may go.
func alone(err error, n int) error {
	var e *providers.Error
	if errors.As(err, &e) {
		e.Bisect = n > 1
	}
	return err
}

func (p *provider) failure(resp *httpapi.Response, n int) *providers.Error {
	e := p.http.Failure(resp)
	e.Bisect = e.Bisect && n > 1
	return e
}

// read reads {"message_id": 123456, "sms_ids": {"+33612345678": [123456]}}.
func (p *provider) read(resp *httpapi.Response, messages []providers.Message) ([]providers.Result, error) {
	var a struct {
		ID  httpapi.Scalar  `json:"message_id"`
		IDs json.RawMessage `json:"sms_ids"`
	}
	if err := json.Unmarshal(resp.Body, &a); err != nil || !validID(string(a.ID)) {
		if e := refusal(resp, messages); e != nil && a.ID == "" { // under a 2xx, and nothing was made
			return nil, e
		}
		return nil, p.failure(resp, len(messages))
	}
	listed := partsOf(a.IDs, messages)
	results := make([]providers.Result, len(messages))
	for i, m := range messages {
		results[i] = providers.Result{Class: providers.Accepted, ProviderID: string(a.ID)}
		switch parts := listed[m.To]; {
		case parts == 0:
			results[i].Class = providers.Uncertain
			results[i].Detail = "the answer does not list this number"
		case parts > 1: // one may be a text that is sent in parts under one id
			results[i].Segments = parts
		}
	}
	return results, nil
}

// partsOf returns how many ids sms_ids has for each number, in E.164. An empty
// PHP map comes as [], and lists nobody. A number that is listed alone is the only
// one that was asked for if it ends like it: the document's own request has national
// numbers and a zero behind the country code.
func partsOf(raw json.RawMessage, messages []providers.Message) map[string]int {
	var ids map[string]json.RawMessage
	if err := json.Unmarshal(raw, &ids); err != nil {
		return nil
	}
	listed := make(map[string]int, len(ids))
	for spelled, list := range ids {
		switch string(bytes.Join(bytes.Fields(list), nil)) {
		case "[]", "null", "{}", `""`, "0", "false":
			continue // none was made for it
		}
		parts := 1
		if several := []json.RawMessage{}; json.Unmarshal(list, &several) == nil {
			parts = len(several)
		}
		n := httpapi.E164(spelled)
		if len(ids) == 1 && len(messages) == 1 && ending(spelled) == ending(messages[0].To) {
			n = messages[0].To
		}
		if n != "" {
			listed[n] += parts
		}
	}
	return listed
}

// ending returns the last digits of a number, which national forms keep.
func ending(number string) string {
	const kept = 8
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, number)
	return digits[max(len(digits)-kept, 0):]
}

// validID reports whether s is a whole number as the document shows ids; a
// number in exponents was mangled on its way.
func validID(s string) bool {
	id, err := strconv.ParseInt(s, 10, 64)
	return err == nil && id > 0
}

// refusal reads {"errors": {"phone_numbers": ["…"], …}}, or a list or a sentence
// that names no field; nil when the answer is not of that shape. Nothing of the
// request was taken.
func refusal(resp *httpapi.Response, messages []providers.Message) *providers.Error {
	var a struct {
		Errors json.RawMessage `json:"errors"`
	}
	var byField map[string]json.RawMessage
	if json.Unmarshal(resp.Body, &a) != nil {
		return nil
	}
	if json.Unmarshal(a.Errors, &byField) != nil && len(texts(a.Errors)) > 0 {
		byField = map[string]json.RawMessage{"errors": a.Errors}
	}
	if len(byField) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(byField))
	e := &providers.Error{Status: resp.Status, Code: httpapi.Trim(strings.Join(names, ",")), Detail: httpapi.Trim(sentences(byField, names))}
	e.Class, e.Bisect = providers.Rejected, len(messages) > 1
	for _, name := range names {
		m, known := fields[name]
		if !known {
			m = meaning{providers.RejectedHere, true}
		}
		if m.class != providers.Rejected {
			e.Class = m.class
		}
		e.Bisect = e.Bisect && m.bisect
	}
	// Where numbers alone are to blame, and are named, the others need no search.
	if e.Class == providers.Rejected {
		e.BadNumbers = named(byField["phone_numbers"], messages)
		e.Bisect = e.Bisect && len(e.BadNumbers) == 0
	}
	return e
}

// spelled is what may be a number in a sentence.
var spelled = regexp.MustCompile(`\+?\d(?:[ .()-]?\d){5,}`)

// named returns those of the messages' numbers that the sentences repeat. It
// looks for the numbers and not at the words around them.
func named(sentences json.RawMessage, messages []providers.Message) []string {
	found := map[string]bool{}
	for _, s := range texts(sentences) {
		for _, n := range spelled.FindAllString(s, -1) {
			found[httpapi.E164(n)] = true
		}
	}
	var bad []string
	for _, m := range messages {
		if found[m.To] {
			bad = append(bad, m.To)
		}
	}
	return bad
}

func sentences(errors map[string]json.RawMessage, names []string) string {
	var all []string
	for _, name := range names {
		all = append(all, texts(errors[name])...)
	}
	return strings.Join(all, "; ")
}

// texts returns a list of sentences, or the only one.
func texts(raw json.RawMessage) []string {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return []string{s}
	}
	return nil
}
