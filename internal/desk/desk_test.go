package desk_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
		{Name: "long", Do: func(context.Context, map[string]string, providers.Slot) (any, error) {
			return strings.Repeat("x", 2<<20), nil
		}},
		{Name: "fall", Do: func(context.Context, map[string]string, providers.Slot) (any, error) { panic("over +254712345678") }},
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
		if err := desk.Serve(serving, serving, b, desk.Account{Name: "gw", Desk: operations(), Slot: slot}, slog.New(slog.DiscardHandler)); err != nil {
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
		{"echo", map[string]string{"word": strings.Repeat("x", 9<<20)}, "bad_argument "},
		{"fly", nil, "unknown_operation "},
		{"refuse", nil, "misconfigured 120"},
		{"odd", nil, "uncertain "},
		{"fall", nil, "uncertain "},
		{"long", nil, "too_long "},
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

// patient is a bus that keeps what is asked until it is told to hand it over.
type patient struct {
	desk.Bus
	asked []byte
}

func (p *patient) Ask(_ context.Context, _ string, data []byte) ([]byte, error) {
	p.asked = data
	return nil, context.DeadlineExceeded
}

// Serve hands over what was asked.
func (p *patient) Serve(ctx context.Context, _ string, answer func(context.Context, []byte) []byte) error {
	_ = answer(ctx, p.asked)
	return nil
}

// What was asked by somebody who waits no more is not done, and what waits for a
// slot gives up when who asked does: a person who was told that nobody answered
// would do it again.
func TestNothingIsDoneForNobody(t *testing.T) {
	for name, late := range map[string]time.Duration{"came late": time.Minute, "no slot in time": 0} {
		synctest.Test(t, func(t *testing.T) {
			done := false
			all := table{{Name: "change", Do: func(ctx context.Context, _ map[string]string, slot providers.Slot) (any, error) {
				if _, err := slot(ctx); err != nil {
					return nil, err
				}
				done = true
				return nil, nil
			}}}
			b := &patient{}
			ctx, stop := context.WithTimeout(t.Context(), 45*time.Second)
			defer stop()
			_, _ = desk.Ask(ctx, b, "gw", "change", nil)
			time.Sleep(late) // of the bubble's clock
			begun := time.Now()
			slot := func(ctx context.Context) (func() error, error) {
				if late > 0 {
					return func() error { return nil }, nil
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if err := desk.Serve(t.Context(), t.Context(), b, desk.Account{Name: "gw", Desk: all, Slot: slot}, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); done || took >= 45*time.Second {
				t.Errorf("%s: done %v after %v", name, done, took)
			}
		})
	}
}

// An operation in hand when the program is told to stop is finished.
func TestOperationInHandOutlivesTheOrderToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, order := context.WithCancel(t.Context())
		var got error
		all := table{{Name: "change", Do: func(ctx context.Context, _ map[string]string, _ providers.Slot) (any, error) {
			order()
			select {
			case <-ctx.Done():
				got = ctx.Err()
			case <-time.After(time.Second):
			}
			return "done", got
		}}}
		b := &patient{}
		_, _ = desk.Ask(ctx, b, "gw", "change", nil)
		if err := desk.Serve(ctx, t.Context(), b, desk.Account{Name: "gw", Desk: all}, slog.New(slog.DiscardHandler)); err != nil || got != nil {
			t.Errorf("operation %v, stop %v", got, err)
		}
	})
}
