// Package cloudrebue sends through the CloudRebue bulk SMS API v1
// (bulk.cloudrebue.co.ke), as its API document describes it.
//
// Quirks, and what is made of them:
//
//   - A message to a comma-separated list of phones gets one uniqueId for all of
//     them, which no report can be told apart by. Only the array form is used,
//     one item a message, each with its own correlator: our message id.
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
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now,
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
	text, err := httpapi.Text(m)
	if err != nil {
		return err
	}
	if text == "" {
		return refuse("invalid_text", "wants a text")
	}
	return nil
}

func refuse(code, detail string) error {
	return &providers.Error{Class: providers.RejectedHere, Code: code, Detail: detail}
}

// GroupKey implements providers.Provider: every item has a sender and a text of
// its own, so any messages may share a request.
func (p *provider) GroupKey(*providers.Message) string { return "" }
