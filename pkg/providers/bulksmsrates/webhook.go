package bulksmsrates

import (
	"crypto/hmac"
	"crypto/sha256"
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
	hexed, ok := strings.CutPrefix(only(cb.Header, signatureHeader), "sha256=")
	signature, err := hex.DecodeString(hexed)
	if !ok || err != nil || len(signature) != sha256.Size {
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

type webhook struct {
	Event     string         `json:"event"`
	CreatedAt httpapi.Scalar `json:"created_at"`
	ClientRef httpapi.Scalar `json:"client_ref"`
	Data      struct {
		MessageID   httpapi.Scalar `json:"message_id"`
		Destination httpapi.Scalar `json:"destination"`
		ClientRef   httpapi.Scalar `json:"client_ref"`
		Carrier     httpapi.Scalar `json:"carrier_status"`
		DeliveredAt httpapi.Scalar `json:"delivered_at"`
	} `json:"data"`
}

// ParseReports reads a webhook. One about no message of ours (a campaign, the
// balance) has no reports and is no error.
func (p *provider) ParseReports(cb *providers.Callback) ([]providers.Report, error) {
	var kind struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(cb.Body, &kind); err != nil || kind.Event == "" {
		return nil, errors.New("bulksmsrates: webhook is not JSON with an event")
	}
	event := strings.ToLower(kind.Event)
	if noticed[event] != nil {
		return nil, nil
	}
	status, known := events[event]
	var w webhook
	err := json.Unmarshal(cb.Body, &w)
	d := &w.Data
	switch named := d.MessageID != "" || d.Destination != ""; {
	case !known && !named:
		return nil, nil // an event yet unheard of
	case err != nil:
		return nil, errors.New("bulksmsrates: webhook has not the documented shape")
	case !named:
		return nil, errors.New("bulksmsrates: report names no message")
	}
	return []providers.Report{{
		BatchID:    batchID(d.ClientRef, w.ClientRef),
		ProviderID: string(d.MessageID),
		To:         httpapi.E164(string(d.Destination)),
		Status:     status,
		Code:       httpapi.Word(w.Event),
		Detail:     httpapi.Trim(string(d.Carrier)),
		Time:       httpapi.Word(firstOf(d.DeliveredAt, w.CreatedAt)),
	}}, nil
}

// batchID returns the reference that is echoed, if it can be one of ours.
func batchID(refs ...httpapi.Scalar) string {
	ref := firstOf(refs...)
	if len(ref) > 40 || strings.Trim(ref, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ""
	}
	return ref
}

func firstOf(values ...httpapi.Scalar) string {
	for _, v := range values {
		if v != "" {
			return string(v)
		}
	}
	return ""
}
