package bulksmsrates

import (
	"crypto/hmac"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// What a webhook lacks to be of use. None of these payloads is documented.
var (
	errNoNumber  = errors.New("bulksmsrates: opt-out names no number")
	errNoMessage = errors.New("bulksmsrates: no message from a handset in it")
)

// noticed are the "Webhook Events" that are about no message of ours, and the
// readers of what they tell.
var noticed = map[string]func(event string, data fields) (providers.Notice, error){
	"opt_out":            optOutNotice,      // Recipient replied STOP
	"campaign.completed": campaignNotice,    // Campaign finished sending
	"campaign.failed":    campaignNotice,    // Campaign encountered errors
	"balance.low":        balanceLowNotice,  // Balance below threshold
	"whatsapp.message":   fromHandsetNotice, // Inbound WhatsApp message
}

// ParseNotices implements providers.Noticer. A webhook with reports has none, and
// neither has an event yet unheard of.
func (p *provider) ParseNotices(cb *providers.Callback) ([]providers.Notice, error) {
	list, _, err := httpapi.Objects(cb.Body)
	if err != nil {
		return nil, nil // ParseReports has said so
	}
	var notices []providers.Notice
	var errs []error
	for _, raw := range list {
		top, err := read(raw)
		if err != nil {
			continue
		}
		event := strings.ToLower(top.first("event"))
		tell := noticed[event]
		if tell == nil {
			continue
		}
		n, err := tell(event, top.within("data"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		notices = append(notices, n)
	}
	return notices, errors.Join(errs...)
}

func optOutNotice(_ string, data fields) (providers.Notice, error) {
	data = data.within("contact")
	number := httpapi.E164(data.first("phone", "phone_number", "number", "destination", "msisdn", "from", "recipient", "to"))
	if number == "" {
		return providers.Notice{}, errNoNumber
	}
	return providers.Notice{Kind: providers.NoticeOptOut, Number: number, Detail: httpapi.Trim(data.first("keyword", "reason"))}, nil
}

func campaignNotice(event string, data fields) (providers.Notice, error) {
	data = data.within("campaign")
	n := providers.Notice{Kind: providers.NoticeCampaign, ID: data.id("campaign_id", "batch_id", "id"), Detail: strings.TrimPrefix(event, "campaign.")}
	if why := httpapi.Trim(data.first("reason", "error", "message")); why != "" {
		n.Detail = httpapi.Trim(n.Detail + ": " + why)
	}
	return n, nil
}

func balanceLowNotice(_ string, data fields) (providers.Notice, error) {
	n := providers.Notice{Kind: providers.NoticeBalanceLow}
	if cents, err := strconv.ParseInt(data.first("available", "balance"), 10, 64); err == nil {
		n.Detail = money(cents, data.first("currency"))
	}
	return n, nil
}

func fromHandsetNotice(_ string, data fields) (providers.Notice, error) {
	in, err := fromHandset(data.within("message"))
	return providers.Notice{Kind: providers.NoticeInbound, ID: in.ID, MO: &in}, err
}

// fromHandset reads a WhatsApp message. One without a text (a picture) is told
// with an empty one.
func fromHandset(data fields) (providers.Inbound, error) {
	in := providers.Inbound{
		ID:   data.id("message_id", "messageId", "wa_message_id", "id"),
		From: httpapi.E164(data.first("from", "sender", "wa_id", "phone")),
		To:   httpapi.E164(data.first("to", "recipient", "destination", "display_phone_number")),
		Text: data.within("text").first("body", "text", "message", "content"),
		Time: moment(data.first("timestamp", "received_at", "created_at")),
	}
	if in.From == "" || in.ID == "" {
		return providers.Inbound{}, errNoMessage
	}
	return in, nil
}

// moment reads a time in RFC 3339 or in Unix seconds; zero if it is neither.
func moment(s string) time.Time {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC()
	}
	if t, err := unixTime(s); err == nil {
		return t.UTC()
	}
	return time.Time{}
}

// ParseInbound implements providers.Receiver, for a URL that is set as Meta's own
// webhook or gets whatsapp.message events alone. Meta puts several messages in one
// call: entry[].changes[].value.messages[].
func (p *provider) ParseInbound(cb *providers.Callback) (list []providers.Inbound, contentType string, answer []byte, err error) {
	raw, _, err := httpapi.Objects(cb.Body)
	if err != nil {
		return nil, "", nil, errNoMessage
	}
	var messages []fields
	for _, r := range raw {
		if top, err := read(r); err == nil {
			messages = append(messages, messagesOf(top)...)
		}
	}
	var errs []error
	for _, m := range messages {
		in, err := fromHandset(m)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, in)
	}
	if len(messages) == 0 {
		errs = append(errs, errNoMessage)
	}
	return list, "", nil, errors.Join(errs...)
}

// messagesOf are the messages of an event: its own, or Meta's.
func messagesOf(top fields) (messages []fields) {
	if top.value("entry") == nil {
		return []fields{top.within("data").within("message")}
	}
	for _, entry := range top.objects("entry") {
		for _, change := range entry.objects("changes") {
			value := change.within("value")
			for _, m := range value.objects("messages") {
				messages = append(messages, append(m, value.within("metadata")...))
			}
		}
	}
	return messages
}

var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,256}$`)

// Challenge implements providers.Challenger: "Meta webhook hub verification". It
// repeats hub.challenge to whoever knows the account's verify_token.
func (p *provider) Challenge(cb *providers.Callback) (contentType string, answer []byte, ok bool) {
	challenge := cb.Query.Get("hub.challenge")
	known := hmac.Equal([]byte(cb.Query.Get("hub.verify_token")), p.verify) // compares in constant time
	if cb.Method != http.MethodGet || len(p.verify) == 0 || !known || cb.Query.Get("hub.mode") != "subscribe" || !challengeForm.MatchString(challenge) {
		return "", nil, false
	}
	return "text/plain; charset=utf-8", []byte(challenge), true
}
