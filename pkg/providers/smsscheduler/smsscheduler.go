// Package smsscheduler speaks the SMS Scheduler API v1 ("API documentation to
// send SMS"; POST /sms, GET /message/{id}).
//
// What is peculiar to it:
//
//   - One text for many numbers. A sender is a number of the account's "Senders"
//     page, so an account's option maps our sender ids to them.
//   - An answer lists ids by number, perhaps several for one, in the server's own
//     spelling of the number.
//   - A refusal of the whole request can name the numbers that caused it.
//   - There are no callbacks: one look-up tells the state of a whole request.
//   - The document's base URL is plain http, token and texts included; such an
//     account needs allow_http.
package smsscheduler

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// BaseURL is the API's own base URL.
const BaseURL = "http://test.sms-scheduler.com/api/v1"

// maxBatch is the most numbers of one request. The document gives no limit;
// this one keeps a request that is uncertain, and its look-up, small.
const maxBatch = 500

type provider struct {
	http    *httpapi.Client
	header  http.Header // of every request; never written to
	batch   int
	senders map[string]int64 // our sender id to the gateway's
	now     func() time.Time
}

// Beside sending, an account tells what became of its messages when asked.
var (
	_ providers.Provider = (*provider)(nil)
	_ providers.Finder   = (*provider)(nil)
)

// New builds an account's adapter. It needs the credential token and the option
// senders, a map of our sender ids to the numbers on the gateway's "Senders"
// page ({ACME: 123}), and knows no other option. The provider also is a Finder.
func New(o providers.Options) (providers.Provider, error) {
	if err := httpapi.Credential(o.Credentials, "token"); err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
	client, err := httpapi.New(httpapi.Options{
		BaseURL: o.BaseURL, Default: BaseURL, Timeout: o.Timeout,
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
	if err := httpapi.OnlyOptions(o.Options, "senders"); err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
	senders, err := readSenders(o.Options["senders"])
	if err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
	p := &provider{http: client, header: http.Header{}, batch: httpapi.BatchSize(o.BatchSize, maxBatch), senders: senders, now: o.Now}
	p.header.Set("Authorization", "bearer "+o.Credentials["token"])
	if p.now == nil {
		p.now = time.Now
	}
	return p, nil
}

// readSenders reads the option as any decoder of YAML or JSON may give it.
func readSenders(option any) (map[string]int64, error) {
	given, ok := option.(map[string]any)
	if !ok || len(given) == 0 {
		return nil, errors.New("options.senders: must map sender ids to the gateway's sender numbers, as in {ACME: 123}")
	}
	senders := make(map[string]int64, len(given))
	for name, value := range given {
		id, err := strconv.ParseInt(number(value), 10, 64)
		if err != nil || id <= 0 {
			return nil, fmt.Errorf("options.senders.%s: must be the number of a sender", name)
		}
		senders[name] = id
	}
	return senders, nil
}

func number(value any) string {
	if f, ok := value.(float64); ok && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10)
	}
	return fmt.Sprint(value)
}

// Limits implements providers.Provider.
func (p *provider) Limits() providers.Limits { return providers.Limits{MaxBatch: p.batch} }

// Check refuses senders that the account does not have, and what cannot be read.
func (p *provider) Check(m *providers.Message) error {
	_, err := p.write(m)
	return err
}

// GroupKey is equal for messages of one sender and one text.
func (p *provider) GroupKey(m *providers.Message) string {
	w, err := p.write(m)
	if err != nil {
		return "!" + m.ID // refused by Check: it travels with nobody
	}
	return strconv.FormatInt(w.sender, 10) + "\x00" + w.text
}

// wire is what messages of one request share.
type wire struct {
	sender int64
	text   string
}

func (p *provider) write(m *providers.Message) (wire, error) {
	text, err := httpapi.Text(m)
	if err != nil {
		return wire{}, err
	}
	id, known := p.senders[m.From]
	switch {
	case !known:
		return wire{}, refuse(providers.RejectedHere, envelope.InvalidSender, "is not among the account's senders")
	case !envelope.ValidNumber(m.To):
		return wire{}, refuse(providers.Rejected, envelope.InvalidNumber, "takes E.164 numbers only")
	case text == "":
		return wire{}, refuse(providers.Rejected, envelope.InvalidText, "wants a text")
	}
	return wire{id, text}, nil
}

func refuse(class providers.Class, code envelope.Code, detail string) error {
	return &providers.Error{Class: class, Code: string(code), Detail: detail}
}
