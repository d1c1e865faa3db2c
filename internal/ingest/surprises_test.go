package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// A wrong method is told which ones are right (RFC 9110).
func TestAllow(t *testing.T) {
	t.Parallel()
	r := start(t)
	for path, want := range map[string]string{"/v1/messages": "POST", "/v1/messages/x": "GET, HEAD, DELETE", "/v1/providers": "GET, HEAD"} {
		if a := r.do("k-acme", http.MethodPut, path, one); a.status != 405 || a.header.Get("Allow") != want {
			t.Errorf("%s: %d, Allow %q, want %q", path, a.status, a.header.Get("Allow"), want)
		}
	}
}

// Who asks for a dry run in a form that we do not know gets none of it sent.
func TestDryRunWithoutValue(t *testing.T) {
	t.Parallel()
	r := start(t)
	for query, want := range map[string]int{"dry_run": 400, "dry_run=": 400, "dry_run=yes": 400, "dry_run=true": 200, "dry_run=false": 202} {
		if a := r.do("k-acme", http.MethodPost, "/v1/messages?"+query, one); a.status != want {
			t.Errorf("%s: %d, want %d", query, a.status, want)
		}
	}
}

// Every 422 lists what was refused.
func TestRefusalsAreListed(t *testing.T) {
	t.Parallel()
	r := start(t)
	var p ingest.Problem
	many := `{"from":"ACME","text":"x","recipients":[` + strings.TrimSuffix(strings.Repeat(`{"to":"+254712345678"},`, envelope.MaxRecipients+1), ",") + `]}`
	if r.post(many).into(t, &p); p.Status != 422 || len(p.Errors) != 1 || p.Errors[0].Index != envelope.MaxRecipients || p.Errors[0].Code != envelope.TooManyRecipients {
		t.Errorf("%+v", p)
	}
	r.accepted(one, "Idempotency-Key", "k")
	p = ingest.Problem{}
	if r.post(`{"from":"ACME","text":"x","recipients":[{"to":"0712345678"},{"to":"0712345679"}]}`, "Idempotency-Key", "k").into(t, &p); p.Status != 422 ||
		len(p.Errors) != 2 || p.Errors[1].Index != 1 || p.Errors[1].Code != envelope.Duplicate {
		t.Errorf("%+v", p)
	}
}

func TestUnknownQueries(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.accepted(one).ID
	for path, want := range map[string]int{
		"/v1/envelopes/" + id + "/messages?cursor=garbage": 400, "/v1/envelopes/" + id + "/messages?cursor=-1": 400, "/v1/envelopes/" + id + "/messages?cursor=": 200,
	} {
		if a := r.do("k-acme", http.MethodGet, path, ""); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
	for reason, want := range map[string]int{"bogus": 400, "poison": 200, "": 200} {
		if a := r.do("k-ops", http.MethodGet, "/v1/dead?reason="+reason, ""); a.status != want {
			t.Errorf("reason %q: %d, want %d", reason, a.status, want)
		}
	}
}

// A publisher knows a refused recipient by its own reference, and its trace.
func TestRefusedOnTheBusCarryTheirReference(t *testing.T) {
	t.Parallel()
	r := start(t)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.publish("sms.submit.acme.high", `{"recipients":[{"to":"bad","ref":"mine"},{"to":"worse"}],"ref":"all","from":"ACME","text":"x"}`, "traceparent", trace)
	m := r.events("acme", envelope.Rejected, 2)[0].Messages
	if len(m) != 2 || m[0].Ref != "mine" || m[1].Ref != "all" || m[0].Traceparent != trace {
		t.Errorf("%+v", m)
	}
}

// A reference that is refused for its length is not repeated for every recipient:
// no event could hold it, and the submission would come again for ever.
func TestRefusedForItsReference(t *testing.T) {
	t.Parallel()
	r := start(t)
	list := strings.TrimSuffix(strings.Repeat(`{"to":"0712345678"},`, 1000), ",")
	r.publish("sms.submit.acme.high", fmt.Sprintf(`{"recipients":[%s],"ref":%q,"from":"ACME","text":"x"}`, list, strings.Repeat("r", 20_000)))
	if m := r.events("acme", envelope.Rejected, 1000)[0].Messages; len(m) != 1000 || m[0].Ref != "" || !strings.HasPrefix(m[0].Error.Detail, "ref: ") {
		t.Errorf("%d: %+v", len(m), m[0].Error)
	}
}

// Libraries that set headers as HTTP's spell them Traceparent.
func TestHeadersOnTheBusInAnyCase(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Keys = newKeys() })
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for range 2 {
		r.publish("sms.submit.acme.high", one, "Traceparent", trace, "idempotency-key", "k")
	}
	e := r.events("acme", envelope.Accepted, 2)
	if a, b := e[0].Messages[0], e[1].Messages[0]; a.ID != b.ID || a.Traceparent != trace {
		t.Errorf("%+v, %+v", a, b)
	}
}

// A line's refusals name it, also where others of it are accepted, and a dry run
// does not say that anything was accepted.
func TestLinesNameThemselves(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.do("k-acme", http.MethodPost, "/v1/messages?dry_run=true", `{"recipients":[{"to":"bad"},{"to":"0712345678"}],"from":"ACME","text":"x"}`,
		"Content-Type", "application/x-ndjson", "Accept", "application/x-ndjson")
	var l ingest.LineAnswer
	if a.into(t, &l); l.Status != 200 || l.Accepted != 1 || len(l.Errors) != 1 || l.Errors[0].Line != 1 {
		t.Errorf("%s", a.body)
	}
}

// Nobody who wants something stored waits for a bus that is away.
func TestBusAwayForOperatorsToo(t *testing.T) {
	t.Parallel()
	r := start(t)
	later := r.accepted(`{"to":"+254712345678","from":"ACME","text":"x","send_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}`).ID
	r.eventually("scheduled", func() bool {
		return strings.Contains(r.do("k-acme", http.MethodGet, "/v1/envelopes/"+later, "").body, `"scheduled"`)
	})
	r.server.Stop()
	r.eventually("away", func() bool { return !r.bus.Connected() })
	r.client.Timeout = 3 * time.Second
	for _, ask := range [][3]string{
		{"k-acme", http.MethodDelete, "/v1/envelopes/" + later}, {"k-acme", http.MethodDelete, "/v1/messages/" + later + "-0"},
		{"k-ops", http.MethodPost, "/v1/providers/ke/pause"}, {"k-ops", http.MethodPost, "/v1/providers/ke/resume"}, {"k-acme", http.MethodGet, "/v1/events"},
	} {
		if a := r.do(ask[0], ask[1], ask[2], ""); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %d %s", ask[1], ask[2], a.status, a.body)
		}
	}
}

// A cancel that is repeated at once finds nothing to do, not something too late.
func TestCancelTwiceAtOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.accepted(`{"from":"ACME","text":"x","send_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `","recipients":[` +
		strings.TrimSuffix(strings.Repeat(`{"to":"+254712345678"},`, envelope.MaxRecipients), ",") + `]}`).ID
	r.eventually("scheduled", func() bool {
		return strings.Contains(r.do("k-acme", http.MethodGet, "/v1/envelopes/"+id, "").body, `"scheduled":10000`)
	})
	var wait sync.WaitGroup
	var counts [3]ingest.CancelCounts
	for i := range counts {
		wait.Go(func() { r.do("k-acme", http.MethodDelete, "/v1/envelopes/"+id, "").into(t, &counts[i]) })
	}
	wait.Wait()
	sum := ingest.CancelCounts{}
	for _, c := range counts {
		sum = ingest.CancelCounts{Canceled: sum.Canceled + c.Canceled, InFlight: sum.InFlight + c.InFlight, TooLate: sum.TooLate + c.TooLate}
	}
	if want := (ingest.CancelCounts{Canceled: envelope.MaxRecipients}); sum != want {
		t.Errorf("%+v", counts)
	}
}
