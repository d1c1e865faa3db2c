package bulksmsrates

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
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
	ID        httpapi.Words `json:"id"`
	MessageID httpapi.Words `json:"messageId"`
	Snake     httpapi.Words `json:"message_id"`
	Status    httpapi.Words `json:"status"`
	Segments  httpapi.Words `json:"segments"`
	Cost      httpapi.Words `json:"cost"` // no currency is told
}

func (t *taken) id() string { return httpapi.ID(firstOf(t.MessageID, t.Snake, t.ID)) }

func (p *provider) readSingle(resp *httpapi.Response) ([]providers.Result, error) {
	var a struct {
		taken
		Data httpapi.List[taken] `json:"data"`
	}
	if err := json.Unmarshal(resp.Body, &a); err != nil {
		return nil, p.failure(resp, 1)
	}
	t := &a.taken
	if len(a.Data) == 1 && a.Data[0].id() != "" {
		t = &a.Data[0]
	}
	if t.id() == "" {
		return nil, p.failure(resp, 1)
	}
	r := providers.Result{
		Class: providers.Accepted, ProviderID: t.id(), Code: httpapi.Word(string(t.Status)), Cost: httpapi.Word(string(t.Cost)),
		RetryAfter: spent(resp.Header, p.now()),
	}
	if refusedStates[strings.ToLower(r.Code)] {
		r.Class, r.RetryAfter = providers.RejectedHere, 0
	}
	if n, err := strconv.Atoi(string(t.Segments)); err == nil && n > 0 {
		r.Segments = n
	}
	return []providers.Result{r}, nil
}

// counted is the answer to a bulk send: {"data": {"batch_id", "accepted", …}}.
type counted struct {
	BatchID  httpapi.Words `json:"batch_id"`
	Accepted httpapi.Words `json:"accepted"`
	Rejected httpapi.Words `json:"rejected"`
	Cost     httpapi.Words `json:"cost_estimate"`
	Currency httpapi.Words `json:"currency"`
}

// readBulk reads what was counted, in data or at the top, as of a single send. If it took
// all, each message is Accepted under the batch's id. If it took none, nothing
// was sent, and smaller batches will tell why. Of anything in between nobody can
// tell who was taken: all are Uncertain, under the batch's id, and a look-up that
// finds as many as were taken tells. Counts that do not add up count for nothing.
func (p *provider) readBulk(resp *httpapi.Response, messages []providers.Message) ([]providers.Result, error) {
	n := len(messages)
	var a struct {
		counted
		Data httpapi.List[counted] `json:"data"`
	}
	if err := json.Unmarshal(resp.Body, &a); err != nil {
		return nil, p.failure(resp, n)
	}
	c := &a.counted
	if len(a.Data) == 1 && a.Data[0].Accepted != "" {
		c = &a.Data[0]
	}
	accepted, err := strconv.Atoi(string(c.Accepted))
	if err != nil {
		return nil, p.failure(resp, n)
	}
	rejected, err := strconv.Atoi(string(c.Rejected))
	if err != nil && c.Rejected != "" {
		return nil, p.failure(resp, n)
	}
	r := providers.Result{Class: providers.Accepted, ProviderID: httpapi.ID(string(c.BatchID))}
	switch {
	case accepted == n && rejected == 0:
		r.Cost, r.RetryAfter = share(c.Cost, c.Currency, messages), spent(resp.Header, p.now())
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
func share(cost, currency httpapi.Words, messages []providers.Message) string {
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

// problem is the part of an error that is read.
type problem struct {
	Code    httpapi.Scalar `json:"code"`
	Message httpapi.Words  `json:"message"`
}

// failure says what an answer that took nothing means for a request of n
// messages.
func failure(client *httpapi.Client, resp *httpapi.Response, n int, now time.Time) *providers.Error {
	var a struct {
		problem
		Error httpapi.List[problem] `json:"error"`
	}
	e := client.Failure(resp)
	if e.Class == providers.Throttled {
		e.RetryAfter = retryAfter(resp.Header, now)
	}
	if err := json.Unmarshal(resp.Body, &a); err == nil {
		if len(a.Error) > 0 {
			a.problem = a.Error[0]
		}
		e.Code = httpapi.Word(string(a.Code))
		e.Detail = tokenInText.ReplaceAllString(httpapi.Trim(string(a.Message)), "${1}"+hidden)
		byCode(e, resp, n, now)
	}
	e.Bisect = e.Bisect && n > 1
	return e
}

// byCode says what the error's own code means. In an error whose code is not known
// under 503 the API itself says that it took nothing.
func byCode(e *providers.Error, resp *httpapi.Response, n int, now time.Time) {
	m, known := meaningOf(resp.Status, strings.ToUpper(e.Code))
	switch {
	case !known && resp.Status == http.StatusServiceUnavailable && e.Code != "":
		m = meaning{class: providers.Unavailable}
	case !known:
		return
	default:
		e.Code = strings.ToUpper(e.Code)
	}
	e.Class, e.Bisect, e.RetryAfter, e.Need, e.Err = m.class, m.scope == ofMessage, 0, m.need, nil
	e.OptOut = m.optOut && n == 1
	switch m.class {
	case providers.Uncertain:
		if resp.Partial {
			e.Class = providers.Unavailable // answered before the request was whole
		}
	case providers.Throttled:
		e.RetryAfter = retryAfter(resp.Header, now)
	case providers.Unavailable, providers.Misconfigured:
		e.RetryAfter = httpapi.RetryAfter(resp.Header, now)
	}
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
	top, err := read(resp.Body)
	if err != nil {
		return "", p.http.Failure(resp)
	}
	wallet := top.within("data")
	cents, err := strconv.ParseFloat(wallet.first("available", "balance"), 64) // available: balance and credit limit
	if err != nil || cents != math.Trunc(cents) || math.Abs(cents) >= 1<<53 {
		return "", p.http.Failure(resp)
	}
	return money(int64(cents), wallet.first("currency")), nil
}
