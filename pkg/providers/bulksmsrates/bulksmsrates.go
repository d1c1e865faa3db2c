// Package bulksmsrates speaks the BulkSMSRates API v1 ("API Documentation" of
// bulksmsrates.com; POST /sms/send and /sms/bulk, GET /billing/balance, signed
// webhooks).
//
// What is peculiar to it:
//
//   - One body with {{variables}} for up to 10,000 recipients, each with values
//     of its own.
//   - A bulk answer counts what it took and names nobody but the batch. A single
//     send names its message, so a batch of one goes that way.
//   - client_ref is "echoed in DLR" (the sample report does not show it).
//   - Errors have one shape and a code each; status and code together decide.
//   - Webhooks are signed over the raw body and need no secret in their URL.
//
// The document's sandbox example uses another path (/api/v1/sms/send) and other
// fields (destination, message, sender_id) than its own tables; the tables hold
// here, with X-Sandbox on top.
package bulksmsrates

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// BaseURL is the API's own base URL; the paths of the document begin after
// its /v1.
const BaseURL = "https://app.bulksmsrates.com/v1"

// maxBatch is the most recipients of one bulk request.
const maxBatch = 10_000

// defaultTolerance is how far a webhook's timestamp may be from its arrival.
// The document says five minutes, and its own third try comes after 5 m 35 s.
const defaultTolerance = 15 * time.Minute

type provider struct {
	http      *httpapi.Client
	header    http.Header // of every request; never written to
	batch     int
	wholeText bool
	secrets   [][]byte
	tolerance time.Duration
	now       func() time.Time
}

// Beside sending, an account takes reports and tells its balance.
var (
	_ providers.Provider = (*provider)(nil)
	_ providers.Reporter = (*provider)(nil)
	_ providers.Balancer = (*provider)(nil)
)

// New builds an account's adapter. It needs the credentials api_key, api_secret
// and webhook_secret (several, separated by commas, while one is replaced) and
// knows these options:
//
//   - sandbox: every request carries X-Sandbox: true, and nothing is really sent.
//   - whole_text: messages of different texts share a request, each whole text
//     being the value of one variable. Off by default: how long a value may be
//     is not documented.
//   - webhook_tolerance: a duration; default 15m.
//
// The provider also is a Reporter and a Balancer.
func New(o providers.Options) (providers.Provider, error) {
	if err := httpapi.Credential(o.Credentials, "api_key", "api_secret", "webhook_secret"); err != nil {
		return nil, fmt.Errorf("bulksmsrates: %w", err)
	}
	client, err := httpapi.New(httpapi.Options{
		BaseURL: o.BaseURL, Default: BaseURL, Timeout: o.Timeout,
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("bulksmsrates: %w", err)
	}
	p := &provider{http: client, header: http.Header{}, batch: httpapi.BatchSize(o.BatchSize, maxBatch), tolerance: defaultTolerance, now: o.Now}
	p.header.Set("X-API-Key", o.Credentials["api_key"])
	p.header.Set("X-API-Secret", o.Credentials["api_secret"])
	if p.now == nil {
		p.now = time.Now
	}
	for s := range strings.SplitSeq(o.Credentials["webhook_secret"], ",") {
		if s = strings.TrimSpace(s); s != "" {
			p.secrets = append(p.secrets, []byte(s))
		}
	}
	if len(p.secrets) == 0 {
		return nil, errors.New("bulksmsrates: credentials.webhook_secret: holds no secret")
	}
	if err := p.configure(o.Options); err != nil {
		return nil, fmt.Errorf("bulksmsrates: %w", err)
	}
	return p, nil
}

func (p *provider) configure(options map[string]any) error {
	if err := httpapi.OnlyOptions(options, "sandbox", "whole_text", "webhook_tolerance"); err != nil {
		return err
	}
	for name, value := range options {
		switch name {
		case "sandbox":
			on, ok := value.(bool)
			if !ok {
				return errors.New("options.sandbox: must be true or false")
			}
			if on {
				p.header.Set("X-Sandbox", "true")
			}
		case "whole_text":
			on, ok := value.(bool)
			if !ok {
				return errors.New("options.whole_text: must be true or false")
			}
			p.wholeText = on
		case "webhook_tolerance":
			d, err := time.ParseDuration(fmt.Sprint(value))
			if err != nil || d <= 0 || d > 24*time.Hour {
				return errors.New("options.webhook_tolerance: must be a duration such as 15m, of at most 24h")
			}
			p.tolerance = d
		}
	}
	return nil
}

// Limits implements providers.Provider.
func (p *provider) Limits() providers.Limits { return providers.Limits{MaxBatch: p.batch} }

// Check refuses what this API would refuse.
func (p *provider) Check(m *providers.Message) error {
	_, err := write(m)
	return err
}

// GroupKey is equal for messages of one sender, one body and about the same
// validity; of any body with the option whole_text. As time passes a message's
// validity shrinks and its key may change.
func (p *provider) GroupKey(m *providers.Message) string {
	w, err := write(m)
	if err != nil {
		return "!" + m.ID // refused by Check: it travels with nobody
	}
	if p.wholeText {
		w.body = ""
	}
	return m.From + "\x00" + strconv.Itoa(p.validity(m)) + "\x00" + w.body
}
