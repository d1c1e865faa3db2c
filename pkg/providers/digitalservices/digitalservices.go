// Package digitalservices sends through the Bulk SMS API v2 of Digital Services
// Center, Rwanda (bulksms.schooldream.co.rw), as its API document describes it.
//
// Quirks, and what is made of them:
//
//   - A request is a form with the credentials in its body. The password goes
//     last, so that a form which was cut on its way cannot be taken.
//   - One sender and one text, many recipients in a comma list. Messages share a
//     request when both are equal after placeholders are filled.
//   - One bad number fails the whole request: 400 "Invalid phone numbers: …",
//     in the form that the gateway likes. The numbers are found in the batch.
//   - 429 is no pacing but the 15 messages a day of the testing mode; it lasts
//     until the next day. Whose midnight begins it is not told: it is asked again
//     after that of Kigali, and then by the hour until that of UTC is over.
//   - Numbers are "250XXXXXXXXX": others would be refused, so they are not sent.
//   - 500 "Failed to send SMS via external gateway" does not say for which of the
//     recipients: uncertain for all.
//   - Reports come by GET with a user name and a password: credentials of their
//     own, never the API's. The document's request names a bare dlrurl, its
//     callback format one with placeholders. Ours has placeholders and those
//     credentials; a gateway may fill it in, or put its own parameters, with its
//     "SMS channel username" and password, behind it or in their place. So
//     dlr_username and dlr_password are best those of the channel.
//   - The document names no limit of recipients; 500 is ours.
package digitalservices

import (
	"fmt"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// BaseURL is the API's own base URL.
const BaseURL = "https://bulksms.schooldream.co.rw/api/v2"

const maxBatch = 500

type provider struct {
	http     *httpapi.Client
	creds    map[string]string
	maxBatch int
	now      func() time.Time
}

var (
	_ providers.Provider = (*provider)(nil)
	_ providers.Reporter = (*provider)(nil)
)

// New is a providers.Factory. It wants the credentials api_key, username,
// password, dlr_username and dlr_password, and no options.
func New(o providers.Options) (providers.Provider, error) {
	keys := []string{"api_key", "username", "password", "dlr_username", "dlr_password"}
	if err := httpapi.Credential(o.Credentials, keys...); err != nil {
		return nil, fmt.Errorf("digitalservices: %w", err)
	}
	if err := httpapi.OnlyOptions(o.Options); err != nil {
		return nil, fmt.Errorf("digitalservices: %w", err)
	}
	client, err := httpapi.New(httpapi.Options{
		BaseURL: o.BaseURL, Default: BaseURL, Timeout: o.Timeout,
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now, Credentials: o.Credentials,
	})
	if err != nil {
		return nil, fmt.Errorf("digitalservices: %w", err)
	}
	p := &provider{client, o.Credentials, httpapi.BatchSize(o.BatchSize, maxBatch), o.Now}
	if p.now == nil {
		p.now = time.Now
	}
	return p, nil
}

// Limits implements providers.Provider.
func (p *provider) Limits() providers.Limits {
	return providers.Limits{MaxBatch: p.maxBatch, CallbackURL: true}
}

// Check implements providers.Provider. A sender is wanted although the API has a
// default: nobody may send under another's name.
func (p *provider) Check(m *providers.Message) error {
	if httpapi.E164(m.To) != m.To || !strings.HasPrefix(m.To, "+250") || len(m.To) != len("+250XXXXXXXXX") {
		return refuse("invalid_number", "takes numbers of Rwanda only")
	}
	if m.From == "" {
		return refuse("invalid_sender", "wants a sender id")
	}
	if err := httpapi.OnlyMessageOptions(m); err != nil {
		return err
	}
	text, err := httpapi.Text(m)
	if err != nil {
		return err
	}
	if text == "" {
		return refuse("invalid_text", "wants a text")
	}
	return nil
}

// msisdn returns a number of an answer or a report in E.164. The document's own
// error has one in the national form, 0781234567.
func msisdn(s string) string {
	d := strings.NewReplacer(" ", "", "-", "").Replace(s)
	if len(d) == 10 && d[0] == '0' {
		d = d[1:]
	}
	if len(d) == 9 && d[0] == '7' {
		return httpapi.E164("250" + d)
	}
	return httpapi.E164(s)
}

func refuse(code, detail string) error {
	return &providers.Error{Class: providers.RejectedHere, Code: code, Detail: detail}
}

// GroupKey implements providers.Provider: equal sender, equal text as sent.
func (p *provider) GroupKey(m *providers.Message) string {
	text, err := httpapi.Text(m)
	if err != nil {
		return "\x00" + m.ID // Check refuses it; it shares a request with nobody
	}
	return m.From + "\x00" + text
}
