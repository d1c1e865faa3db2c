package bulksmsrates_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func operate(t *testing.T, p providers.Provider, name string, args map[string]string) (any, error) {
	t.Helper()
	for _, o := range p.(providers.Desk).Operations() {
		if o.Name == name {
			return o.Do(t.Context(), args, freeSlot)
		}
	}
	t.Fatalf("no operation %s", name)
	return nil, nil
}

func freeSlot(context.Context) (func() error, error) { return func() error { return nil }, nil }

// TestArguments: what cannot be meant never leaves.
func TestArguments(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]map[string]string{
		"status":              {"id": "../billing/balance"},
		"suspend":             {"id": ""},
		"cancel":              {"id": "a/b"},
		"campaign":            {"id": ".."},
		"campaign-recipients": {"id": "c-1", "to": "+447700900001,0770"},
		"create-template":     {"name": "Bad Name", "language": "en", "category": "UTILITY", "text": "x"},
	} {
		k := &kept{}
		_, err := operate(t, account(t, k, nil), name, args)
		var e *providers.Error
		if !errors.As(err, &e) || k.path != "" {
			t.Errorf("%s: %v, asked %q", name, err, k.path)
		}
	}
}

// TestOperationTakesItsSlots: one for each request, a log-in's included, and none
// is asked for once slots are refused.
func TestOperationTakesItsSlots(t *testing.T) {
	t.Parallel()
	g := &issuer{}
	p, _ := bearer(t, g, loginCredentials)
	slots := 0
	for _, o := range p.(providers.Desk).Operations() {
		if o.Name != providers.OpCampaigns {
			continue
		}
		if _, err := o.Do(t.Context(), nil, func(context.Context) (func() error, error) { slots++; return func() error { return nil }, nil }); err != nil {
			t.Fatal(err)
		}
		none := errors.New("no slot")
		if _, err := o.Do(t.Context(), nil, func(context.Context) (func() error, error) { return nil, none }); !errors.Is(err, none) {
			t.Errorf("without a slot: %v", err)
		}
	}
	if slots != 2 || len(g.paths) != 2 {
		t.Errorf("%d slots for %v", slots, g.paths)
	}
}
