package all

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// The table says the same as the packages do.
func TestTypes(t *testing.T) {
	t.Parallel()
	optional := map[string][]string{"bulksmsrates": {"email", "password", "refresh_token", "verify_token"}}
	options := map[string]map[string]any{
		"smsscheduler": {"senders": map[string]any{"ACME": 123}},
	}
	for name, typ := range Types() {
		creds := map[string]string{}
		for _, key := range typ.Credentials {
			creds[key] = "x"
		}
		o := providers.Options{Account: "a", BaseURL: typ.BaseURL, Credentials: creds, Options: options[name], AllowHTTP: strings.HasPrefix(typ.BaseURL, "http:")}
		p, err := typ.New(o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.Limits().MaxBatch; got != typ.BatchSize {
			t.Errorf("%s: MaxBatch %d, the table says %d", name, got, typ.BatchSize)
		}
		if typ.Rate < 1 {
			t.Errorf("%s: no rate", name)
		}
		for _, key := range typ.Credentials {
			if slices.Contains(optional[name], key) {
				continue
			}
			o.Credentials = maps.Clone(creds)
			delete(o.Credentials, key)
			if _, err := typ.New(o); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s without %s: got %v, want an error that names it", name, key, err)
			}
		}
	}
}

func TestFactories(t *testing.T) {
	t.Parallel()
	want := []string{"bulksmsrates", "cloudrebue", "digitalservices", "smsbox", "smsscheduler"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(Types()))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(Factories()))); diff != "" {
		t.Error(diff)
	}
}
