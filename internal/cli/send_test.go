package cli

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// accept answers a submission as ingest does: recipients whose number ends in
// 000 are refused.
func accept(n int, r request, w http.ResponseWriter) {
	e, err := envelope.Decode([]byte(r.Body))
	if err != nil {
		write(w, 400, `{"code":"invalid_envelope","detail":"not decodable"}`)
		return
	}
	to := e.Recipients
	if e.To != "" {
		to = []envelope.Recipient{{To: e.To}}
	}
	a := Answer{ID: fmt.Sprintf("ENV%d", n), Messages: []Taken{}, Errors: []Refused{}}
	for i, rec := range to {
		if strings.HasSuffix(rec.To, "000") {
			a.Rejected++
			a.Errors = append(a.Errors, Refused{Index: i, To: rec.To, Code: "invalid_number", Detail: "not a number\x1b[2J"})
			continue
		}
		a.Accepted++
		a.Messages = append(a.Messages, Taken{ID: envelope.MessageID(a.ID, i), To: rec.To, Segments: 1})
	}
	status := 202
	if a.Accepted == 0 {
		write(w, 422, `{"status":422,"code":"invalid_number","errors":`+jsonOf(a.Errors)+`}`)
		return
	}
	write(w, status, jsonOf(a))
}

func TestSendOne(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
	r := run(t, Deps{}, "send", "--url", a.URL, "--to", " +254712345678", "--from", "ACME", "--text", "Hi {{name}}", "--var", "name=A,b=c",
		"--priority", "high", "--send-at", "2h", "--expires-at", "2026-11-21T08:00:00+03:00", "--provider", "cr", "--ref", "r1",
		"--idempotency-key", "k1", "--supersede-key", "otp", "--on-uncertain", "retry", "--metadata", "a=b")
	if r.code != 0 || r.out != "accepted ENV1-0 to +254712345678 (1 segment)\n" || r.errOut != "" {
		t.Errorf("%+v", r)
	}
	req := a.got()[0]
	got, err := envelope.Decode([]byte(req.Body))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	until := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	want := &envelope.Envelope{
		To: "+254712345678", From: "ACME", Text: "Hi {{name}}", Variables: map[string]string{"name": "A,b=c"}, Priority: "high",
		SendAt: &at, ExpiresAt: &until, Provider: "cr", Ref: "r1", SupersedeKey: "otp", OnUncertain: "retry", Metadata: map[string]string{"a": "b"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if req.Header.Get("Idempotency-Key") != "k1" || req.Header.Get("Content-Type") != "application/json" {
		t.Errorf("header %v", req.Header)
	}
}

func TestSendByWhatsApp(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
	whatsapp := []string{"send", "--url", a.URL, "--to", "+254712345678", "--channel", "whatsapp"}
	r := run(t, Deps{}, append(whatsapp, "--template", "shipped", "--language", "en", "--param", "{{name}}, hi", "--param", "17",
		"--var", "name=Asha", "--option", "unicode=true")...)
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	got, err := envelope.Decode([]byte(a.got()[0].Body))
	if err != nil {
		t.Fatal(err)
	}
	want := &envelope.Envelope{
		To: "+254712345678", Channel: envelope.WhatsApp, Variables: map[string]string{"name": "Asha"}, Options: map[string]string{"unicode": "true"},
		Template: &envelope.Template{Name: "shipped", Language: "en", Parameters: []string{"{{name}}, hi", "17"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, wrong := range [][]string{
		whatsapp, append(whatsapp, "--template", "shipped"), append(whatsapp, "--template", "shipped", "--language", "en", "--text", "x"),
		{"send", "--to", "+254712345678", "--from", "A", "--text", "x", "--template", "t"},
		{"send", "--to", "+254712345678", "--from", "A", "--text", "x", "--channel", "fax"},
		append(whatsapp, "--template", "shipped", "--language", "en", "--option", "unicode"),
	} {
		if r := run(t, Deps{}, wrong...); r.code != 2 {
			t.Errorf("%v: exit %d", wrong, r.code)
		}
	}
}

func TestSendManyAndRefusals(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
	args := []string{"send", "--url", a.URL, "--to", "+254712345678,+254712345000", "--to", "+254712345679", "--from", "ACME", "--text", "{{x}}"}
	r := run(t, Deps{}, args...)
	if r.code != 1 || r.out != "accepted 2, refused 1, in 1 envelope\n  tuma status ENV1\n" ||
		r.errOut != "refused +254712345000: invalid_number: not a number\n" {
		t.Errorf("%+v", r)
	}
	if strings.Contains(a.got()[0].Body, "variables") {
		t.Error("a text without variables became a template")
	}
	r = run(t, Deps{}, append(args, "--json")...)
	got := decode[Answer](t, r.out)
	if r.code != 1 || got.Accepted != 2 || got.Errors[0].Index != 1 || len(got.Messages) != 2 || r.errOut != "" || strings.ContainsRune(r.out, 0x1b) {
		t.Errorf("%+v", r)
	}
	if k := a.got(); k[0].Header.Get("Idempotency-Key") == "" || k[0].Header.Get("Idempotency-Key") == k[1].Header.Get("Idempotency-Key") {
		t.Error("two sends need two keys")
	}
	r = run(t, Deps{}, "send", "--url", a.URL, "--to", "+254712345000", "--from", "ACME", "--text", "x")
	if r.code != 1 || r.out != "" || !strings.HasPrefix(r.errOut, "refused +254712345000: invalid_number") || strings.Count(r.errOut, "\n") != 1 {
		t.Errorf("all refused: %+v", r)
	}
}

func TestSendRefusedWhole(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": say(422, `{"title":"Unprocessable Entity","status":422,"code":"invalid_sender","detail":"not yours"}`)})
	r := run(t, Deps{}, "send", "--url", a.URL, "--to", "+254712345678", "--from", "ACME", "--text", "x")
	if r.code != 1 || r.errOut != "tuma send: invalid_sender: not yours\n" || r.out != "" {
		t.Errorf("%+v", r)
	}
}

func TestSupersedeKeyNeedsOneEnvelope(t *testing.T) {
	t.Parallel()
	r := run(t, Deps{}, "send", "--csv", file(t, "f.csv", bigCSV(1001, 0)), "--from", "A", "--text", "x", "--supersede-key", "k")
	if r.code != 2 || !strings.Contains(r.errOut, "--supersede-key") {
		t.Errorf("%+v", r)
	}
}

func TestSendTriesAgain(t *testing.T) {
	t.Parallel()
	busy := func(n int, r request, w http.ResponseWriter) {
		switch n {
		case 1:
			w.Header().Set("Retry-After", "7")
			write(w, 429, `{"code":"rate_limited"}`)
		case 2:
			write(w, 503, `<html>`)
		case 3:
			write(w, 409, `{"code":"in_progress"}`)
		default:
			accept(n, r, w)
		}
	}
	a := newAPI(t, map[string]answer{"POST /v1/messages": busy})
	r := run(t, Deps{}, "send", "--url", a.URL, "--to", "+254712345678", "--from", "A", "--text", "x")
	if r.code != 0 || len(r.waits) != 3 || r.waits[0] != 7*time.Second {
		t.Errorf("%+v", r)
	}
	key := ""
	for _, req := range a.got() {
		if k := req.Header.Get("Idempotency-Key"); k == "" || (key != "" && k != key) {
			t.Error("tried again under another key")
		} else {
			key = k
		}
	}
	dead := newAPI(t, map[string]answer{"POST /v1/messages": say(503, `{"code":"unavailable","detail":"try again"}`)})
	r = run(t, Deps{}, "send", "--url", dead.URL, "--to", "+254712345678", "--from", "A", "--text", "x")
	if r.code != 1 || r.errOut != "tuma send: unavailable: try again\n" || len(r.waits) < 5 || len(r.waits) > 20 {
		t.Errorf("%+v", r)
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": say(200,
		`{"accepted":2,"rejected":0,"messages":[{"to":"+1","segments":2,"provider":"cr"},{"to":"+2","segments":1,"provider":"box"}],"errors":[],"batches":{"cr":1,"box":1}}`)})
	r := run(t, Deps{}, "send", "--url", a.URL, "--to", "+1,+2", "--from", "A", "--text", "x", "--dry-run", "--wait")
	want := "would accept 2, refuse 0\n  +1 through cr (2 segments)\n  +2 through box (1 segment)\n  box: 1 request\n  cr: 1 request\n"
	if r.code != 0 || r.out != want || a.got()[0].URI != "/v1/messages?dry_run=true" || a.got()[0].Header.Get("Idempotency-Key") != "" {
		t.Errorf("%+v\n%+v", r, a.got())
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	counts := func(states ...string) answer {
		return func(n int, _ request, w http.ResponseWriter) {
			s := states[min(n, len(states))-1]
			if s == "" {
				write(w, 404, `{"code":"not_found"}`)
				return
			}
			write(w, 200, `{"id":"ENV1","messages":3,"counts":`+s+`}`)
		}
	}
	for name, tt := range map[string]struct {
		get  answer
		code int
		out  string
	}{
		"delivered":   {counts("", `{"accepted":3}`, `{"submitted":2,"delivered":1}`, `{"delivered":3}`), 0, "delivered 3\n"},
		"undelivered": {counts(`{"delivered":2,"undelivered":1}`), 1, "delivered 2, undelivered 1\n"},
		"failed":      {counts(`{"failed":3}`), 1, "failed 3\n"},
		"held":        {counts(`{"submitted":3}`, `{"delivered":2,"uncertain":1}`), 1, "delivered 2, uncertain 1\n"},
	} {
		a := newAPI(t, map[string]answer{"POST /v1/messages": accept, "GET /v1/envelopes/ENV1": tt.get})
		r := run(t, Deps{}, "send", "--url", a.URL, "--to", "+1,+2,+3", "--from", "A", "--text", "x", "--wait")
		if r.code != tt.code || !strings.HasSuffix(r.out, tt.out) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	a := newAPI(t, map[string]answer{"POST /v1/messages": accept, "GET /v1/envelopes/ENV1": counts(`{"submitted":3}`)})
	r := run(t, Deps{}, "send", "--url", a.URL, "--to", "+1,+2,+3", "--from", "A", "--text", "x", "--wait", "--timeout", "30ms")
	if r.code != 1 || r.errOut != "tuma send: not all final after 30ms\n" {
		t.Errorf("%+v", r)
	}
	lost := newAPI(t, map[string]answer{"POST /v1/messages": accept})
	r = run(t, Deps{}, "send", "--url", lost.URL, "--to", "+1", "--from", "A", "--text", "x", "--wait", "--json")
	if r.code != 1 || !strings.Contains(r.errOut, "not_found") {
		t.Errorf("%+v", r)
	}
}

// TestWaitOutlastsTheRetry: an uncertain message is tried once more two minutes
// later, and that is waited for, from its last change on.
func TestWaitOutlastsTheRetry(t *testing.T) {
	t.Parallel()
	var waited time.Duration
	look := func(n int, _ request, w http.ResponseWriter) {
		counts := `{"uncertain":2}`
		if waited += 2 * time.Second; waited > 2*time.Minute { // the longest pause
			counts = `{"uncertain":1,"delivered":1}`
		}
		write(w, 200, `{"id":"ENV1","messages":2,"counts":`+counts+`}`)
	}
	a := newAPI(t, map[string]answer{"POST /v1/messages": accept, "GET /v1/envelopes/ENV1": look})
	r := run(t, Deps{}, "send", "--url", a.URL, "--to", "+1,+2", "--from", "A", "--text", "x", "--wait")
	var sum time.Duration
	for _, d := range r.waits {
		sum += d
	}
	if r.code != 1 || !strings.HasSuffix(r.out, "delivered 1, uncertain 1\n") || sum < 4*time.Minute || sum > 6*time.Minute {
		t.Errorf("after %s: %+v", sum, r)
	}
}

func TestAnswerThatIsNotTuma(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": say(200, "<html>hello</html>"), "GET /v1/providers": say(302, "")})
	r := run(t, Deps{}, "send", "--url", a.URL, "--to", "+1", "--from", "A", "--text", "x")
	if r.code != 1 || !strings.Contains(r.errOut, "is not what Tuma answers") {
		t.Errorf("%+v", r)
	}
	if r := run(t, Deps{}, "providers", "--url", a.URL); r.code != 1 {
		t.Errorf("%+v", r)
	}
}
