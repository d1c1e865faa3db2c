// Package cloudrebue sends through the CloudRebue bulk SMS API v1
// (bulk.cloudrebue.co.ke), as its API document describes it.
//
// Quirks, and what is made of them:
//
//   - Several messages go as an array, one item each with its own correlator, our
//     message id. One alone goes as a bare object, whose answer tells more: the
//     operator.
//   - A message to a comma-separated list of phones gets one correlator, one
//     uniqueId and one count of units for all of them, and saves nothing that the
//     array does not. It is never sent; an answer that names several phones is
//     read all the same.
//   - Phones in answers and reports may be in the national form, 07… or 7….
//   - link_id belongs to a message that answers one of a handset ("on-demand"): an
//     option of the message, as no account can know it.
//   - Answers echo the correlator as a string or as a number, and in no promised
//     order. They are matched by it, never by position.
//   - The only documented refusal is "Unauthenticated.", by 401. An item with
//     "status": false is a refusal whose words are looked up in codes.go.
//   - Reports name the correlator and come to the endpoint that each item gave.
//     Nothing in them proves who sent them: the URL does. Their time has no zone.
//   - Of the words in reports one is documented, DeliveredToTerminal.
package cloudrebue

import (
	"fmt"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// BaseURL is the API's own base URL.
const BaseURL = "https://bulk.cloudrebue.co.ke/api/v1"

// maxBatch: "a maximum of 100 concurrent messages can be sent on a single JSON
// request body".
const maxBatch = 100

// phoneDigits: "Should start with country code with 12 characters".
const phoneDigits = 12

// linkID is the option of a message that this API has.
const linkID = "link_id"

type provider struct {
	http     *httpapi.Client
	token    string
	maxBatch int
}

var (
	_ providers.Provider = (*provider)(nil)
	_ providers.Reporter = (*provider)(nil)
)

// New is a providers.Factory. It wants the credential token, and no options.
func New(o providers.Options) (providers.Provider, error) {
	if err := httpapi.Credential(o.Credentials, "token"); err != nil {
		return nil, fmt.Errorf("cloudrebue: %w", err)
	}
	if err := httpapi.OnlyOptions(o.Options); err != nil {
		return nil, fmt.Errorf("cloudrebue: %w", err)
	}
	client, err := httpapi.New(httpapi.Options{
		BaseURL: o.BaseURL, Default: BaseURL, Timeout: o.Timeout,
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now, Credentials: o.Credentials,
	})
	if err != nil {
		return nil, fmt.Errorf("cloudrebue: %w", err)
	}
	return &provider{client, o.Credentials["token"], httpapi.BatchSize(o.BatchSize, maxBatch)}, nil
}

// Limits implements providers.Provider.
func (p *provider) Limits() providers.Limits {
	return providers.Limits{MaxBatch: p.maxBatch, CallbackURL: true, Correlator: true}
}

// Check implements providers.Provider. The document asks for a country code and
// 12 characters in all, "e.g. 254 for Kenya": an example, so numbers of other
// countries pass if they have that length, and the gateway has the last word.
// The national forms it takes too never occur here.
func (p *provider) Check(m *providers.Message) error {
	if len(httpapi.Digits(m.To)) != phoneDigits {
		return refuse("invalid_number", "takes numbers of 12 digits only")
	}
	if m.From == "" {
		return refuse("invalid_sender", "wants a sender id")
	}
	if err := httpapi.OnlyMessageOptions(m, linkID); err != nil {
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

// msisdn returns a phone of an answer or a report in E.164; the API takes and
// may tell Kenyan ones as "07/01 with 10 characters" and "7/1 with 9".
func msisdn(phone string) string {
	d := httpapi.Digits(phone)
	national := len(d) == 10 && d[0] == '0'
	if national {
		d = d[1:]
	}
	if len(d) == 9 && (d[0] == '7' || d[0] == '1') {
		return httpapi.E164("254" + d)
	}
	if national {
		return ""
	}
	return httpapi.E164(phone)
}

func refuse(code, detail string) error {
	return &providers.Error{Class: providers.RejectedHere, Code: code, Detail: detail}
}

// GroupKey implements providers.Provider: every item has a sender and a text of
// its own, so any messages may share a request.
func (p *provider) GroupKey(*providers.Message) string { return "" }
