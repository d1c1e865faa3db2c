package desk_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/desk"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/providers"
)

type table []providers.Operation

func (t table) Operations() []providers.Operation { return t }

func operations() table {
	return table{
		{Name: "echo", Params: []providers.Param{{Name: "word", About: "to say", Required: true}}, Do: func(ctx context.Context, args map[string]string, slot providers.Slot) (any, error) {
			if _, err := slot(ctx); err != nil {
				return nil, err
			}
			return map[string]string{"said": args["word"]}, nil
		}},
		{Name: "refuse", Do: func(context.Context, map[string]string, providers.Slot) (any, error) {
			return nil, &providers.Error{Class: providers.Misconfigured, Code: "120", Detail: "Invalid Authorization Parameters"}
		}},
		{Name: "odd", Do: func(context.Context, map[string]string, providers.Slot) (any, error) { return func() {}, nil }},
	}
}

func TestDesk(t *testing.T) {
	b := natstest.Connect(t, natstest.Server(t), nil, nil)
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	if _, err := desk.Ask(ctx, b, "gw", "echo", nil); !errors.Is(err, bus.ErrNobody) {
		t.Fatalf("nobody serves: %v", err)
	}
	full := errors.New("no slot")
	var noSlots error
	var mu sync.Mutex
	slot := func(context.Context) (func() error, error) {
		mu.Lock()
		defer mu.Unlock()
		return func() error { return nil }, noSlots
	}
	serving, done := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := desk.Serve(serving, b, desk.Account{Name: "gw", Desk: operations(), Slot: slot}, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer done()
	ask := func(operation string, args map[string]string) (json.RawMessage, string) {
		for {
			shown, err := desk.Ask(ctx, b, "gw", operation, args)
			if errors.Is(err, bus.ErrNobody) && ctx.Err() == nil { // not there yet
				continue
			}
			var p *desk.Problem
			if err != nil && !errors.As(err, &p) {
				t.Fatal(err)
			}
			if p != nil {
				return nil, p.Class + " " + p.Code
			}
			return shown, ""
		}
	}
	if shown, problem := ask("echo", map[string]string{"word": "hello"}); string(shown) != `{"said":"hello"}` || problem != "" {
		t.Errorf("%s %s", shown, problem)
	}
	for _, c := range []struct {
		operation string
		args      map[string]string
		want      string
	}{
		{"echo", nil, "bad_argument "},
		{"echo", map[string]string{"word": "x", "other": "y"}, "bad_argument "},
		{"fly", nil, "unknown_operation "},
		{"refuse", nil, "misconfigured 120"},
		{"odd", nil, "uncertain "},
	} {
		if _, problem := ask(c.operation, c.args); problem != c.want {
			t.Errorf("%s %v: %q, want %q", c.operation, c.args, problem, c.want)
		}
	}
	mu.Lock()
	noSlots = full
	mu.Unlock()
	if _, problem := ask("echo", map[string]string{"word": "x"}); problem != "no_slot " {
		t.Errorf("without a slot: %q", problem)
	}
}
