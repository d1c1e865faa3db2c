package ingest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

const shipped = `{"to":"+254712345678","channel":"whatsapp","variables":{"name":"Asha"},"options":{"k":"v"},
	"template":{"name":"order_shipped","language":"en","parameters":["{{name}}","{{1}}"]}}`

// carries makes account world one that has WhatsApp, and keeps what it was asked.
func carries(asked *[]providers.Message) func(*ingest.Options) {
	return func(o *ingest.Options) {
		o.Accounts[1].Channels = []providers.Channel{providers.WhatsApp}
		o.Accounts[1].Check = func(m *providers.Message) error {
			*asked = append(*asked, *m)
			return nil
		}
	}
}

func TestWhatsAppGoesToAnAccountThatCarriesIt(t *testing.T) {
	t.Parallel()
	var asked []providers.Message
	r := start(t, carries(&asked))
	a := r.accepted(shipped)
	if diff := cmp.Diff([]ingest.AcceptedMessage{{ID: a.ID + "-0", To: "+254712345678", Segments: 1}}, a.Messages); diff != "" {
		t.Error(diff)
	}
	p := r.queue("world", 1)[0]
	want := &envelope.Template{Name: "order_shipped", Language: "en", Parameters: []string{"{{name}}", "{{1}}"}}
	if p.Channel != envelope.WhatsApp || !p.Template || p.Options["k"] != "v" || !cmp.Equal(want, p.Form) || len(p.Route) != 0 {
		t.Errorf("piece %+v", p)
	}
	if len(asked) != 1 || asked[0].Channel != providers.WhatsApp || asked[0].Options["k"] != "v" || asked[0].Variables != nil ||
		!cmp.Equal([]string{"Asha", "{{1}}"}, asked[0].Template.Parameters) {
		t.Errorf("the account was asked %+v", asked)
	}
}

// TestWhatsAppTakesARequestEach: a dry run says so.
func TestWhatsAppTakesARequestEach(t *testing.T) {
	t.Parallel()
	var asked []providers.Message
	r := start(t, carries(&asked))
	two := strings.Replace(shipped, `"to":"+254712345678"`, `"recipients":[{"to":"+254712345678"},{"to":"+254712345679"}]`, 1)
	got := r.do("k-acme", http.MethodPost, "/v1/messages?dry_run=true", two)
	if got.status != http.StatusOK || !strings.Contains(got.body, `"batches":{"world":2}`) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestWhatsAppNobodyCarries(t *testing.T) {
	t.Parallel()
	r := start(t)
	for code, body := range map[string]string{
		"no_route":         shipped,
		"missing_variable": strings.Replace(shipped, `{"name":"Asha"}`, `{"other":"x"}`, 1),
		"invalid_envelope": strings.Replace(shipped, `"channel":"whatsapp",`, `"channel":"whatsapp","text":"x",`, 1),
	} {
		got := r.do("k-acme", http.MethodPost, "/v1/messages", body)
		if got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `"code":"`+code+`"`) {
			t.Errorf("%s: %d %s", code, got.status, got.body)
		}
	}
}

// TestWhatsAppOfBoundTenants: beta is bound to a sender and to an account.
func TestWhatsAppOfBoundTenants(t *testing.T) {
	t.Parallel()
	var asked []providers.Message
	r := start(t, carries(&asked))
	if got := r.do("k-beta", http.MethodPost, "/v1/messages", shipped); got.status != http.StatusAccepted {
		t.Errorf("bound to accounts: %d %s", got.status, got.body)
	}
	unbound := start(t, carries(&asked), func(o *ingest.Options) { o.Tenants[1].Accounts = nil })
	got := unbound.do("k-beta", http.MethodPost, "/v1/messages", shipped)
	if got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `"invalid_sender"`) {
		t.Errorf("bound to senders only: %d %s", got.status, got.body)
	}
}

// TestSMSIsTheDefaultChannel: saying so is the same submission.
func TestSMSIsTheDefaultChannel(t *testing.T) {
	t.Parallel()
	r := start(t)
	first := r.accepted(one, "Idempotency-Key", "k")
	again := r.accepted(strings.Replace(one, `{`, `{"channel":"sms",`, 1), "Idempotency-Key", "k")
	if first.ID != again.ID {
		t.Errorf("%s, then %s", first.ID, again.ID)
	}
	if p := r.queue("ke", 1)[0]; p.Channel != "" {
		t.Errorf("kept as %q", p.Channel)
	}
}
