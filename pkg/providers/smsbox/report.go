package smsbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// Names under which a report may have its fields, in any case. Error 116 and a sample script
// hint at a callback with a reference or request id; nothing says more.
var (
	idFields     = []string{"message_id", "request_id", "reference", "reference_id"}
	numberFields = []string{"dest_addr", "phone"}
	statusFields = []string{"status"}
	timeFields   = []string{"time", "timestamp", "timeutc"}
)

// VerifyReport implements providers.Reporter. A callback proves nothing by
// itself: the capability in its URL does.
func (p *provider) VerifyReport(*providers.Callback) error { return nil }

// SelfVerifying implements providers.Reporter.
func (p *provider) SelfVerifying() bool { return false }

// ParseReports reads a report as JSON (one object, or an array of them) or as a
// form, whatever its Content-Type says; without a body, the query.
func (p *provider) ParseReports(cb *providers.Callback) ([]providers.Report, error) {
	body := httpapi.Document(cb.Body)
	switch {
	case bytes.HasPrefix(body, []byte("{")):
		return one(jsonFields(body))
	case bytes.HasPrefix(body, []byte("[")):
		return several(body)
	}
	return one(formFields(cb))
}

func several(body []byte) ([]providers.Report, error) {
	var list []json.RawMessage
	if err := decode(body, &list); err != nil {
		return nil, errors.New("smsbox: report is not valid JSON")
	}
	var reports []providers.Report
	var errs []error
	for i, raw := range list {
		r, err := one(jsonFields(raw))
		if err != nil {
			errs = append(errs, fmt.Errorf("report %d: %w", i, err))
		}
		reports = append(reports, r...)
	}
	return reports, errors.Join(errs...)
}

// one makes a report of fields.
func one(fields map[string]string, err error) ([]providers.Report, error) {
	if err != nil {
		return nil, err
	}
	r := providers.Report{
		ProviderID: messageID(first(fields, idFields)),
		To:         httpapi.E164(first(fields, numberFields)),
		Code:       first(fields, statusFields),
		Time:       first(fields, timeFields),
	}
	switch {
	case r.Code == "":
		return nil, errors.New("smsbox: report without a status")
	case r.ProviderID == "" && r.To == "":
		return nil, errors.New("smsbox: report names no message")
	}
	r.Status = words[strings.ToUpper(r.Code)]
	r.Code = httpapi.Word(r.Code)
	r.Time = httpapi.Word(r.Time)
	return []providers.Report{r}, nil
}

// jsonFields returns the scalar fields of an object; others are not looked at.
func jsonFields(body []byte) (map[string]string, error) {
	var raw map[string]json.RawMessage
	if err := decode(body, &raw); err != nil {
		return nil, errors.New("smsbox: report is not a JSON object")
	}
	fields := make(map[string]string, len(raw))
	for name, v := range raw {
		var s httpapi.Scalar
		if json.Unmarshal(v, &s) == nil {
			fields[strings.ToLower(name)] = string(s)
		}
	}
	return fields, nil
}

func formFields(cb *providers.Callback) (map[string]string, error) {
	form, err := httpapi.Form(cb)
	if err != nil {
		return nil, errors.New("smsbox: report is neither JSON nor a form that says one thing")
	}
	fields := make(map[string]string, len(form))
	for name, v := range form {
		fields[strings.ToLower(name)] = v
	}
	return fields, nil
}

// first returns the first of the named fields that says something.
func first(fields map[string]string, names []string) string {
	for _, name := range names {
		if v := strings.TrimSpace(fields[name]); v != "" {
			return v
		}
	}
	return ""
}
