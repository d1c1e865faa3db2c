package cli

import (
	"fmt"
	"net/http"
	"os"
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

// bigCSV has rows 2 to n+1; every refuse-th number is one that the API refuses.
func bigCSV(n, refuse int) string {
	var b strings.Builder
	b.WriteString("Name,secret,phone,city\r\n")
	for i := range n {
		num := fmt.Sprintf("+2547%08d", i*10+1)
		if refuse > 0 && i%refuse == refuse-1 {
			num = "+254712345000"
		}
		fmt.Fprintf(&b, "\"N, %d\",s%d,%s,Mombasa\r\n", i, i, num)
	}
	return b.String()
}

func TestSendCSV(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
	path := file(t, "people.csv", bigCSV(2500, 1250))
	r := run(t, Deps{}, "send", "--url", a.URL, "--csv", path, "--from", "ACME", "--text", "Hi {{Name}} of {{ city }}", "--idempotency-key", "job")
	if r.code != 1 || !strings.HasPrefix(r.out, "accepted 2498, refused 2, in 3 envelopes\n") {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.errOut, "refused line 1251, +254712345000") || !strings.Contains(r.errOut, "refused line 2501, +254712345000") {
		t.Errorf("lines of refused rows: %q", r.errOut)
	}
	reqs := a.got()
	if len(reqs) != 3 {
		t.Fatalf("%d requests for 2,500 rows", len(reqs))
	}
	total := 0
	for i, req := range reqs {
		if got, want := req.Header.Get("Idempotency-Key"), fmt.Sprintf("job-%d", i+1); got != want {
			t.Errorf("key %q, want %q", got, want)
		}
		e, err := envelope.Decode([]byte(req.Body))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(map[string]string{"Name": fmt.Sprintf("N, %d", total), "city": "Mombasa"}, e.Recipients[0].Variables); d != "" {
			t.Error(d)
		}
		total += len(e.Recipients)
	}
	if total != 2500 {
		t.Errorf("%d rows were sent", total)
	}
	r = run(t, Deps{Stdin: strings.NewReader(bigCSV(3, 0))}, "send", "--url", a.URL, "--csv", "-", "--from", "ACME", "--text", "as typed", "--json")
	got := decode[Answer](t, r.out)
	if r.code != 0 || got.Accepted != 3 || strings.Contains(a.got()[3].Body, "variables") {
		t.Errorf("%+v", r)
	}
}

func TestCSVShapes(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"plain":           "to,name\n+254700000001,Asha\n+254700000002,Bo\n",
		"bom":             "\ufeffto,name\n+254700000001,Asha\n+254700000002,Bo\n",
		"crlf":            "to,name\r\n+254700000001,Asha\r\n+254700000002,Bo\r\n",
		"no last newline": "to,name\n+254700000001,Asha\n+254700000002,Bo",
		"semicolons":      "To;name\n+254700000001;Asha\n+254700000002;Bo\n",
		"tabs":            "PHONE\tname\n+254700000001\tAsha\n+254700000002\tBo\n",
		"blank lines":     "to,name\n\n+254700000001,Asha\n\n+254700000002,Bo\n\n",
		"quoted header":   "\"to\",\"name\"\n\"+254700000001\",\"Asha\"\n +254700000002 ,Bo\n",
		"other columns":   "id, phone ,x,name\n1,+254700000001,,Asha\n2,+254700000002,\"a\nb\",Bo\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
			r := run(t, Deps{}, "send", "--url", a.URL, "--csv", file(t, "f.csv", text), "--from", "A", "--text", "{{name}}")
			if r.code != 0 {
				t.Fatalf("%+v", r)
			}
			e, err := envelope.Decode([]byte(a.got()[0].Body))
			if err != nil {
				t.Fatal(err)
			}
			want := []envelope.Recipient{
				{To: "+254700000001", Variables: map[string]string{"name": "Asha"}}, {To: "+254700000002", Variables: map[string]string{"name": "Bo"}},
			}
			if d := cmp.Diff(want, e.Recipients); d != "" {
				t.Error(d)
			}
		})
	}
}

// A mistake anywhere in a file is told with its line, and nothing is sent.
func TestCSVMistakesSendNothing(t *testing.T) {
	t.Parallel()
	var good strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&good, "+2547%08d,N\n", i)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":          {"", "is empty"},
		"header only":    {"to,name\n", "no row below its header"},
		"no number":      {"number,name\n1,2\n", "no column to or phone; it has number, name"},
		"no variable":    {"to,nam\n1,2\n", "the text uses {{name}}, and"},
		"two columns":    {"to,name,name\n1,2,3\n", `two columns "name"`},
		"unclosed quote": {"to,name\n" + good.String() + "+254700000001,\"Asha\n+254700000002,Bo\n", "line 1502: a quote that opens here is not closed"},
		"quote inside":   {"to,name\n+254700000001,\"As\"ha\n", "line 2: a quote is not closed"},
		"bare quote":     {"to,name\n+254700000001,As\"ha\n", "line 2: a quote within a field"},
		"short row":      {"to,name\n" + good.String() + "+254700000001\n", "line 1502: the number of columns is not the header's 2"},
		"latin-1":        {"to,name\n+254700000001,Jos\xe9\n", "line 2: not UTF-8"},
		"utf-16":         {"\xff\xfet\x00o\x00\n\x00", "line 1: not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
			r := run(t, Deps{}, "send", "--url", a.URL, "--csv", file(t, "f.csv", tt.text), "--from", "A", "--text", "{{name}}")
			if r.code != 2 || !strings.Contains(r.errOut, tt.want) || strings.Count(r.errOut, "\n") != 1 {
				t.Errorf("%+v", r)
			}
			if len(a.got()) != 0 {
				t.Error("something was sent")
			}
		})
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

// A connection that breaks within a file is made again; the rest is sent.
func TestSendCSVSurvivesARestart(t *testing.T) {
	t.Parallel()
	flaky := func(n int, r request, w http.ResponseWriter) {
		if n == 2 || n == 3 {
			panic(http.ErrAbortHandler)
		}
		accept(n, r, w)
	}
	a := newAPI(t, map[string]answer{"POST /v1/messages": flaky})
	r := run(t, Deps{}, "send", "--url", a.URL, "--csv", file(t, "f.csv", bigCSV(2000, 0)), "--from", "A", "--text", "x", "--idempotency-key", "j")
	if r.code != 0 || !strings.HasPrefix(r.out, "accepted 2000, refused 0, in 2 envelopes") {
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

func TestSpoolLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, err := spool(strings.NewReader("to\n1\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}
