package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/desk"
	"github.com/tuma-sms/tuma/internal/optout"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// OperationView is an operation as GET /v1/providers/{name}/operations tells of it.
type OperationView struct {
	Name    string           `json:"name"`
	About   string           `json:"about"`
	Changes bool             `json:"changes"` // something at the gateway
	Params  []OperationParam `json:"params,omitempty"`
}

// OperationParam is an argument of an operation.
type OperationParam struct {
	Name     string `json:"name"`
	About    string `json:"about"`
	Required bool   `json:"required"`
}

func (in *Ingest) getOperations(w http.ResponseWriter, r *http.Request) error {
	a := in.accounts[r.PathValue("name")]
	if a == nil {
		return problem(http.StatusNotFound, codeNotFound, "there is no such provider")
	}
	list := []OperationView{}
	for _, o := range a.Operations {
		v := OperationView{Name: o.Name, About: o.About, Changes: o.Changes}
		for _, p := range o.Params {
			v.Params = append(v.Params, OperationParam(p))
		}
		list = append(list, v)
	}
	writeJSON(w, http.StatusOK, typeJSON, struct {
		Operations []OperationView `json:"operations"`
	}{list})
	return nil
}

// operationWithin bounds an operation: a slot, and a request or a few.
const operationWithin = 45 * time.Second

// postOperation runs an operation at an account's gateway, at most once. The body
// is an object of strings; "message" names one of the tenant's messages in place
// of the gateway's "id" of it.
func (in *Ingest) postOperation(w http.ResponseWriter, r *http.Request) error {
	a, name := in.accounts[r.PathValue("name")], r.PathValue("operation")
	if a == nil {
		return problem(http.StatusNotFound, codeNotFound, "there is no such provider")
	}
	i := slices.IndexFunc(a.Operations, func(o providers.Operation) bool { return o.Name == name })
	if i < 0 {
		return problem(http.StatusNotFound, codeNotFound, "this provider has no such operation")
	}
	given, err := readObject(w, r)
	if err != nil {
		return err
	}
	args := map[string]string{}
	for name := range given {
		var v string
		if err := given.into(name, &v); err != nil {
			return err
		}
		args[name] = v
	}
	if err := in.resolve(r.Context(), a, args); err != nil {
		return err
	}
	if p := desk.Check(&a.Operations[i], args); p != nil {
		return problem(http.StatusBadRequest, p.Class, p.Detail)
	}
	if in.ask == nil {
		return unavailable(bus.ErrNobody)
	}
	ctx, cancel := context.WithTimeout(r.Context(), operationWithin)
	defer cancel()
	in.log.InfoContext(r.Context(), "operation asked", "account", a.Name, "operation", name, "tenant", tenant(r.Context()).Name)
	shown, err := in.ask(ctx, a.Name, name, args)
	if err != nil {
		return operationProblem(err)
	}
	writeJSON(w, http.StatusOK, typeJSON, struct {
		Shown json.RawMessage `json:"shown"`
	}{shown})
	return nil
}

// resolve puts the gateway's id in the place of the tenant's message.
func (in *Ingest) resolve(ctx context.Context, a *Account, args map[string]string) error {
	id, ok := args["message"]
	if !ok {
		return nil
	}
	delete(args, "message")
	var m status.Message
	if err := in.known(ctx, "message", func() (ok bool) {
		m, ok = in.status.Message(tenant(ctx).Name, id)
		return ok
	}); err != nil {
		return err
	}
	switch {
	case m.Provider != a.Name || m.ProviderMessageID == "":
		return problem(http.StatusConflict, codeConflict, "this provider has given the message no id")
	}
	args["id"] = m.ProviderMessageID
	return nil
}

// operationStatus is what the class of an operation's failure is answered with.
var operationStatus = map[string]int{
	desk.BadArgument: http.StatusBadRequest, desk.UnknownOperation: http.StatusNotFound, desk.NoSlot: http.StatusServiceUnavailable,
	providers.Rejected.String(): http.StatusUnprocessableEntity, providers.RejectedHere.String(): http.StatusUnprocessableEntity,
	providers.Throttled.String(): http.StatusServiceUnavailable,
}

func operationProblem(err error) *Problem {
	var p *desk.Problem
	switch {
	case errors.As(err, &p):
		status, ok := operationStatus[p.Class]
		if !ok {
			status = http.StatusBadGateway
		}
		out := problem(status, p.Class, p.Detail)
		if p.Code != "" {
			out.Detail = p.Code + ": " + p.Detail
		}
		return out
	case errors.Is(err, bus.ErrNobody):
		out := problem(http.StatusServiceUnavailable, codeUnavailable, "no dlr-collector runs that could ask the gateway; nothing was done")
		out.RetryAfter = time.Second
		return out
	}
	out := problem(http.StatusBadGateway, providers.Uncertain.String(), "no answer came in time: it may have worked")
	out.cause = err
	return out
}

// postOptOut tells whether a number wants nothing from an account, after it has
// stored what the body says of it, if anything. Numbers are in no URL: those are
// logged on their way.
func (in *Ingest) postOptOut(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Provider, Number string
		OptedOut         *bool
	}
	given, err := readObject(w, r)
	if err != nil {
		return err
	}
	for name := range given { // a slip of the pen must not pass for a question
		var into any
		switch name {
		case "provider":
			into = &q.Provider
		case "number":
			into = &q.Number
		case "opted_out":
			q.OptedOut = new(bool)
			into = q.OptedOut
		}
		if err := given.into(name, into); err != nil {
			return err
		}
	}
	if in.accounts[q.Provider] == nil {
		return problem(http.StatusNotFound, codeNotFound, "there is no such provider")
	}
	number, err := normalise(tenant(r.Context()), q.Number)
	if err != nil {
		return refusalProblem(http.StatusBadRequest, err)
	}
	e := optout.Entry{Account: q.Provider, Number: number, Source: "operator", Time: in.now().UTC()}
	if q.OptedOut == nil {
		e.Out = in.optedOut(q.Provider, number)
	} else {
		e.Out = *q.OptedOut
		if err := optout.Tell(r.Context(), in.bus, e); err != nil {
			return unavailable(err)
		}
		in.log.InfoContext(r.Context(), "opt-out set", "account", q.Provider, "opted_out", e.Out, "tenant", tenant(r.Context()).Name)
	}
	writeJSON(w, http.StatusOK, typeJSON, struct {
		Provider string `json:"provider"`
		Number   string `json:"number"`
		OptedOut bool   `json:"opted_out"`
	}{e.Account, e.Number, e.Out})
	return nil
}
