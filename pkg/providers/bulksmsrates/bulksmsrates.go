// Package bulksmsrates speaks the BulkSMSRates API v1 ("API Documentation" of
// bulksmsrates.com): single and bulk SMS, WhatsApp templates, look-ups, campaigns,
// balance, and signed webhooks.
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
// The document shows the shapes of few answers: of the two sends, the balance, a
// page of a list, an error, and one webhook. The others are read leniently, and
// what cannot be read proves nothing; see lenient.go.
//
// The document's sandbox example uses another path (/api/v1/sms/send) and other
// fields (destination, message, sender_id) than its own tables; the tables hold
// here, with X-Sandbox on top.
package bulksmsrates

import (
	"errors"
	"fmt"
	"maps"
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
	login     login
	header    http.Header // of every request; never written to
	account   string
	batch     int
	wholeText bool
	webhooks  bool
	secrets   [][]byte
	verify    []byte // what Meta's hub must know; empty: it is not answered
	tolerance time.Duration
	now       func() time.Time
}

// Beside sending, an account takes reports and notices and sees to it that they
// come, looks up messages, tells its balance, takes messages from WhatsApp, and
// has a desk.
var (
	_ providers.Provider   = (*provider)(nil)
	_ providers.Reporter   = (*provider)(nil)
	_ providers.Noticer    = (*provider)(nil)
	_ providers.Subscriber = (*provider)(nil)
	_ providers.Finder     = (*provider)(nil)
	_ providers.Desk       = (*provider)(nil)
	_ providers.Balancer   = (*provider)(nil)
	_ providers.Receiver   = (*provider)(nil)
	_ providers.Challenger = (*provider)(nil)
)

// New builds an account's adapter. It needs the credentials api_key and
// api_secret, or email and password, or refresh_token (which suits one process
// only), and webhook_secret (several, separated by commas, while one is replaced).
// verify_token is what Meta's hub proves itself with. It knows these options:
//
//   - sandbox: every request carries X-Sandbox: true, and nothing is really sent.
//   - whole_text: messages of different texts share a request, each whole text
//     being the value of one variable. Off by default: how long a value may be
//     is not documented.
//   - webhooks: see to it that the gateway calls us; see Subscribe. Off by default:
//     a webhook that it makes anew may have a secret that only the dashboard shows.
//   - webhook_tolerance: a duration; default 15m.
func New(o providers.Options) (providers.Provider, error) {
	p := &provider{
		header: http.Header{}, account: o.Account, batch: httpapi.BatchSize(o.BatchSize, maxBatch),
		verify: []byte(o.Credentials["verify_token"]), tolerance: defaultTolerance, now: o.Now,
	}
	if p.now == nil {
		p.now = time.Now
	}
	if err := p.build(o); err != nil {
		return nil, fmt.Errorf("bulksmsrates: %w", err)
	}
	return p, nil
}

func (p *provider) build(o providers.Options) (err error) {
	struck := maps.Clone(o.Credentials)
	for s := range strings.SplitSeq(o.Credentials["webhook_secret"], ",") {
		if s = strings.TrimSpace(s); s != "" {
			p.secrets = append(p.secrets, []byte(s))
			struck[s] = s // each may be told by itself
		}
	}
	p.http, err = httpapi.New(httpapi.Options{
		BaseURL: o.BaseURL, Default: BaseURL, Timeout: o.Timeout,
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now, Credentials: struck,
	})
	if err != nil {
		return err
	}
	if err := p.identify(o.Credentials); err != nil {
		return err
	}
	if err := httpapi.Credential(o.Credentials, "webhook_secret"); err != nil {
		return err
	}
	if len(p.secrets) == 0 {
		return errors.New("credentials.webhook_secret: holds no secret")
	}
	return p.configure(o.Options)
}

// identify chooses how the account proves who it is: the key pair where there is
// one, for it costs no request and never lapses.
func (p *provider) identify(creds map[string]string) error {
	switch {
	case creds["api_key"] != "" || creds["api_secret"] != "":
		p.login = keyPair{}
		p.header["X-API-Key"] = []string{creds["api_key"]} // as the document spells them
		p.header["X-API-Secret"] = []string{creds["api_secret"]}
		return httpapi.Credential(creds, "api_key", "api_secret")
	case creds["email"] != "" || creds["password"] != "":
		p.login = &session{http: p.http, email: creds["email"], password: creds["password"], refresh: creds["refresh_token"], now: p.now}
		return httpapi.Credential(creds, "email", "password")
	case creds["refresh_token"] != "":
		p.login = &session{http: p.http, refresh: creds["refresh_token"], now: p.now}
		return nil
	}
	return errors.New("credentials: api_key and api_secret are missing, and so are email and password, and refresh_token, which would do instead")
}

func (p *provider) configure(options map[string]any) error {
	if err := httpapi.OnlyOptions(options, "sandbox", "whole_text", "webhooks", "webhook_tolerance"); err != nil {
		return err
	}
	sandbox := false
	for name, into := range map[string]*bool{"sandbox": &sandbox, "whole_text": &p.wholeText, "webhooks": &p.webhooks} {
		value, given := options[name]
		if on, ok := value.(bool); given && !ok {
			return fmt.Errorf("options.%s: must be true or false", name)
		} else if given {
			*into = on
		}
	}
	if sandbox {
		p.header.Set(sandboxHeader, "true")
	}
	if value, given := options["webhook_tolerance"]; given {
		d, err := time.ParseDuration(fmt.Sprint(value))
		if err != nil || d <= 0 || d > 24*time.Hour {
			return errors.New("options.webhook_tolerance: must be a duration such as 15m, of at most 24h")
		}
		p.tolerance = d
	}
	return nil
}

// Limits implements providers.Provider.
func (p *provider) Limits() providers.Limits {
	return providers.Limits{MaxBatch: p.batch, Channels: []providers.Channel{providers.WhatsApp}}
}

// Check refuses what this API would refuse.
func (p *provider) Check(m *providers.Message) error {
	if m.Channel != "" {
		return checkWhatsApp(m)
	}
	_, err := p.write(m)
	return err
}

// GroupKey is equal for messages of one sender, one body, the same options and
// about the same validity; of any body with the option whole_text. As time passes
// a message's validity shrinks and its key may change. A WhatsApp message travels
// alone, as what is refused by Check would.
func (p *provider) GroupKey(m *providers.Message) string {
	if m.Channel != "" {
		return "!" + m.ID
	}
	w, err := p.write(m)
	if err != nil {
		return "!" + m.ID
	}
	if p.mixes(w) {
		w.body = ""
	}
	return m.From + "\x00" + strconv.Itoa(p.validity(m, w.extras)) + "\x00" + w.extras.key() + "\x00" + w.body
}

// mixes reports whether a message may share a request with others of another text.
func (p *provider) mixes(w wire) bool { return p.wholeText && w.extras.template == "" }
