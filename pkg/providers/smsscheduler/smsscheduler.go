// Package smsscheduler speaks the SMS Scheduler API v1 ("API documentation to
// send SMS"; POST /sms, GET and DELETE on /sms/{id} and /message/{id}).
//
// What is peculiar to it:
//
//   - One text for many numbers. A sender is a number of the account's "Senders"
//     page, so an account's option maps our sender ids to them.
//   - An answer lists ids by number, perhaps several for one, in the server's own
//     spelling of the number.
//   - A refusal of the whole request can name the numbers that caused it.
//   - The zone of a delivery date is not told. What is to go at once gets a date
//     that is past everywhere; scheduled_at needs the account's option zone.
//   - phone_numbers may be a string for a single number; an array always does.
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

// jsonType goes with all requests, those without a body too, as the document has it.
const jsonType = "application/json; charset=utf-8"

// maxBatch is the most numbers of one request. The document gives no limit;
// this one keeps a request that is uncertain, and its look-up, small.
const maxBatch = 500

type provider struct {
	http    *httpapi.Client
	header  http.Header // of every request; never written to
	batch   int
	senders map[string]int64 // our sender id to the gateway's
	stop    bool             // have the STOP mention added, unless the message says otherwise
	zone    *time.Location   // in which the gateway reads dates; nil: not known
	now     func() time.Time
}

// Beside sending, an account tells what became of its messages when asked, and
// deletes what was not sent yet.
var (
	_ providers.Provider = (*provider)(nil)
	_ providers.Finder   = (*provider)(nil)
	_ providers.Desk     = (*provider)(nil)
)

// stopOption has "STOP mention … added to the end of the message": of an account
// true or false, of a message "true" or "false".
const stopOption = "message_stop"

// New builds an account's adapter. It needs the credential token and the option
// senders, a map of our sender ids to the numbers on the gateway's "Senders"
// page ({ACME: 123}), and takes the options message_stop and zone, the gateway's
// time zone (Europe/Paris). The provider also is a Finder and a Desk.
func New(o providers.Options) (providers.Provider, error) {
	if err := httpapi.Credential(o.Credentials, "token"); err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
	client, err := httpapi.New(httpapi.Options{
		BaseURL: o.BaseURL, Default: BaseURL, Timeout: o.Timeout,
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now, Credentials: o.Credentials,
	})
	if err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
	if err := httpapi.OnlyOptions(o.Options, "senders", "zone", stopOption); err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
	senders, err := readSenders(o.Options["senders"])
	if err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
	p := &provider{http: client, header: http.Header{}, batch: httpapi.BatchSize(o.BatchSize, maxBatch), senders: senders, now: o.Now}
	if p.stop, p.zone, err = readRest(o.Options); err != nil {
		return nil, fmt.Errorf("smsscheduler: %w", err)
	}
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

// readRest reads the options that need not be there.
func readRest(options map[string]any) (stop bool, zone *time.Location, err error) {
	if given, ok := options[stopOption]; ok {
		if stop, ok = given.(bool); !ok {
			return false, nil, fmt.Errorf("options.%s: must be true or false", stopOption)
		}
	}
	if given, ok := options["zone"]; ok {
		name, _ := given.(string)
		if zone, err = time.LoadLocation(name); err != nil || name == "" || name == "Local" {
			return false, nil, errors.New("options.zone: must be a time zone like Europe/Paris")
		}
	}
	return stop, zone, nil
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

// GroupKey is equal for messages of one sender, text, stop mention and time.
func (p *provider) GroupKey(m *providers.Message) string {
	w, err := p.write(m)
	if err != nil {
		return "!" + m.ID // refused by Check: it travels with nobody
	}
	return fmt.Sprintf("%d %t %d\x00%s", w.sender, w.stop, w.at, w.text)
}

// wire is what messages of one request share.
type wire struct {
	sender int64
	text   string
	stop   bool
	at     int64 // second of its scheduled time, since 1970; 0: at once
}

func (p *provider) write(m *providers.Message) (w wire, err error) {
	sender, known := p.senders[m.From]
	w.sender = sender
	switch {
	case !known:
		return wire{}, refuse(providers.RejectedHere, envelope.InvalidSender, "is not among the account's senders")
	case !envelope.ValidNumber(m.To):
		return wire{}, refuse(providers.Rejected, envelope.InvalidNumber, "takes E.164 numbers only")
	}
	if w.text, err = httpapi.Text(m); err != nil {
		return wire{}, err
	}
	if w.text == "" {
		return wire{}, refuse(providers.Rejected, envelope.InvalidText, "wants a text")
	}
	if err := httpapi.OnlyMessageOptions(m, stopOption, httpapi.ScheduledAtOption); err != nil {
		return wire{}, err
	}
	switch given, ok := m.Options[stopOption]; {
	case !ok:
		w.stop = p.stop
	case given == "true" || given == "false":
		w.stop = given == "true"
	default:
		return wire{}, refuse(providers.Rejected, envelope.InvalidEnvelope, stopOption+" is true or false")
	}
	at, err := httpapi.ScheduledAt(m)
	switch {
	case err != nil:
		return wire{}, err
	case at.IsZero():
	case p.zone == nil:
		return wire{}, refuse(providers.RejectedHere, envelope.InvalidEnvelope, "takes no "+httpapi.ScheduledAtOption+" without the account's option zone")
	default:
		w.at = at.Unix()
		if at.Nanosecond() > 0 {
			w.at++ // late rather than early
		}
	}
	return w, nil
}

// date writes a time as the gateway reads it. A date "equal or inferior to the
// current date" sends right away; in which zone it is read is not documented. No
// clock on earth is behind UTC-12, so a message that is due waits in none. The
// price: the dates on the gateway's pages are early by half a day or so.
func (p *provider) date(at int64) string {
	const format = "2006-01-02 15:04:05"
	if now := p.now(); at <= now.Unix() {
		return now.In(time.FixedZone("UTC-12", -12*60*60)).Format(format)
	}
	return time.Unix(at, 0).In(p.zone).Format(format)
}

func refuse(class providers.Class, code envelope.Code, detail string) error {
	return &providers.Error{Class: class, Code: string(code), Detail: detail}
}
