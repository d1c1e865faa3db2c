package cloudrebue

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

// TestAnswersInOtherTypes: the document's answers, as servers that hold types less
// strictly would write them, to a request for one message and for two.
func TestAnswersInOtherTypes(t *testing.T) {
	t.Parallel()
	const taken, no, here, unknown = providers.Accepted, providers.Rejected, providers.RejectedHere, providers.Uncertain
	for name, c := range map[string]struct {
		body string
		want []providers.Class
	}{
		"status in strings":             {`[{"status":"true","data":{"correlator":"1"}},{"status":"False","message":"Invalid phone","data":{"correlator":"2"}}]`, []providers.Class{taken, no}},
		"status in numbers":             {`[{"status":1,"data":{"correlator":"1"}},{"status":0,"message":"Invalid phone","data":{"correlator":2}}]`, []providers.Class{taken, no}},
		"status that is neither":        {`[{"status":"queued","data":{"correlator":"1"}},{"status":null,"data":{"correlator":2}},{"status":true,"data":{"correlator":3}}]`, []providers.Class{unknown, unknown, taken}},
		"data as an array of one":       {`[{"status":true,"data":[{"correlator":"1"}]},{"status":true,"data":{"correlator":"2"}}]`, []providers.Class{taken, taken}},
		"an empty array for no data":    {`[{"status":true,"data":{"correlator":"1"}},{"status":false,"message":"Invalid phone","data":[]}]`, []providers.Class{taken, no}},
		"words by field":                {`[{"status":false,"message":{"phone":["bad"]},"data":{"correlator":"1"}},{"status":true,"data":{"correlator":"2"}}]`, []providers.Class{here, taken}},
		"taken, none named":             {`[{"status":true,"message":"Message successfully queued!"},{"status":true,"message":"Message successfully queued!"}]`, []providers.Class{taken, taken}},
		"taken, fewer than were sent":   {`[{"status":true,"message":"Message successfully queued!"}]`, []providers.Class{unknown, unknown}},
		"taken and refused, none named": {`[{"status":true},{"status":false,"message":"Invalid phone"}]`, []providers.Class{unknown, unknown}},
		"one taken, not named":          {`[{"status":true,"message":"Message successfully queued!","data":{"uniqueId":"u-1","sms_units":"2","operator":"safaricom"}}]`, []providers.Class{taken}},
		"one taken, without data":       {`{"status":true,"message":"Message successfully queued!"}`, []providers.Class{taken}},
		"one taken, another's":          {`[{"status":true,"data":{"correlator":"99","uniqueId":"u-1"}}]`, []providers.Class{unknown}},
		"a mark and a newline":          {"\ufeff" + `[{"status":true,"data":{"correlator":"1"}}]` + "\r\n", []providers.Class{taken}},
		"unknown fields, capitals":      {`[{"Status":true,"Code":200,"Data":{"Correlator":"1","UniqueID":7,"extra":{"a":[1]}}}]`, []providers.Class{taken}},
	} {
		results, err := sendSome(t, 200, c.body, len(c.want))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []providers.Class
		for _, r := range results {
			got = append(got, r.Class)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if name == "one taken, not named" && (results[0].ProviderID != "u-1" || results[0].Segments != 2 || results[0].Operator != "safaricom") {
			t.Errorf("%s: %+v", name, results[0])
		}
	}
}

// TestAccountRefusalInAnArray: the document's refusal of the whole request, in the
// array that every other answer is.
func TestAccountRefusalInAnArray(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`[{"status":false,"message":"Unauthenticated."}]`, `[{"status":false,"message":"Unauthenticated.","data":[]}]`,
		`{"status":false,"message":"Unauthenticated.","data":[]}`, `{"status":"false","message":"Unauthenticated.","data":{}}`,
	} {
		_, err := sendSome(t, 200, body, 3)
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Misconfigured {
			t.Errorf("%s: got %v, want misconfigured for all", body, err)
		}
	}
}

func sendSome(t *testing.T, status int, body string, n int) ([]providers.Result, error) {
	t.Helper()
	p, err := New(providers.Options{Credentials: suite().Credentials, Transport: providertest.Answer(status, body)})
	if err != nil {
		t.Fatal(err)
	}
	return p.Send(t.Context(), &providers.Batch{Messages: []providers.Message{
		{ID: "1", To: "+254712345678", From: "A", Text: "a"},
		{ID: "2", To: "+254712345679", From: "A", Text: "b"},
		{ID: "3", To: "+254712345670", From: "A", Text: "c"},
	}[:n]})
}

// TestReportsInOtherForms: "delivered via a POST method with the below structure"
// names no content type.
func TestReportsInOtherForms(t *testing.T) {
	t.Parallel()
	p, err := New(providers.Options{Credentials: suite().Credentials})
	if err != nil {
		t.Fatal(err)
	}
	want := []providers.Report{{
		MessageID: "2", ProviderID: "u-1", To: "+254712345678", Status: providers.ReportDelivered, Code: "DeliveredToTerminal", Time: "2020-01-01 00:00:00",
	}}
	const form = "phone=%2B254712345678&correlator=2&uniqueId=u-1&deliveryStatus=DeliveredToTerminal&deliveryTime=2020-01-01+00%3A00%3A00"
	const inParts = "--b\r\nContent-Disposition: form-data; name=\"phone\"\r\n\r\n0712345678\r\n--b\r\nContent-Disposition: form-data; name=\"correlator\"\r\n\r\n2\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"uniqueId\"\r\n\r\nu-1\r\n--b\r\nContent-Disposition: form-data; name=\"deliveryStatus\"\r\n\r\nDeliveredToTerminal\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"deliveryTime\"\r\n\r\n2020-01-01 00:00:00\r\n--b--\r\n"
	const doc = `{"phone": 254712345678, "correlator": 2, "uniqueId": "u-1", "deliveryStatus": "DeliveredToTerminal", "deliveryTime": "2020-01-01 00:00:00"}`
	for name, cb := range map[string]providers.Callback{
		"JSON":                 {Body: []byte(doc)},
		"JSON, with a mark":    {Body: []byte("\ufeff" + doc + "\n")},
		"JSON, an array":       {Body: []byte("[" + doc + "]")},
		"more than documented": {Body: []byte(doc[:len(doc)-1] + `, "batch_id": {"a": 1}, "extra": [1]}`)},
		"form":                 {Body: []byte(form)},
		"form in parts":        {Body: []byte(inParts)},
		"query":                {Query: query(t, form)},
	} {
		cb.Method = http.MethodPost
		r := p.(providers.Reporter)
		if err := r.VerifyReport(&cb); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := r.ParseReports(&cb)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
	for _, body := range []string{"hello", "a=1&b=2", "correlator=1&correlator=2&deliveryStatus=x", `"x"`, "7", "[]7", "--b"} {
		if got, err := p.(providers.Reporter).ParseReports(&providers.Callback{Method: http.MethodPost, Body: []byte(body)}); err == nil {
			t.Errorf("%q: %+v, want it unreadable", body, got)
		}
	}
}

func query(t *testing.T, s string) url.Values {
	t.Helper()
	q, err := url.ParseQuery(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}
