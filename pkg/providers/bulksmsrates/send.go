package bulksmsrates

import (
	"context"
	"errors"
	"net/http"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

const (
	singlePath = "/sms/send"
	bulkPath   = "/sms/bulk"
	jsonType   = "application/json"
)

// sendRequest is the body of both operations: a single send has To, a bulk one
// Recipients.
type sendRequest struct {
	To         string            `json:"to,omitempty"`
	Recipients []recipient       `json:"recipients,omitempty"`
	From       string            `json:"from"`
	Body       string            `json:"body"`
	Variables  map[string]string `json:"variables,omitempty"`
	ClientRef  string            `json:"client_ref"`
	Scheduled  string            `json:"scheduled_at,omitempty"`
	Validity   int               `json:"validity_minutes,omitempty"`
	Unicode    bool              `json:"unicode,omitempty"`
	Template   string            `json:"template_id,omitempty"`
}

type recipient struct {
	To        string            `json:"to"`
	Variables map[string]string `json:"variables,omitempty"`
}

// Send implements providers.Provider. One message goes by /sms/send, whose
// answer has an id of its own and says why a message is refused; several go by
// /sms/bulk, whose answer has one id for all.
func (p *provider) Send(ctx context.Context, b *providers.Batch) ([]providers.Result, error) {
	for i := range b.Messages {
		if b.Messages[i].Channel != "" {
			return p.sendWhatsApp(ctx, b)
		}
	}
	request, err := p.compose(b)
	if err != nil {
		return nil, err
	}
	body, err := httpapi.JSON(request)
	if err != nil {
		return nil, err
	}
	path := bulkPath
	if request.To != "" {
		path = singlePath
	}
	resp, err := p.do(ctx, httpapi.Request{Method: http.MethodPost, Path: path, ContentType: jsonType, Body: body, Start: b.Start, Fence: b.Fence})
	switch {
	case err != nil:
		return nil, err
	case resp.Status/100 != 2:
		e := p.failure(resp, len(b.Messages))
		if request.Template != "" {
			e = named(e)
		}
		return nil, e
	case path == singlePath:
		return p.readSingle(resp)
	}
	return p.readBulk(resp, b.Messages)
}

// errMixed guards against a text that reaches somebody else: the caller groups,
// and a mistake there must not be sent.
var errMixed = errors.New("bulksmsrates: messages of different group keys in one batch")

func (p *provider) compose(b *providers.Batch) (*sendRequest, error) {
	r := &sendRequest{From: b.Messages[0].From, ClientRef: b.ID}
	wires := make([]wire, len(b.Messages))
	same := true
	for i := range b.Messages {
		w, err := p.write(&b.Messages[i])
		if err != nil {
			return nil, alone(err, len(wires))
		}
		wires[i] = w
		same = same && w.body == wires[0].body
		if b.Messages[i].From != r.From || w.extras.key() != wires[0].extras.key() || !same && !p.mixes(w) {
			return nil, &providers.Error{Class: providers.RejectedHere, Bisect: true, Err: errMixed}
		}
	}
	x := wires[0].extras
	r.Validity, r.Unicode, r.Template = p.longest(b.Messages, x), x.unicode, x.template
	if x.scheduled.After(p.now()) {
		r.Scheduled = x.wire()
	}
	if len(wires) == 1 {
		w := wires[0].single()
		r.To, r.Body, r.Variables = b.Messages[0].To, w.body, w.values
		return r, nil
	}
	for i, w := range wires {
		if !same {
			w = w.whole()
		}
		r.Body = w.body
		r.Recipients = append(r.Recipients, recipient{b.Messages[i].To, w.values})
	}
	return r, nil
}

// longest returns the longest validity of the messages, in whose place 0 (the
// gateway's default) is the longest of all. They share a group key, and time
// has passed since it was made.
func (p *provider) longest(messages []providers.Message, x extras) int {
	most := 0
	for i := range messages {
		v := p.validity(&messages[i], x)
		if v == 0 {
			return 0
		}
		most = max(most, v)
	}
	return most
}

// alone says of a refusal of one message that the others of its batch may go.
func alone(err error, n int) error {
	var e *providers.Error
	if errors.As(err, &e) {
		e.Bisect = n > 1
	}
	return err
}
