package smsscheduler

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// Operations implements providers.Desk: GET and DELETE, each on a message, which
// is a whole request, and on an sms, which is one part of it for one number.
func (p *provider) Operations() []providers.Operation {
	params := []providers.Param{
		{Name: "id", About: "the provider's id", Required: true},
		{Name: "of", About: "message: a whole request, as provider_message_id names it (default); sms: one part of it"},
	}
	return []providers.Operation{
		{Name: providers.OpStatus, About: "show what the provider knows of a request, or of one sms of it", Params: params, Do: p.status},
		{Name: providers.OpCancel, About: "delete what is not sent yet of a request, or one sms of it", Params: params, Changes: true, Do: p.cancel},
	}
}

// ask makes the one request of an operation, and returns the body of its answer.
func (p *provider) ask(ctx context.Context, method string, args map[string]string, slot providers.Slot) ([]byte, error) {
	kind := args["of"]
	if kind == "" {
		kind = ofMessage
	}
	if kind != ofMessage && kind != ofSMS || !validID(args["id"]) {
		return nil, refuse(providers.Rejected, envelope.InvalidEnvelope, "wants a number as id, and message or sms in of")
	}
	start, err := slot(ctx)
	if err != nil {
		return nil, &providers.Error{Class: providers.Unavailable, Err: err}
	}
	resp, err := p.http.Do(ctx, httpapi.Request{
		Method: method, Path: "/" + kind + "/" + args["id"], Header: p.header, ContentType: jsonType, Start: start,
	})
	switch {
	case err != nil:
		return nil, err
	case resp.Status == http.StatusNotFound:
		return nil, unknown(resp.Status)
	case resp.Status/100 != 2:
		return nil, p.failure(resp, 1)
	}
	return resp.Body, nil
}

// What an id is of.
const (
	ofMessage = "message"
	ofSMS     = "sms"
)

// unknown is a 404 of a path with an id, where it is documented: the gateway has
// nothing under it.
func unknown(status int) *providers.Error {
	return &providers.Error{Class: providers.Rejected, Status: status, Detail: "the gateway knows nothing of this id"}
}

// shown is one sms as a person sees it.
type shown struct {
	ID     string `json:"id,omitempty"`
	To     string `json:"to"`
	Status string `json:"status"`
	Means  string `json:"means,omitempty"`
}

func (s *sms) show() shown {
	out := shown{ID: string(s.ID), To: httpapi.Word(string(s.Number)), Status: httpapi.Word(string(s.Status))}
	if code, err := strconv.Atoi(out.Status); err == nil {
		out.Means = states[code].words
	}
	return out
}

func (p *provider) status(ctx context.Context, args map[string]string, slot providers.Slot) (any, error) {
	body, err := p.ask(ctx, http.MethodGet, args, slot)
	if err != nil {
		return nil, err
	}
	list, err := readList(body)
	if err != nil || args["of"] == ofSMS && len(list) != 1 {
		return nil, unreadable()
	}
	if args["of"] == ofSMS {
		return list[0].show(), nil
	}
	out := make([]shown, len(list))
	for i := range list {
		out[i] = list[i].show()
	}
	return out, nil
}

// cancel shows how many were deleted; of one sms, true or false.
func (p *provider) cancel(ctx context.Context, args map[string]string, slot providers.Slot) (any, error) {
	body, err := p.ask(ctx, http.MethodDelete, args, slot)
	if err != nil {
		return nil, err
	}
	var a struct {
		Success httpapi.Scalar `json:"success"`
	}
	if json.Unmarshal(body, &a) != nil {
		return nil, unreadable()
	}
	if deleted := httpapi.TruthOf(string(a.Success)); args["of"] == ofSMS && deleted.Known {
		return map[string]bool{"deleted": deleted.True}, nil
	}
	if deleted, err := strconv.Atoi(string(a.Success)); args["of"] != ofSMS && err == nil {
		return map[string]int{"deleted": deleted}, nil
	}
	return nil, unreadable()
}

func unreadable() *providers.Error {
	return &providers.Error{Class: providers.Uncertain, Status: http.StatusOK, Err: httpapi.ErrUnreadable}
}
