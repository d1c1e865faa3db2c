package bulksmsrates

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// endpoint is one documented endpoint as an operation at the desk. {id} in its
// path is the argument of that name.
type endpoint struct {
	name, about  string
	method, path string
	params       []providers.Param
	body         func(args map[string]string) (any, error) // nil: none; the other arguments are the query's
	show         func(answer any) any                      // nil: all of it
}

// Arguments that several endpoints take.
var (
	idParam  = providers.Param{Name: "id", About: "the gateway's id", Required: true}
	sizeArg  = providers.Param{Name: "page_size", About: "1 to 500, default 50"}
	cursor   = providers.Param{Name: "cursor", About: "of the page before"}
	fromDate = providers.Param{Name: "from_date", About: "RFC 3339"}
	toDate   = providers.Param{Name: "to_date", About: "RFC 3339"}
	paged    = []providers.Param{sizeArg, cursor}
	filters  = []providers.Param{
		{Name: "status", About: "queued, sent, delivered, failed or expired"}, fromDate, toDate,
		{Name: "destination", About: "E.164"}, {Name: "campaign_id", About: "UUID of a campaign or batch"}, sizeArg, cursor,
	}
	byID = []providers.Param{idParam}
)

// endpoints are what of the API is about messages and is neither sending nor
// something the adapter does by itself.
var endpoints = []endpoint{
	{name: providers.OpStatus, about: "a message's status and its events", method: http.MethodGet, path: "/sms/{id}", params: byID},
	{name: "messages", about: "list messages", method: http.MethodGet, path: "/sms", params: filters},
	{name: "message-log", about: "the message log, up to 90 days back, 10 s late", method: http.MethodGet, path: logPath, params: filters},
	{name: "dlr-stats", about: "how many were sent, delivered and failed, 60 s late", method: http.MethodGet, path: "/reports/dlr-stats", params: []providers.Param{fromDate, toDate}},
	{name: providers.OpCampaigns, about: "list campaigns", method: http.MethodGet, path: "/campaigns", params: paged},
	{name: "campaign", about: "how far a campaign or batch is", method: http.MethodGet, path: "/campaigns/{id}", params: byID},
	{name: "create-campaign", about: "draft a campaign", method: http.MethodPost, path: "/campaigns", params: []providers.Param{
		{Name: "name", About: "of the campaign", Required: true}, {Name: "from", About: "sender id", Required: true},
		{Name: "body", About: "text; may have {{placeholders}}", Required: true}, {Name: "schedule_at", About: "RFC 3339, UTC"},
	}, body: sameNames},
	{name: "campaign-recipients", about: "upload recipients to a draft", method: http.MethodPost, path: "/campaigns/{id}/recipients", params: []providers.Param{
		idParam, {Name: "to", About: "E.164 numbers, separated by commas", Required: true},
	}, body: recipientList},
	{name: "submit-campaign", about: "hand a draft over for approval; it is sent once approved", method: http.MethodPost, path: "/campaigns/{id}/submit", params: byID},
	{name: providers.OpSuspend, about: "pause a campaign or batch", method: http.MethodPost, path: "/campaigns/{id}/pause", params: byID},
	{name: providers.OpResume, about: "let a paused campaign or batch go on", method: http.MethodPost, path: "/campaigns/{id}/resume", params: byID},
	{name: providers.OpCancel, about: "cancel a campaign or batch", method: http.MethodPost, path: "/campaigns/{id}/cancel", params: byID},
	{name: providers.OpSenders, about: "list sender ids", method: http.MethodGet, path: "/settings/sender-ids", params: paged},
	{name: providers.OpAskSender, about: "request a sender id", method: http.MethodPost, path: "/settings/sender-ids", params: []providers.Param{
		{Name: "name", About: "1 to 11 letters and digits", Required: true},
	}, body: func(args map[string]string) (any, error) { return map[string]string{"sender_id": args["name"]}, nil }},
	{name: providers.OpTemplates, about: "list WhatsApp templates", method: http.MethodGet, path: "/whatsapp/templates", params: paged},
	{name: "create-template", about: "ask for a WhatsApp template, which Meta approves", method: http.MethodPost, path: "/whatsapp/templates", params: []providers.Param{
		{Name: "name", About: "small letters, digits and _", Required: true}, {Name: "language", About: "en, en_US", Required: true},
		{Name: "category", About: "as Meta has them: UTILITY, MARKETING, AUTHENTICATION", Required: true}, {Name: "text", About: "its body, with {{1}} and so on", Required: true},
	}, body: templateBody},
	{name: "delete-template", about: "delete a WhatsApp template", method: http.MethodDelete, path: "/whatsapp/templates/{id}", params: []providers.Param{
		{Name: "id", About: "the template's name", Required: true},
	}},
	{name: "whatsapp-conversations", about: "list conversations of the last 24 h", method: http.MethodGet, path: "/whatsapp/conversations", params: paged},
	{name: "whatsapp-accounts", about: "list connected WhatsApp Business accounts", method: http.MethodGet, path: "/whatsapp/accounts"},
	{name: providers.OpOptOuts, about: "list contacts that opted out, of one page of contacts", method: http.MethodGet, path: "/contacts", params: paged, show: optedOut},
	{name: "webhooks", about: "list webhooks", method: http.MethodGet, path: webhookPath},
	{name: "balance", about: "the wallet in full", method: http.MethodGet, path: "/billing/balance"},
	{name: "usage", about: "what the current period has cost", method: http.MethodGet, path: "/billing/usage"},
	{name: "sandbox-reset", about: "forget what the sandbox holds", method: http.MethodGet, path: sandboxPath},
}

// sandboxPath is shown by the document below another base (/api/v1); the base URL
// of the tables holds here.
const (
	sandboxPath   = "/sandbox/reset"
	sandboxHeader = "X-Sandbox"
)

// Operations implements providers.Desk.
func (p *provider) Operations() []providers.Operation {
	out := make([]providers.Operation, len(endpoints))
	for i := range endpoints {
		e := &endpoints[i]
		out[i] = providers.Operation{
			Name: e.name, About: e.about, Params: e.params, Changes: e.method != http.MethodGet || e.path == sandboxPath,
			Do: func(ctx context.Context, args map[string]string, slot providers.Slot) (any, error) {
				return p.operate(ctx, e, args, slot)
			},
		}
	}
	return out
}

func (p *provider) operate(ctx context.Context, e *endpoint, args map[string]string, slot providers.Slot) (any, error) {
	r, err := e.request(args)
	if err != nil {
		return nil, err
	}
	resp, err := p.call(ctx, r, slot)
	if err != nil {
		return nil, err
	}
	if resp.Status/100 != 2 {
		e := named(p.failure(resp, 1))
		if e.Code == "CONFLICT" { // of a state, where nothing is sent: it is refused
			e.Class = providers.RejectedHere
		}
		return nil, e
	}
	if len(resp.Body) == 0 {
		return map[string]bool{"done": true}, nil
	}
	var answer any
	if err := json.Unmarshal(resp.Body, &answer); err != nil {
		return nil, p.http.Failure(resp)
	}
	if answer = withoutSecrets(answer); e.show != nil {
		answer = e.show(answer)
	}
	return answer, nil
}

// call makes one request in a slot of its own, and one more for each time that a
// token had to come first.
func (p *provider) call(ctx context.Context, r httpapi.Request, slot providers.Slot) (resp *httpapi.Response, err error) {
	for range 3 {
		if r.Start, err = slot(ctx); err != nil {
			return nil, err
		}
		if resp, err = p.do(ctx, r); !errors.Is(err, providers.ErrAgain) {
			break
		}
	}
	return resp, err
}

var pathForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._:-]{0,127}$`)

func (e *endpoint) request(args map[string]string) (httpapi.Request, error) {
	r := httpapi.Request{Method: e.method, Path: e.path, Query: url.Values{}}
	if strings.Contains(e.path, "{id}") {
		if !pathForm.MatchString(args["id"]) {
			return r, badArgument("id cannot be one of this gateway's")
		}
		r.Path = strings.Replace(e.path, "{id}", url.PathEscape(args["id"]), 1)
	}
	if e.path == sandboxPath {
		r.Header = http.Header{sandboxHeader: {"true"}}
	}
	if e.body != nil {
		body, err := e.body(args)
		if err != nil {
			return r, err
		}
		r.ContentType = jsonType
		r.Body, err = httpapi.JSON(body)
		return r, err
	}
	for _, p := range e.params {
		if v := args[p.Name]; v != "" && p.Name != "id" {
			r.Query.Set(p.Name, v)
		}
	}
	return r, nil
}

func badArgument(detail string) error {
	return &providers.Error{Class: providers.Rejected, Code: string(envelope.InvalidEnvelope), Detail: detail}
}

// sameNames is a body whose fields are the arguments.
func sameNames(args map[string]string) (any, error) { return args, nil }

// recipientList is taken to be what a bulk send has: the document shows none.
func recipientList(args map[string]string) (any, error) {
	var list []recipient
	for to := range strings.SplitSeq(args["to"], ",") {
		if to = strings.TrimSpace(to); !envelope.ValidNumber(to) {
			return nil, badArgument("to holds something that is no E.164 number")
		}
		list = append(list, recipient{To: to})
	}
	return map[string]any{"recipients": list}, nil
}

// templateBody is taken to be like the template of a send: the document shows none.
func templateBody(args map[string]string) (any, error) {
	if !templateName.MatchString(args["name"]) || !templateLanguage.MatchString(args["language"]) {
		return nil, badArgument("name has small letters, digits and _; language is a code such as en or en_US")
	}
	return map[string]any{
		"name": args["name"], "language": args["language"], "category": args["category"],
		"components": []map[string]string{{"type": "body", "text": args["text"]}},
	}, nil
}

const hidden = "(hidden)"

// tokenInURL is the end of a callback URL of ours that is a secret.
var (
	tokenInURL  = regexp.MustCompile(`(/(?:dlr|inbound)/[^/]+/)[^/]+$`)
	tokenInText = regexp.MustCompile(`(/(?:dlr|inbound)/[^/\s]+/)[^\s"',;]+`)
)

// withoutSecrets blanks what an answer must not show.
func withoutSecrets(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			s, ok := inner.(string)
			switch {
			case ok && s != "" && secretName(name):
				v[name] = hidden
				continue
			case ok && tokenInURL.MatchString(s):
				v[name] = tokenInURL.ReplaceAllString(s, "${1}"+hidden)
				continue
			}
			v[name] = withoutSecrets(inner)
		}
	case []any:
		for i := range v {
			v[i] = withoutSecrets(v[i])
		}
	}
	return v
}

func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"secret", "token", "password", "api_key", "apikey"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// optedOut keeps the numbers of a page of contacts that opted out. Which field
// says so is not documented: any of the usual ones counts.
func optedOut(answer any) any {
	top, ok := answer.(map[string]any)
	if !ok {
		return answer
	}
	list, _ := top["data"].([]any)
	out := map[string]any{"contacts": len(list), "opted_out": []string{}, "pagination": top["pagination"]}
	var numbers []string
	for _, v := range list {
		c, ok := v.(map[string]any)
		if !ok || !isOptedOut(fields{c}) {
			continue
		}
		if number := httpapi.E164(fields{c}.first("phone", "phone_number", "number", "destination", "msisdn")); number != "" {
			numbers = append(numbers, number)
		}
	}
	if numbers != nil {
		out["opted_out"] = numbers
	}
	return out
}

func isOptedOut(c fields) bool {
	for _, name := range []string{"opted_out", "opt_out", "is_opted_out", "unsubscribed", "is_unsubscribed"} {
		if c.first(name) == "true" {
			return true
		}
	}
	switch strings.ToLower(c.first("status", "opt_status", "subscription_status")) {
	case "opted_out", "opt_out", "opted-out", "unsubscribed":
		return true
	}
	return c.first("opted_out_at", "opt_out_at", "unsubscribed_at") != ""
}
