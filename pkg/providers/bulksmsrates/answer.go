package bulksmsrates

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

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
	r := providers.Result{
		Class: providers.Accepted, ProviderID: t.id(), Code: httpapi.Word(string(t.Status)), Cost: httpapi.Word(string(t.Cost)),
		RetryAfter: spent(resp.Header, p.now()),
	}
	if refusedStates[r.Code] {
		r.Class, r.RetryAfter = providers.RejectedHere, 0
	}
	if n, err := strconv.Atoi(string(t.Segments)); err == nil && n > 0 {
		r.Segments = n
	}
	return []providers.Result{r}, nil
}

// readBulk reads {"data": {"batch_id", "accepted", "rejected", …}}. If it took
// all, each message is Accepted under the batch's id. If it took none, nothing
// was sent, and smaller batches will tell why. Of anything in between nobody can
// tell who was taken: all are Uncertain, under the batch's id, and a look-up that
// finds as many as were taken tells. Counts that do not add up count for nothing.
func (p *provider) readBulk(resp *httpapi.Response, messages []providers.Message) ([]providers.Result, error) {
	n := len(messages)
	var a struct {
		Data struct {
			BatchID  httpapi.Scalar `json:"batch_id"`
			Accepted httpapi.Scalar `json:"accepted"`
			Rejected httpapi.Scalar `json:"rejected"`
			Cost     httpapi.Scalar `json:"cost_estimate"`
			Currency httpapi.Scalar `json:"currency"`
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
		r.Cost, r.RetryAfter = share(a.Data.Cost, a.Data.Currency, messages), spent(resp.Header, p.now())
	case accepted == 0 && rejected == n:
		return nil, &providers.Error{
			Class: providers.RejectedHere, Status: resp.Status, Bisect: n > 1,
			Detail: "the whole batch was rejected, without a reason",
		}
	default:
		r.Class = providers.Uncertain
		r.Detail = fmt.Sprintf("%d accepted and %d rejected of %d, none named", accepted, rejected, n)
		if accepted > 0 && rejected > 0 && accepted+rejected == n {
			r.Taken = accepted
		}
	}
	results := make([]providers.Result, n)
	for i := range results {
		results[i] = r
	}
	return results, nil
}

// share is each message's part of a batch's estimate, if they all have the same:
// "integer pence/cents".
func share(cost, currency httpapi.Scalar, messages []providers.Message) string {
	cents, err := strconv.ParseInt(string(cost), 10, 64)
	if err != nil || cents <= 0 || cents%int64(len(messages)) != 0 {
		return ""
	}
	for i := range messages {
		if messages[i].Segments != messages[0].Segments {
			return ""
		}
	}
	return money(cents/int64(len(messages)), string(currency))
}

// money writes "integer pence/cents (350 = £3.50)". The amount is ours, and Trim
// would take a large one for a phone number.
func money(cents int64, currency string) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return strings.TrimSpace(fmt.Sprintf("%s%d.%02d %s", sign, cents/100, cents%100, httpapi.Trim(currency)))
}

func (p *provider) failure(resp *httpapi.Response, n int) *providers.Error {
	return failure(p.http, resp, n, p.now())
}

// failure says what an answer that took nothing means for a request of n
// messages.
func failure(client *httpapi.Client, resp *httpapi.Response, n int, now time.Time) *providers.Error {
	var a struct {
		Error struct {
			Code    httpapi.Scalar `json:"code"`
			Message string         `json:"message"`
		} `json:"error"`
	}
	e := client.Failure(resp)
	if e.Class == providers.Throttled {
		e.RetryAfter = retryAfter(resp.Header, now)
	}
	if err := json.Unmarshal(resp.Body, &a); err == nil {
		e.Code, e.Detail = httpapi.Word(string(a.Error.Code)), tokenInText.ReplaceAllString(httpapi.Trim(a.Error.Message), "${1}"+hidden)
		if m, known := meanings[errorKey{resp.Status, e.Code}]; known {
			e.Class, e.Bisect, e.RetryAfter, e.Need = m.class, m.scope == ofMessage, 0, m.need
			e.OptOut = m.optOut && n == 1
			if m.class == providers.Uncertain && resp.Partial {
				e.Class = providers.Unavailable // answered before the request was whole
			}
			switch m.class {
			case providers.Throttled:
				e.RetryAfter = retryAfter(resp.Header, now)
			case providers.Unavailable, providers.Misconfigured:
				e.RetryAfter = httpapi.RetryAfter(resp.Header, now)
			}
		}
	}
	e.Bisect = e.Bisect && n > 1
	return e
}

// Balance implements providers.Balancer: what may be spent, of money in
// "integer pence/cents (350 = £3.50)".
func (p *provider) Balance(ctx context.Context, start func() error) (string, error) {
	resp, err := p.do(ctx, httpapi.Request{Method: http.MethodGet, Path: "/billing/balance", Start: start})
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
	return money(*cents, a.Data.Currency), nil
}
