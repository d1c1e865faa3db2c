package bulksmsrates

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// Headers of a webhook. X-Webhook-Id, for telling repeats, is the caller's.
const (
	signatureHeader = "X-Webhook-Signature"
	timestampHeader = "X-Webhook-Timestamp"
)

// Why a webhook is not authentic.
var (
	errSignature = errors.New("bulksmsrates: webhook without a valid signature")
	errTimestamp = errors.New("bulksmsrates: webhook without a valid timestamp")
	errStale     = errors.New("bulksmsrates: webhook's timestamp is too far from its arrival")
)

// SelfVerifying implements providers.Reporter: the signature covers the body.
func (p *provider) SelfVerifying() bool { return true }

// VerifyReport implements providers.Reporter: "sha256=<HMAC-SHA256(secret,
// timestamp + "." + body)>" over the raw body, by any of the account's secrets,
// with a timestamp near the time of arrival. A webhook repeated within the
// tolerance verifies again: telling repeats is the caller's.
func (p *provider) VerifyReport(cb *providers.Callback) error {
	stamp := only(cb.Header, timestampHeader)
	sent, err := unixTime(stamp)
	if err != nil {
		return err
	}
	written, ok := strings.CutPrefix(only(cb.Header, signatureHeader), "sha256=")
	signature := digest(written)
	if !ok || signature == nil {
		return errSignature
	}
	valid := false
	for _, secret := range p.secrets { // all of them: which one fits is nobody's business
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(stamp + "."))
		mac.Write(cb.Body)
		valid = hmac.Equal(mac.Sum(nil), signature) || valid
	}
	if !valid {
		return errSignature
	}
	if age := cb.Time.Sub(sent); age > p.tolerance || age < -p.tolerance {
		return errStale
	}
	return nil
}

// digest reads a SHA-256 in hex, or in base64: "sha256=<HMAC-SHA256(…)>" does not
// say which. nil: it is neither.
func digest(s string) []byte {
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString, base64.URLEncoding.DecodeString} {
		if sum, err := decode(s); err == nil && len(sum) == sha256.Size {
			return sum
		}
	}
	return nil
}

// only returns a header's value if it has exactly one.
func only(h http.Header, name string) string {
	if v := h.Values(name); len(v) == 1 {
		return v[0]
	}
	return ""
}

// unixTime reads whole seconds, in digits only.
func unixTime(s string) (time.Time, error) {
	if len(s) == 0 || len(s) > 12 || strings.Trim(s, "0123456789") != "" {
		return time.Time{}, errTimestamp
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, errTimestamp
	}
	return time.Unix(seconds, 0), nil
}

// webhook is the payload of the document.
type webhook struct {
	Event     httpapi.Words `json:"event"`
	CreatedAt httpapi.Words `json:"created_at"`
	ClientRef httpapi.Words `json:"client_ref"`
	Data      webhookData   `json:"data"`
}

type webhookData struct {
	MessageID   httpapi.Words `json:"message_id"`
	Camel       httpapi.Words `json:"messageId"` // as the answer to a send spells it
	Destination httpapi.Words `json:"destination"`
	ClientRef   httpapi.Words `json:"client_ref"`
	Status      httpapi.Words `json:"status"`
	Carrier     httpapi.Words `json:"carrier_status"`
	DeliveredAt httpapi.Words `json:"delivered_at"`
}

var errNoEvent = errors.New("bulksmsrates: webhook is not JSON with an event")

// ParseReports reads a webhook, or an array of them. One about no message of ours
// (a campaign, the balance) has no reports and is no error.
func (p *provider) ParseReports(cb *providers.Callback) ([]providers.Report, error) {
	var w webhook
	if json.Unmarshal(cb.Body, &w) == nil { // the documented form
		return w.reports()
	}
	list, _, err := httpapi.Objects(cb.Body)
	if err != nil || len(list) == 0 {
		return nil, errNoEvent
	}
	var reports []providers.Report
	var errs []error
	for _, raw := range list {
		var several struct {
			webhook
			Data httpapi.List[webhookData] `json:"data"`
		}
		err := errNoEvent
		if json.Unmarshal(raw, &several) == nil {
			w, err = several.webhook, nil
		}
		if len(several.Data) == 0 {
			several.Data = append(several.Data, webhookData{})
		}
		for _, w.Data = range several.Data {
			if err == nil {
				var of []providers.Report
				of, err = w.reports()
				reports = append(reports, of...)
			}
		}
		errs = append(errs, err)
	}
	return reports, errors.Join(errs...)
}

// reports makes a report of a webhook, if it is about a message.
func (w *webhook) reports() ([]providers.Report, error) {
	d := &w.Data
	word, event := httpapi.Word(string(w.Event)), strings.ToLower(string(w.Event))
	status, known := events[event]
	if event == eventDLR && d.Status != "" { // so the event is called where webhooks are configured
		word = httpapi.Word(string(d.Status))
		status, known = logged[strings.ToLower(word)], true
	}
	id := firstOf(d.MessageID, d.Camel)
	switch named := id != "" || d.Destination != ""; {
	case event == "":
		return nil, errNoEvent
	case noticed[event] != nil, !known && !named: // or an event yet unheard of
		return nil, nil
	case !named:
		return nil, errors.New("bulksmsrates: report names no message")
	}
	return []providers.Report{{
		BatchID:    batchID(d.ClientRef, w.ClientRef),
		ProviderID: httpapi.ID(id),
		To:         httpapi.E164(string(d.Destination)),
		Status:     status,
		Code:       word,
		Detail:     httpapi.Trim(string(d.Carrier)),
		Time:       httpapi.Word(firstOf(d.DeliveredAt, w.CreatedAt)),
	}}, nil
}

// batchID returns the reference that is echoed, if it can be one of ours.
func batchID(refs ...httpapi.Words) string {
	ref := firstOf(refs...)
	if len(ref) > 40 || strings.Trim(ref, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ""
	}
	return ref
}

func firstOf(values ...httpapi.Words) string {
	for _, v := range values {
		if v != "" {
			return string(v)
		}
	}
	return ""
}
