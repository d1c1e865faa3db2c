package smsbox

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// Operations implements providers.Desk.
//
// The first four are change_sms_info, which the document introduces as the way to
// delivery reports and then describes as a GET that changes messages. It is made
// once for each command. What is not commanded is left out of the query; the
// document does not say that the gateway keeps it.
func (p *provider) Operations() []providers.Operation {
	id := providers.Param{Name: "id", About: "the provider's message id, sms-…, which all messages of a request share", Required: true}
	at := providers.Param{Name: "at", About: "new time, RFC 3339; an empty one may mean at once, so name it again", Required: false}
	due := at
	due.Required = true
	return []providers.Operation{
		{Name: providers.OpSuspend, About: "hold a scheduled request back, with all its messages", Changes: true,
			Params: []providers.Param{id}, Do: p.changing("0")},
		{Name: providers.OpResume, About: "let a suspended request go on", Changes: true,
			Params: []providers.Param{id}, Do: p.changing("1")},
		{Name: providers.OpReschedule, About: "send a scheduled request at another time", Changes: true,
			Params: []providers.Param{id, due}, Do: p.changing("")},
		{Name: providers.OpRewrite, About: "give a scheduled request another text, in which " + receiverName + " is each recipient's name", Changes: true,
			Params: []providers.Param{
				id, {Name: "text", About: "plain ASCII", Required: true}, {Name: "from", About: "another sender name"}, at,
			}, Do: p.changing("")},
		{Name: providers.OpSenders, About: "list the account's sender names",
			Params: []providers.Param{{Name: "q", About: "part of a name or of its sample"}, {Name: "status", About: "approved, rejected or pending"}}, Do: p.senders},
		{Name: providers.OpAskSender, About: "ask for a new sender name", Changes: true,
			Params: []providers.Param{
				{Name: "name", About: "at most 11 letters, digits, spaces, dots and hyphens", Required: true},
				{Name: "sample", About: "what it is for, 15 to 170 characters", Required: true},
			}, Do: p.askSender},
	}
}

// changing returns an operation of change_sms_info; status is its
// scheduled_status: "0" suspends, "1" resumes, "" leaves it.
func (p *provider) changing(status string) func(context.Context, map[string]string, providers.Slot) (any, error) {
	return func(ctx context.Context, args map[string]string, slot providers.Slot) (any, error) {
		query, err := p.change(status, args)
		if err != nil {
			return nil, err
		}
		a, err := p.ask(ctx, slot, httpapi.Request{Method: http.MethodGet, Path: "/change_sms_info", Query: query})
		if err != nil {
			return nil, err
		}
		changed := a.messageID()
		if changed == "" {
			changed = args["id"]
		}
		return map[string]string{"id": changed}, nil
	}
}

// change checks a command as far as the document has rules for it.
func (p *provider) change(status string, args map[string]string) (url.Values, error) {
	if args["id"] == "" {
		return nil, refuse(providers.Rejected, envelope.InvalidEnvelope, "wants an id")
	}
	q := url.Values{"message_id": {args["id"]}}
	if status != "" {
		q.Set("scheduled_status", status)
	}
	if at := args["at"]; at != "" {
		t, err := time.Parse(time.RFC3339, at)
		if err != nil || !t.After(p.now()) { // code 112
			return nil, refuse(providers.Rejected, envelope.InvalidEnvelope, "wants a time to come, like 2026-12-01T08:00:00Z, in at")
		}
		q.Set("schedule_time", scheduleTime(minuteFrom(t)))
	}
	if text := args["text"]; text != "" {
		if err := checkText(text); err != nil {
			return nil, err
		}
		q.Set("message", text)
	}
	if from := args["from"]; from != "" {
		if !validSender(from) {
			return nil, refuse(providers.RejectedHere, envelope.InvalidSender, "no sender of this API")
		}
		q.Set("source_addr", from)
	}
	if len(q) == 1 {
		return nil, refuse(providers.Rejected, envelope.InvalidEnvelope, "changes nothing")
	}
	return q, nil
}

// ask makes the one request of an operation.
func (p *provider) ask(ctx context.Context, slot providers.Slot, r httpapi.Request) (answer, error) {
	start, err := slot(ctx)
	if err != nil {
		return answer{}, &providers.Error{Class: providers.Unavailable, Err: err}
	}
	r.Header, r.ContentType, r.Start = p.header, jsonType, start
	resp, err := p.http.Do(ctx, r)
	if err != nil {
		return answer{}, err
	}
	a, readable := readAnswer(resp.Body)
	if readable && a.success(resp.Status) {
		return a, nil
	}
	e := p.failure(resp, a, 1, false)
	if resp.Status/100 == 2 && a.Code == notFound {
		e.Class, e.Err = providers.Rejected, nil
	}
	return answer{}, e
}

// notFound is the code of "Message … not found", which comes with status 200. It
// is in no table, and means something else to a send.
const notFound = "403"

// sender is a name as the portal lists it.
type sender struct {
	ID      httpapi.Scalar `json:"id"`
	Name    httpapi.Scalar `json:"sending_name"`
	Status  httpapi.Scalar `json:"status"`
	Created httpapi.Scalar `json:"created"`
}

func (p *provider) senders(ctx context.Context, args map[string]string, slot providers.Slot) (any, error) {
	q := url.Values{}
	for _, name := range []string{"q", "status"} {
		if args[name] != "" {
			q.Set(name, args[name])
		}
	}
	a, err := p.ask(ctx, slot, httpapi.Request{Method: http.MethodGet, Path: "/query_sender_names", Query: q})
	if err != nil {
		return nil, err
	}
	var list httpapi.List[sender]
	if err := json.Unmarshal(a.Data, &list); err != nil || list == nil && string(a.Data) != `"[]"` { // as request_sender_name has it
		return nil, &providers.Error{Class: providers.Uncertain, Status: http.StatusOK, Err: httpapi.ErrUnreadable}
	}
	type shown struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Status  string `json:"status"`
		Created string `json:"created"`
	}
	out := make([]shown, len(list))
	for i, s := range list {
		out[i] = shown{string(s.ID), httpapi.Word(string(s.Name)), httpapi.Word(string(s.Status)), httpapi.Word(string(s.Created))}
	}
	return out, nil
}

// Bounds of a sample: "should be minimum of 15 characters", and code 124.
const (
	minSample = 15
	maxSample = 170
)

func (p *provider) askSender(ctx context.Context, args map[string]string, slot providers.Slot) (any, error) {
	name, sample := args["name"], args["sample"]
	switch {
	case !validSender(name) || len(name) > 11:
		return nil, refuse(providers.Rejected, envelope.InvalidSender, "takes names of at most 11 letters, digits, spaces, dots and hyphens")
	case len([]rune(sample)) < minSample || len([]rune(sample)) > maxSample:
		return nil, refuse(providers.Rejected, envelope.InvalidText, "wants a sample of 15 to 170 characters")
	}
	body, err := httpapi.JSON(map[string]string{"senderid": name, "sample_content": sample})
	if err != nil {
		return nil, err
	}
	a, err := p.ask(ctx, slot, httpapi.Request{Method: http.MethodPost, Path: "/request_sender_name", Body: body})
	if err != nil {
		return nil, err
	}
	return map[string]string{"name": name, "answer": httpapi.Trim(string(a.Message))}, nil
}
