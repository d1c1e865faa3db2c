package providertest

import (
	"net/http"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// FuzzSend feeds the parser of answers. Seeds are the fixtures' answers. Nothing
// may panic, and what holds of every Send must hold.
func FuzzSend(f *testing.F, s Suite) {
	for _, x := range fixtures(f, s.Dir, s.sendDir(), ".response.http") {
		r := x.response(f)
		f.Add(r.status, r.body)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		p := s.offline(t, &replay{status: status, header: http.Header{}, body: body})
		b := s.batch(p, min(3, p.Limits().MaxBatch))
		results, err := p.Send(t.Context(), b)
		if err != nil {
			return
		}
		if len(results) != len(b.Messages) {
			t.Fatalf("%d results of %d messages", len(results), len(b.Messages))
		}
		for i, r := range results {
			if r.Class < providers.Accepted || r.Class > providers.Uncertain || len(r.Detail) > 200 {
				t.Fatalf("result %d: %+v", i, r)
			}
		}
	})
}

// FuzzReports feeds the parser of callbacks. Seeds are the fixtures' callbacks.
func FuzzReports(f *testing.F, s Suite) {
	for _, x := range fixtures(f, s.Dir, "report", ".request.http") {
		cb := x.callback(f)
		f.Add(cb.Method, cb.Query.Encode(), cb.Header.Get("Content-Type"), cb.Body)
	}
	p := s.offline(f, &replay{}).(providers.Reporter)
	f.Fuzz(func(t *testing.T, method, query, contentType string, body []byte) {
		cb := callbackOf(method, query, contentType, body)
		_ = p.VerifyReport(cb) // must not panic
		reports, _ := p.ParseReports(cb)
		for i, r := range reports {
			if len(r.Code) > 64 || r.Status < providers.ReportUnknown || r.Status > providers.ReportUndelivered {
				t.Fatalf("report %d: %+v", i, r)
			}
		}
	})
}
