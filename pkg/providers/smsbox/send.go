package smsbox

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

const jsonType = "application/json"

// sendRequest is the body of send_sms.
type sendRequest struct {
	XMLName    xml.Name    `json:"-" xml:"sms"`
	Sender     string      `json:"source_addr" xml:"source_addr"`
	Schedule   string      `json:"schedule_time" xml:"schedule_time"` // empty: "the message will be immediately deliveried"
	Encoding   string      `json:"encoding" xml:"encoding"`           // the XML sample has none; code 118 wants one
	Text       string      `json:"message" xml:"message"`
	Recipients []recipient `json:"recipients" xml:"recipients>recipient"`
}

type recipient struct {
	Name string `json:"recipient_name" xml:"recipient_name"`
	To   string `json:"dest_addr" xml:"dest_addr"`
}

// minuteFrom returns the minute, since 1970, that t is in, or the next when it has
// begun: a schedule may be late, never early.
func minuteFrom(t time.Time) int64 { return (t.Unix() + 59) / 60 }

// scheduleTime writes a minute as "GMT+0 timezone. Format (yyyy-mm-dd hh:mm)".
func scheduleTime(minute int64) string {
	return time.Unix(minute*60, 0).UTC().Format("2006-01-02 15:04")
}

// schedule is the schedule_time of a request that leaves now. What is due goes at
// once; a minute that is about to begin is put off by one, as a time in the past
// (code 112) would cost the whole request.
func (p *provider) schedule(minute int64) string {
	now := p.now().Unix()
	if minute*60 <= now {
		return ""
	}
	return scheduleTime(max(minute, now/60+2))
}

// Send implements providers.Provider. An answer speaks of the whole request:
// either every message is Accepted, under one id, or err says why none is.
func (p *provider) Send(ctx context.Context, b *providers.Batch) ([]providers.Result, error) {
	body, named, err := p.compose(b.Messages)
	if err != nil {
		return nil, err
	}
	kind := jsonType
	if p.xml {
		kind = xmlType
	}
	resp, err := p.http.Do(ctx, httpapi.Request{
		Method: http.MethodPost, Path: "/send_sms",
		Header: p.header, ContentType: kind, Body: body, Start: b.Start, Fence: b.Fence,
	})
	if err != nil {
		return nil, err
	}
	a, readable := readAnswer(resp.Body)
	if !readable || !a.taken(resp.Status) {
		return nil, p.failure(resp, a, len(b.Messages), named)
	}
	results := make([]providers.Result, len(b.Messages))
	for i := range results {
		results[i] = providers.Result{Class: providers.Accepted, ProviderID: a.messageID(), Code: success}
	}
	return results, nil
}

// errMixed guards against a text that reaches somebody else: the caller groups,
// and a mistake there must not be sent.
var errMixed = errors.New("smsbox: messages of different group keys in one batch")

// compose returns the request's body, and whether each recipient has a name of
// its own in the text.
func (p *provider) compose(messages []providers.Message) (body []byte, named bool, err error) {
	var shared wire
	recipients := make([]recipient, len(messages))
	for i := range messages {
		w, name, err := write(&messages[i])
		if err != nil {
			return nil, false, alone(err, len(messages))
		}
		if i == 0 {
			shared = w
		}
		if w != shared {
			return nil, false, &providers.Error{Class: providers.RejectedHere, Bisect: true, Err: errMixed}
		}
		named = named || name != "" && !strings.EqualFold(name, receiverName)
		if name == "" {
			name = strconv.Itoa(i + 1) // not marked optional; the document's own samples count too
		}
		recipients[i] = recipient{name, messages[i].To}
	}
	body, err = p.encode(&sendRequest{
		Sender: shared.sender, Schedule: p.schedule(shared.minute), Encoding: "0", Text: shared.text, Recipients: recipients,
	})
	return body, named, err
}

// alone says of a refusal of one message that the others of its batch may go.
func alone(err error, n int) error {
	var e *providers.Error
	if errors.As(err, &e) {
		e.Bisect = n > 1
	}
	return err
}

// answer is every JSON object that the API answers with.
type answer struct {
	Status  httpapi.Truth   `json:"status"` // true, also beside codes that are errors
	Code    httpapi.Scalar  `json:"code"`
	Message httpapi.Words   `json:"message"`
	Data    json.RawMessage `json:"data"`
	Error   httpapi.Words   `json:"error"` // instead of all others
}

// readAnswer reads an answer. One with its code inside of data ({"data":
// {"code": 124, …}}) is brought to the common shape.
func readAnswer(body []byte) (answer, bool) {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		return readXML(body)
	}
	var a answer
	if err := decode(body, &a); err != nil {
		return answer{}, false
	}
	if a.Code == "" && bytes.HasPrefix(bytes.TrimSpace(a.Data), []byte("{")) {
		var inner answer
		if err := json.Unmarshal(a.Data, &inner); err == nil && inner.Code != "" {
			return inner, true
		}
	}
	return a, a.readable()
}

func (a *answer) readable() bool { return a.Code != "" || a.Error != "" || a.Status.True }

// success goes by the code. Where there is none a status that is true is enough,
// though not for a send, whose answer then must have an id.
func (a *answer) success(status int) bool {
	return status/100 == 2 && (a.Code == success && (a.Status.True || !a.Status.Known) || a.Code == "" && a.Error == "" && a.Status.True)
}

func (a *answer) taken(status int) bool {
	return a.success(status) && (a.Code == success || a.messageID() != "")
}

// messageID returns the id of "message_id:sms-…", or "" (taken, unnamed).
func (a *answer) messageID() string {
	var data httpapi.Words
	if err := json.Unmarshal(a.Data, &data); err != nil {
		return ""
	}
	var objects httpapi.List[struct {
		ID httpapi.Scalar `json:"message_id"`
	}]
	if err := json.Unmarshal(a.Data, &objects); err == nil && len(objects) == 1 {
		data = httpapi.Words(objects[0].ID)
	}
	return messageID(string(data))
}

// idForm is what an id may be: "[]", which other answers have for data, is none,
// and neither is a sentence.
var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

func messageID(s string) string {
	s = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s), "message_id:"))
	if !idForm.MatchString(s) {
		return ""
	}
	return s
}

// failure says what an answer other than success means for a request of n
// messages.
func (p *provider) failure(resp *httpapi.Response, a answer, n int, named bool) *providers.Error {
	e := p.classify(resp, a)
	e.Status, e.Code, e.Detail = resp.Status, httpapi.Word(string(a.Code)), httpapi.Trim(string(a.Message+a.Error))
	if m, known := meanings[e.Code]; known && m.class == e.Class {
		e.Need = m.need
		e.Bisect = m.scope == ofMessage || m.scope == ofText && named
	}
	e.Bisect = e.Bisect && n > 1
	return e
}

// classify goes by the code in the body, which is the API's own; by the status
// where there is none or where only the status says what may have happened.
func (p *provider) classify(resp *httpapi.Response, a answer) *providers.Error {
	m, known := meanings[string(a.Code)]
	switch {
	case a.Code == success && resp.Status/100 != 2 && !resp.Partial: // taken, by its own words
		return &providers.Error{Class: providers.Uncertain, Err: httpapi.ErrUnreadable}
	case resp.Status == http.StatusTooManyRequests, resp.Status == http.StatusRequestTimeout:
		return p.http.Failure(resp)
	case resp.Status == http.StatusServiceUnavailable && known && m.class != providers.Uncertain:
		e := p.http.Failure(resp)
		e.Class, e.RetryAfter = providers.Unavailable, httpapi.RetryAfter(resp.Header, p.now())
		return e
	case resp.Status >= 500:
		return p.http.Failure(resp)
	case known && m.class == providers.Uncertain && resp.Partial:
		return &providers.Error{Class: providers.Unavailable} // answered before the request was whole
	case known:
		return &providers.Error{Class: m.class}
	case a.Error != "" && resp.Status == http.StatusBadRequest:
		// {"error": "No authorization headers"}, the only answer of this shape.
		return &providers.Error{Class: providers.Misconfigured}
	}
	// {"status": true, "code": 403, …} under 200: what the code says as a status.
	if code, err := strconv.Atoi(string(a.Code)); err == nil && resp.Status/100 == 2 && 300 <= code && code <= 599 {
		return p.http.Failure(&httpapi.Response{Status: code, Header: resp.Header, Partial: resp.Partial})
	}
	return p.http.Failure(resp)
}

// Balance implements providers.Balancer. The API tells no currency.
func (p *provider) Balance(ctx context.Context, start func() error) (string, error) {
	resp, err := p.http.Do(ctx, httpapi.Request{
		Method: http.MethodGet, Path: "/query_sms_balance", Header: p.header, ContentType: jsonType, Start: start,
	})
	if err != nil {
		return "", err
	}
	a, readable := readAnswer(resp.Body)
	if !readable || !a.success(resp.Status) {
		return "", p.failure(resp, a, 1, false)
	}
	var data httpapi.List[struct {
		Money httpapi.Scalar `json:"balance_money"`
	}]
	if err := json.Unmarshal(a.Data, &data); err != nil || len(data) == 0 || data[0].Money == "" {
		return "", &providers.Error{Class: providers.Uncertain, Status: resp.Status, Err: httpapi.ErrUnreadable}
	}
	return string(data[0].Money), nil
}
