// Package desk lets a person do or ask other things at a gateway than send: list
// sender ids, stop what it holds, see a campaign. The collector, which has the
// accounts' credentials and asks within their limits, runs the operations; who
// asks reaches it over the bus.
//
// Nothing is stored or repeated: an operation runs at most once, and who asked
// sees what the gateway said. An ask that ends without an answer may have worked.
package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// Bus is what a desk uses of the bus.
type Bus interface {
	Serve(ctx context.Context, subject string, answer func(ctx context.Context, data []byte) []byte) error
	Ask(ctx context.Context, subject string, data []byte) ([]byte, error)
}

// Problem is why an operation did not work, in words that may be shown.
type Problem struct {
	Class  string `json:"class"`            // of providers.Class, or of those below
	Code   string `json:"code,omitempty"`   // the gateway's own
	Detail string `json:"detail,omitempty"` // the gateway's own words, or ours
}

// Classes of problems that are not the gateway's.
const (
	UnknownOperation = "unknown_operation"
	BadArgument      = "bad_argument"
	NoSlot           = "no_slot"
	TooLong          = "too_long" // it was done, and what there is to show does not fit
)

const (
	most      = 768 << 10        // bytes, asked or shown: a NATS server takes 1 MiB unless told otherwise
	answering = time.Second      // that an answer takes to whoever asked
	longest   = 45 * time.Second // that an operation takes if who asked does not say
)

// Error returns class, code and detail.
func (p *Problem) Error() string { return fmt.Sprintf("desk: %s %s: %s", p.Class, p.Code, p.Detail) }

type request struct {
	Until     time.Time         `json:"until"` // who asked waits no longer
	Operation string            `json:"operation"`
	Args      map[string]string `json:"args,omitempty"`
}

type reply struct {
	Shown   json.RawMessage `json:"shown,omitempty"`
	Problem *Problem        `json:"problem,omitempty"`
}

// Account is one account's desk.
type Account struct {
	Name string
	Desk providers.Desk
	Slot providers.Slot
}

// Serve runs the operations that are asked of an account until ctx is done. Those
// in hand then are finished, until work is done too: cut off in the middle they may
// have worked, and nobody would be told.
func Serve(ctx, work context.Context, b Bus, a Account, log *slog.Logger) error {
	return b.Serve(ctx, bus.DeskSubject(a.Name), func(_ context.Context, data []byte) []byte {
		var r reply
		var q request
		if json.Unmarshal(data, &q) != nil {
			r.Problem = &Problem{Class: BadArgument, Detail: "not a request to a desk"}
		} else {
			r = a.runFor(work, q)
			class := "done"
			if r.Problem != nil {
				class = r.Problem.Class
			}
			log.Info("operation run", "account", a.Name, "operation", q.Operation, "class", class)
		}
		out, err := json.Marshal(r)
		if err != nil {
			return []byte(`{"problem":{"class":"uncertain","detail":"the answer cannot be shown"}}`)
		}
		return out
	})
}

// runFor runs an operation for as long as who asked waits: what nobody waits for
// any more is not begun, as it may have been asked again.
func (a *Account) runFor(ctx context.Context, q request) reply {
	until := time.Now().Add(longest)
	if !q.Until.IsZero() && q.Until.Before(until) {
		until = q.Until
	}
	ctx, cancel := context.WithDeadline(ctx, until.Add(-answering))
	defer cancel()
	if ctx.Err() != nil {
		return reply{Problem: &Problem{Class: NoSlot, Detail: "it was too late when its turn came: nothing was sent"}}
	}
	r := a.run(ctx, q)
	if len(r.Shown) > most {
		return reply{Problem: &Problem{Class: TooLong, Detail: "it was done, but the answer is too long to be shown; ask for fewer at a time"}}
	}
	return r
}

// run survives an adapter that does not: the collector serves other accounts too.
func (a *Account) run(ctx context.Context, q request) (r reply) {
	all := a.Desk.Operations()
	i := slices.IndexFunc(all, func(o providers.Operation) bool { return o.Name == q.Operation })
	if i < 0 {
		return reply{Problem: &Problem{Class: UnknownOperation, Detail: "this account has no such operation"}}
	}
	if p := Check(&all[i], q.Args); p != nil {
		return reply{Problem: p}
	}
	refused := false
	defer func() {
		if p := recover(); p != nil { // its words may quote a message
			r = reply{Problem: &Problem{Class: providers.Uncertain.String(), Detail: "the adapter failed: it may have been done"}}
		}
	}()
	shown, err := all[i].Do(ctx, q.Args, func(ctx context.Context) (func() error, error) {
		start, err := a.Slot(ctx)
		refused = err != nil
		return start, err
	})
	if err != nil {
		return reply{Problem: told(err, refused)}
	}
	raw, err := json.Marshal(shown)
	if err != nil {
		return reply{Problem: &Problem{Class: providers.Uncertain.String(), Detail: "the answer cannot be shown"}}
	}
	return reply{Shown: raw}
}

// Check says what is wrong with an operation's arguments; nil: nothing.
func Check(o *providers.Operation, args map[string]string) *Problem {
	for _, p := range o.Params {
		if p.Required && args[p.Name] == "" {
			return &Problem{Class: BadArgument, Detail: p.Name + " is missing: " + p.About}
		}
	}
	for name := range args {
		if !slices.ContainsFunc(o.Params, func(p providers.Param) bool { return p.Name == name }) {
			return &Problem{Class: BadArgument, Detail: "the operation takes no argument of this name"}
		}
	}
	return nil
}

func told(err error, noSlot bool) *Problem {
	var e *providers.Error
	switch {
	case noSlot:
		return &Problem{Class: NoSlot, Detail: "the account's limit left no room in time: nothing was sent"}
	case errors.As(err, &e):
		return &Problem{Class: e.Class.String(), Code: e.Code, Detail: e.Words()}
	}
	return &Problem{Class: BadArgument, Detail: err.Error()}
}

// Ask runs an operation at an account's gateway and returns what there is to
// show. The error is a *Problem, bus.ErrNobody if no collector runs, or another of
// the bus: then nobody knows whether it worked.
func Ask(ctx context.Context, b Bus, account, operation string, args map[string]string) (json.RawMessage, error) {
	until, _ := ctx.Deadline()
	data, err := json.Marshal(request{until, operation, args})
	if err != nil {
		return nil, fmt.Errorf("desk: %w", err)
	}
	if len(data) > most {
		return nil, &Problem{Class: BadArgument, Detail: "the arguments are too long"}
	}
	answer, err := b.Ask(ctx, bus.DeskSubject(account), data)
	if err != nil {
		return nil, err
	}
	var r reply
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, fmt.Errorf("desk: %w", err)
	}
	if r.Problem != nil {
		return nil, r.Problem
	}
	return r.Shown, nil
}
