package app

import (
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/pkg/providers/all"
)

// Each program looks up the credentials that it uses, and no others: it starts
// without them, and cannot lose what it never had.
func TestProgramsAreSparedOthersCredentials(t *testing.T) {
	t.Parallel()
	const text = `
providers:
  cr: {type: cloudrebue, credentials: {token: "${CR_TOKEN}"}}
  ds: {type: digitalservices, credentials: {api_key: "${DS_KEY}", username: "${DS_USER}", password: "${DS_PASSWORD}", dlr_username: "${DS_DLR_USER}", dlr_password: "${DS_DLR_PASSWORD}"}}
  bulk: {type: bulksmsrates, credentials: {api_key: "${BULK_KEY}", api_secret: "${BULK_SECRET}", webhook_secret: "${BULK_HOOK}", verify_token: "${BULK_VERIFY}"}}
  box: {type: smsbox, credentials: {api_key: "${BOX_KEY}", api_secret: "${BOX_SECRET}"}}
`
	for name, c := range map[string]struct {
		spared func(all.Type) []string
		want   string
	}{
		"dispatcher":    {toHear, "BOX_KEY BOX_SECRET BULK_KEY BULK_SECRET CR_TOKEN DS_DLR_PASSWORD DS_DLR_USER DS_KEY DS_PASSWORD DS_USER"},
		"dlr-collector": {toSend, "BOX_KEY BOX_SECRET BULK_HOOK BULK_KEY BULK_SECRET BULK_VERIFY DS_DLR_PASSWORD DS_DLR_USER"},
	} {
		asked := map[string]bool{}
		cfg, err := config.Parse("f", []byte(text), TypeDefaults(), func(name string) (string, bool) { asked[name] = true; return "a-value", true })
		if err != nil {
			t.Fatal(err)
		}
		clear(asked)
		if _, err := (&kit{cfg: cfg}).adapters(c.spared); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, n := range strings.Fields(c.want) {
			if !asked[n] {
				t.Errorf("%s does without %s", name, n)
			}
			delete(asked, n)
		}
		for n := range asked {
			t.Errorf("%s looks up %s", name, n)
		}
	}
}

// Only gateways that are told a URL with each request need its secret to send.
func TestCallbackTokensAreLookedUpWhereTheyAreTold(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("f", []byte("providers: {a: {type: smsbox, callback_token: '${NOT_SET}'}}"), TypeDefaults(), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{cfg: cfg}
	if f, err := k.callback(cfg.Accounts["a"], false); f != nil || err != nil {
		t.Errorf("%v", err)
	}
	if _, err := k.callback(cfg.Accounts["a"], true); err == nil {
		t.Error("a URL without its secret")
	}
}
