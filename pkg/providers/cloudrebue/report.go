package cloudrebue

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// report is a delivery receipt, "delivered via a POST method".
type report struct {
	Phone      httpapi.Scalar `json:"phone"`
	Correlator httpapi.Scalar `json:"correlator"`
	UniqueID   httpapi.Scalar `json:"uniqueId"`
	Status     httpapi.Scalar `json:"deliveryStatus"`
	Time       httpapi.Scalar `json:"deliveryTime"`
}

var (
	errMethod   = errors.New("cloudrebue: a report is a POST")
	errNameless = errors.New("cloudrebue: a report names neither correlator, uniqueId nor phone")
	errReport   = errors.New("cloudrebue: unreadable report")
)

// VerifyReport implements providers.Reporter. A report carries no proof of its
// own; the capability in the URL is what counts.
func (p *provider) VerifyReport(cb *providers.Callback) error {
	if cb.Method != http.MethodPost {
		return errMethod
	}
	return nil
}

// SelfVerifying implements providers.Reporter.
func (p *provider) SelfVerifying() bool { return false }

// ParseReports implements providers.Reporter. The document shows the fields of one
// report a call, as JSON, and names no content type: an array of them and a form
// are read too.
func (p *provider) ParseReports(cb *providers.Callback) ([]providers.Report, error) {
	var one report
	if one.read(cb.Body) && !one.nameless() { // the documented form, at half the price
		return []providers.Report{one.normalise()}, nil
	}
	raw, _, err := httpapi.Objects(cb.Body)
	if err != nil {
		if raw, err = form(cb); err != nil {
			return nil, errReport
		}
	}
	var (
		reports []providers.Report
		errs    []error
	)
	for _, r := range raw {
		var in report
		switch {
		case json.Unmarshal(r, &in) != nil:
			errs = append(errs, errReport)
		case in.nameless():
			errs = append(errs, errNameless)
		default:
			reports = append(reports, in.normalise())
		}
	}
	return reports, errors.Join(errs...)
}

// form returns a form's fields as a JSON object.
func form(cb *providers.Callback) ([]json.RawMessage, error) {
	fields, err := httpapi.Form(cb)
	if err != nil {
		return nil, err
	}
	object, err := json.Marshal(fields)
	return []json.RawMessage{object}, err
}

// read reads one report; false: it is none.
func (r *report) read(body []byte) bool {
	if r.scan(body) {
		return true
	}
	*r = report{}
	return json.Unmarshal(body, r) == nil
}

// scan reads a plain one without reflection: one comes for every message.
func (r *report) scan(body []byte) bool {
	s := httpapi.NewScan(body)
	s.Object([]string{"phone", "correlator", "uniqueId", "deliveryStatus", "deliveryTime"}, func(key int) {
		switch v := s.Scalar(); key {
		case 0:
			r.Phone = v
		case 1:
			r.Correlator = v
		case 2:
			r.UniqueID = v
		case 3:
			r.Status = v
		default:
			r.Time = v
		}
	})
	return s.OK()
}

func (r *report) nameless() bool { return r.Correlator == "" && r.UniqueID == "" && r.Phone == "" }

func (r *report) normalise() providers.Report {
	word := httpapi.Word(string(r.Status))
	return providers.Report{
		MessageID:  string(r.Correlator),
		ProviderID: string(r.UniqueID),
		To:         msisdn(string(r.Phone)),
		Status:     reportStatus(word),
		Code:       word,
		Time:       httpapi.Word(string(r.Time)),
	}
}
