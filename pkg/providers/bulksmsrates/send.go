package bulksmsrates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

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
	Validity   int               `json:"validity_minutes,omitempty"`
}

type recipient struct {
	To        string            `json:"to"`
	Variables map[string]string `json:"variables,omitempty"`
}

// Send implements providers.Provider. One message goes by /sms/send, whose
// answer has an id of its own and says why a message is refused; several go by
// /sms/bulk, whose answer has one id for all.
func (p *provider) Send(ctx context.Context, b *providers.Batch) ([]providers.Result, error) {
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
	resp, err := p.http.Do(ctx, httpapi.Request{
		Method: http.MethodPost, Path: path,
		Header: p.header, ContentType: jsonType, Body: body, Start: b.Start, Fence: b.Fence,
	})
	switch {
	case err != nil:
		return nil, err
	case resp.Status/100 != 2:
		return nil, p.failure(resp, len(b.Messages))
	case path == singlePath:
		return p.readSingle(resp)
	}
	return p.readBulk(resp, len(b.Messages))
}

// errMixed guards against a text that reaches somebody else: the caller groups,
// and a mistake there must not be sent.
var errMixed = errors.New("bulksmsrates: messages of different group keys in one batch")

func (p *provider) compose(b *providers.Batch) (*sendRequest, error) {
	r := &sendRequest{From: b.Messages[0].From, ClientRef: b.ID, Validity: p.longest(b.Messages)}
	wires := make([]wire, len(b.Messages))
	same := true
	for i := range b.Messages {
		w, err := write(&b.Messages[i])
		if err != nil {
			return nil, alone(err, len(wires))
		}
		wires[i] = w
		same = same && w.body == wires[0].body
		if b.Messages[i].From != r.From || !same && !p.wholeText {
			return nil, &providers.Error{Class: providers.RejectedHere, Bisect: true, Err: errMixed}
		}
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
func (p *provider) longest(messages []providers.Message) int {
	most := 0
	for i := range messages {
		v := p.validity(&messages[i])
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

// taken is the answer to a single send. The document shows it in two shapes:
// these fields at the top ("Quick Start"), and data.message_id (the Node and PHP
// examples).
type taken struct {
	ID        httpapi.Scalar `json:"id"`
	MessageID httpapi.Scalar `json:"messageId"`
	Snake     httpapi.Scalar `json:"message_id"`
	Status    httpapi.Scalar `json:"status"`
	Segments  httpapi.Scalar `json:"segments"`
	Cost      httpapi.Scalar `json:"cost"` // no currency is told
}

func (t *taken) id() string {
	for _, id := range []httpapi.Scalar{t.MessageID, t.Snake, t.ID} {
		if id != "" {
			return string(id)
		}
	}
	return ""
}

func (p *provider) readSingle(resp *httpapi.Response) ([]providers.Result, error) {
	var a struct {
		taken
		Data *taken `json:"data"`
	}
	if err := json.Unmarshal(resp.Body, &a); err != nil {
		return nil, p.failure(resp, 1)
	}
	t := &a.taken
	if a.Data != nil {
		t = a.Data
	}
	if t.id() == "" {
		return nil, p.failure(resp, 1)
	}
	r := providers.Result{Class: providers.Accepted, ProviderID: t.id(), Code: httpapi.Word(string(t.Status)), Cost: httpapi.Word(string(t.Cost))}
	if refusedStates[r.Code] {
		r.Class = providers.RejectedHere
	}
	if n, err := strconv.Atoi(string(t.Segments)); err == nil && n > 0 {
		r.Segments = n
	}
	return []providers.Result{r}, nil
}

// readBulk reads {"data": {"batch_id", "accepted", "rejected", …}}. If it took
// all, each message is Accepted under the batch's id. If it took none, nothing
// was sent, and smaller batches will tell why. Of anything in between nobody can
// tell who was taken: all are Uncertain, under the batch's id.
func (p *provider) readBulk(resp *httpapi.Response, n int) ([]providers.Result, error) {
	var a struct {
		Data struct {
			BatchID  httpapi.Scalar `json:"batch_id"`
			Accepted httpapi.Scalar `json:"accepted"`
			Rejected httpapi.Scalar `json:"rejected"`
		} `json:"data"`
	}
	if err := json.Unmarshal(resp.Body, &a); err != nil {
		return nil, p.failure(resp, n)
	}
	accepted, err := strconv.Atoi(string(a.Data.Accepted))
	if err != nil {
		return nil, p.failure(resp, n)
	}
	rejected, err := strconv.Atoi(string(a.Data.Rejected))
	if err != nil && a.Data.Rejected != "" {
		return nil, p.failure(resp, n)
	}
	r := providers.Result{Class: providers.Accepted, ProviderID: string(a.Data.BatchID)}
	switch {
	case accepted == n && rejected == 0:
	case accepted == 0 && rejected == n:
		return nil, &providers.Error{
			Class: providers.RejectedHere, Status: resp.Status, Bisect: n > 1,
			Detail: "the whole batch was rejected, without a reason",
		}
	default:
		r.Class = providers.Uncertain
		r.Detail = fmt.Sprintf("%d accepted and %d rejected of %d, none named", accepted, rejected, n)
	}
	results := make([]providers.Result, n)
	for i := range results {
		results[i] = r
	}
	return results, nil
}

// failure says what an answer that took nothing means for a request of n
// messages.
func (p *provider) failure(resp *httpapi.Response, n int) *providers.Error {
	var a struct {
		Error struct {
			Code    httpapi.Scalar `json:"code"`
			Message string         `json:"message"`
		} `json:"error"`
	}
	e := p.http.Failure(resp)
	if err := json.Unmarshal(resp.Body, &a); err == nil {
		e.Code, e.Detail = httpapi.Word(string(a.Error.Code)), httpapi.Trim(a.Error.Message)
		if m, known := meanings[errorKey{resp.Status, e.Code}]; known {
			e.Class, e.Bisect, e.RetryAfter = m.class, m.scope == ofMessage, 0
			if m.class == providers.Uncertain && resp.Partial {
				e.Class = providers.Unavailable // answered before the request was whole
			}
			switch m.class {
			case providers.Throttled, providers.Unavailable, providers.Misconfigured:
				e.RetryAfter = httpapi.RetryAfter(resp.Header, p.now())
			}
		}
	}
	e.Bisect = e.Bisect && n > 1
	return e
}

// Balance implements providers.Balancer: what may be spent, of money in
// "integer pence/cents (350 = £3.50)".
func (p *provider) Balance(ctx context.Context, start func() error) (string, error) {
	resp, err := p.http.Do(ctx, httpapi.Request{Method: http.MethodGet, Path: "/billing/balance", Header: p.header, Start: start})
	if err != nil {
		return "", err
	}
	if resp.Status/100 != 2 {
		return "", p.failure(resp, 1)
	}
	var a struct {
		Data struct {
			Balance   *int64 `json:"balance"`
			Available *int64 `json:"available"` // balance and credit limit
			Currency  string `json:"currency"`
		} `json:"data"`
	}
	err = json.Unmarshal(resp.Body, &a)
	cents := a.Data.Available
	if cents == nil {
		cents = a.Data.Balance
	}
	if err != nil || cents == nil {
		return "", p.http.Failure(resp)
	}
	sign, abs := "", *cents
	if abs < 0 {
		sign, abs = "-", -abs
	}
	// The amount is ours, and Trim would take a large one for a phone number.
	return strings.TrimSpace(fmt.Sprintf("%s%d.%02d %s", sign, abs/100, abs%100, httpapi.Trim(a.Data.Currency))), nil
}
