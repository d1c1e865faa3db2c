package badinput

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// submission is a body for POST /v1/messages and what must come of it: a problem
// that says what is wrong, with the field's name.
type submission struct {
	row    int // of the list
	name   string
	body   string
	status int
	says   string   // in the answer
	header []string // name, value, ...
}

// submissions are all that are refused, and those that look bad and are not.
func submissions() []submission {
	to := func(number string) string { return fmt.Sprintf(`{"to":%q,"from":"ACME","text":"x"}`, number) }
	from := func(sender string) string { return fmt.Sprintf(`{"to":"+254712345678","from":%q,"text":"x"}`, sender) }
	text := func(s string) string { return `{"to":"+254712345678","from":"ACME","text":"` + s + `"}` }
	with := func(field string) string { return `{"to":"+254712345678","from":"ACME","text":"x",` + field + `}` }
	in := func(field string, d time.Duration) string {
		return fmt.Sprintf(`%q:%q`, field, time.Now().Add(d).UTC().Format(time.RFC3339))
	}
	many := func(n int) string {
		return `{"recipients":[` + strings.TrimSuffix(strings.Repeat(`{"to":"+254712345678"},`, n), ",") + `],"from":"ACME","text":"x"}`
	}
	const one = `{"to":"+254712345678","from":"ACME","text":"x"}`
	list := []submission{
		{1, "empty", "", 400, "found the end", nil},
		{1, "spaces", " \r\n\t", 400, "found the end", nil},
		{2, "null", "null", 400, "object", nil},
		{2, "array", "[]", 400, "object", nil},
		{2, "string", `"x"`, 400, "object", nil},
		{2, "number", "1", 400, "object", nil},
		{6, "brackets", strings.Repeat("[", 1_000_000), 400, "object", nil},
		{6, "nested metadata", `{"metadata":{"a":` + strings.Repeat("[", 1_000_000), 400, `"field":"metadata.a"`, nil},
		{6, "nested unknown", `{"x":` + strings.Repeat(`{"x":`, 300_000), 400, `"field":"x"`, nil},
		{7, "to twice", with(`"to":"+254712345679"`), 400, `"field":"to"`, nil},
		{7, "to twice, one escaped", with(`"\u0074o":"+254712345679"`), 400, `"field":"to"`, nil},
		{7, "variable twice", with(`"variables":{"a":"1","a":"2"}`), 400, `"field":"variables.a"`, nil},
		{8, "TO", `{"TO":"+254712345678","from":"ACME","text":"x"}`, 400, `"field":"TO"`, nil},
		{8, "To beside to", with(`"To":"+254712345679"`), 400, `"field":"To"`, nil},
		{9, "two documents", one + one, 400, "after", nil},
		{9, "garbage after it", one + " x", 400, "after", nil},
		{9, "NUL after it", one + "\x00", 400, "after", nil},
		{10, "unknown", with(`"sender":"A"`), 400, `"field":"sender"`, nil},
		{10, "unknown in a recipient", `{"recipients":[{"to":"+254712345678","phone":"x"}],"from":"A","text":"x"}`, 400, `"field":"recipients[0].phone"`, nil},
		{11, "broken UTF-8", text("\xff"), 400, `"field":"text"`, nil},
		{11, "overlong UTF-8", text("\xc0\xaf"), 400, `"field":"text"`, nil},
		{11, "lone surrogate", text(`\ud800`), 400, `"field":"text"`, nil},
		{11, "lone surrogate in metadata", with(`"metadata":{"k":"\udc00"}`), 400, `"field":"metadata.k"`, nil},
		{12, "NUL in text", text(`\u0000`), 422, "text: ", nil},
		{12, "escape in text", text(`\u001b[2J`), 422, "text: ", nil},
		{12, "C1 in text", text(`\u0085`), 422, "text: ", nil},
		{12, "NUL in sender", `{"to":"+254712345678","from":"AC\u0000ME","text":"x"}`, 422, "from: ", nil},
		{12, "line break in sender", from("ACME\r\nX"), 422, "from: ", nil},
		{13, "bidi override", from("AC\u202eME"), 422, "from: ", nil},
		{13, "zero width", from("AC\u200bME"), 422, "from: ", nil},
		{14, "Cyrillic M", from("МTN"), 422, "from: ", nil},
		{14, "full-width", from("ＭTN"), 422, "from: ", nil},
		{15, "12 characters", from("TWELVE CHARS"), 422, "from: ", nil},
		{15, "spaces", from("   "), 422, "from: ", nil},
		{15, "hyphen first", from("-ACME"), 422, "from: ", nil},
		{15, "none", `{"to":"+254712345678","text":"x"}`, 422, "from: ", nil},
		{17, "satellite", to("+881612345678"), 422, `"code":"no_route"`, nil},
		{17, "satellite by a named account", `{"to":"+881612345678","from":"ACME","text":"x","provider":"cloudrebue"}`, 422, `"code":"no_route"`, nil},
		{17, "short code", to("15000"), 422, "to: ", nil},
		{18, "10,001 recipients", many(10_001), 422, `"code":"too_many_recipients"`, nil},
		{19, "no recipients", `{"recipients":[],"from":"ACME","text":"x"}`, 400, `"field":"to"`, nil},
		{19, "neither", `{"from":"ACME","text":"x"}`, 400, `"field":"to"`, nil},
		{19, "both", with(`"recipients":[{"to":"+254712345679"}]`), 400, `"field":"to"`, nil},
		{22, "list", to("+254712345678,+254712345679"), 422, "to: ", nil},
		{22, "line break", to("+254712345678\n+254712345679"), 422, "to: ", nil},
		{22, "form", to("+254712345678&user=x"), 422, "to: ", nil},
		{22, "JSON", to(`+254712345678","to":"1`), 422, "to: ", nil},
		{24, "missing", `{"to":"+254712345678","from":"ACME","text":"{{name}}","variables":{}}`, 422, "name", nil},
		{24, "1 MB", `{"to":"+254712345678","from":"ACME","text":"{{n}}","variables":{"n":"` + strings.Repeat("x", 1<<20) + `"}}`, 422, "variables", nil},
		{24, "grows too long", `{"to":"+254712345678","from":"ACME","text":"` + strings.Repeat("{{n}}", 20) + `","variables":{"n":"` + strings.Repeat("x", 200) + `"}}`, 422, "text: ", nil},
		{24, "no end of a placeholder", `{"to":"+254712345678","from":"ACME","text":"{{` + strings.Repeat("n", 200) + `}}","variables":{"n":"x"}}`, 422, "missing_variable", nil},
		{25, "no characters", text(""), 422, "text: ", nil},
		{25, "1 MB", text(strings.Repeat("a", 1<<20)), 422, "text: ", nil},
		{25, "11 segments", text(strings.Repeat("a", 1531)), 422, "text: ", nil},
		{25, "11 segments by an emoji", text(strings.Repeat("a", 669) + "😀"), 422, "text: ", nil},
		{27, "no Unicode at this gateway", `{"to":"+226701234567","from":"ACME","text":"ж","provider":"smsbox"}`, 422, "text", nil},
		{29, "31 days ahead", with(in("send_at", 31*24*time.Hour)), 422, "send_at", nil},
		{30, "no zone", with(`"send_at":"2026-12-01T08:00:00"`), 400, `"field":"send_at"`, nil},
		{30, "30 February", with(`"send_at":"2027-02-30T08:00:00Z"`), 400, `"field":"send_at"`, nil},
		{30, "leap second", with(`"send_at":"2026-12-31T23:59:60Z"`), 400, `"field":"send_at"`, nil},
		{30, "zone by name", with(`"send_at":"2026-12-31T23:59:59 Africa/Nairobi"`), 400, `"field":"send_at"`, nil},
		{30, "year 9999", with(`"send_at":"9999-12-31T23:59:59Z"`), 422, "send_at", nil},
		{30, "Unix time", with(`"send_at":1764576000000`), 400, `"field":"send_at"`, nil},
		{31, "expires before it is sent", with(in("send_at", 2*time.Hour) + "," + in("expires_at", time.Hour)), 422, `"code":"expired"`, nil},
		{31, "expired", with(`"expires_at":"2020-01-01T00:00:00Z"`), 422, `"code":"expired"`, nil},
		{31, "expires in a week", with(in("expires_at", 168*time.Hour)), 422, "expires_at", nil},
		{31, "validity", with(`"validity":-1`), 400, `"field":"validity"`, nil},
		{32, "empty key", one, 400, "Idempotency-Key", []string{"Idempotency-Key", ""}},
		{32, "long key", one, 400, "Idempotency-Key", []string{"Idempotency-Key", strings.Repeat("k", 256)}},
		{32, "key of other letters", one, 400, "Idempotency-Key", []string{"Idempotency-Key", "ключ"}},
		{32, "megabyte of key", with(`"idempotency_key":"` + strings.Repeat("k", 1<<20) + `"`), 422, "idempotency_key", nil},
		{32, "key with a line break", with(`"idempotency_key":"a\r\nNats-Msg-Id: x"`), 422, "idempotency_key", nil},
		{33, "two keys", with(`"idempotency_key":"a"`), 400, "idempotency_key", []string{"Idempotency-Key", "b"}},
		{35, "header in metadata", with(`"metadata":{"X-Tenant":"a\r\nNats-Msg-Id: x"}`), 422, "metadata", nil},
		{35, "header in a reference", with(`"ref":"a\r\nNats-Msg-Id: x"`), 422, "ref", nil},
		{36, "Nats-Rollup in metadata's name", with(`"metadata":{"Nats-Rollup\r\n":"all"}`), 422, "metadata", nil},
		{37, "callback URL", with(`"callback_url":"http://169.254.169.254/latest"`), 400, `"field":"callback_url"`, nil},
		{37, "URL for an account", with(`"provider":"http://127.0.0.1:22/"`), 422, "provider", nil},
		{38, "text", one, 415, "application/json", []string{"Content-Type", "text/plain"}},
		{38, "UTF-16", one, 415, "UTF-8", []string{"Content-Type", "application/json; charset=utf-16"}},
		{38, "form", one, 415, "application/json", []string{"Content-Type", "multipart/form-data; boundary=x"}},
		{39, "gzip", "\x1f\x8b\x08", 415, "Content-Encoding", []string{"Content-Encoding", "gzip"}},
		{39, "gzip twice", "\x1f\x8b\x08", 415, "Content-Encoding", []string{"Content-Encoding", "gzip, gzip"}},
		{45, "dry run of what", one, 400, "dry_run", []string{"?", "dry_run=maybe"}},
		{46, "no key", one, 401, "API key", []string{"Authorization", ""}},
		{46, "foreign key", one, 401, "API key", []string{"Authorization", "Bearer nobody"}},
		{46, "part of a key", one, 401, "API key", []string{"Authorization", "Bearer dem"}},
		{46, "the hash of a key", one, 401, "API key", []string{"Authorization", "Bearer " + rig.KeyHash}},
		{46, "none-algorithm token", one, 401, "API key", []string{"Authorization", "Bearer eyJhbGciOiJub25lIn0.e30."}},
		{52, "1e400", with(`"ref":1e400`), 400, `"field":"ref"`, nil},
		{52, "-0", with(`"ref":-0`), 400, `"field":"ref"`, nil},
		{52, "number as a number", `{"to":254712345678,"from":"ACME","text":"x"}`, 400, `"field":"to"`, nil},
		{52, "boolean", with(`"ref":true`), 400, `"field":"ref"`, nil},
		{52, "variable as a number", with(`"variables":{"n":1.0}`), 400, `"field":"variables.n"`, nil},
	}
	list = append(list, submission{64, "more than the bus takes at once", large(), 413, "too_large", nil})
	for name, number := range map[string]string{
		"none": "", "plus": "+", "zeros": "+000", "plus and zero": "+0712345678", "7 digits": "+2547123", "16 digits": "+2547123456789012",
		"letters": "+254CALLNOW", "full-width digits": "+２５４７１２３４５６７８", "exponent": "+1e9", "hexadecimal": "0x254712345678",
		"tel": "tel:+254712345678", "extension": "+254712345678;ext=1", "two pluses": "++254712345678", "national, of no plan": "0012",
	} {
		status := 422
		if number == "" {
			status = 400
		}
		list = append(list, submission{16, name, to(number), status, "to", nil})
	}
	return list
}

// large is an envelope within all bounds but that of one message on the bus.
func large() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-+"
	var b strings.Builder
	b.WriteString(`{"from":"ACME","text":"{{a}}","recipients":[`)
	random := rand.New(rand.NewPCG(1, 2)) // so that it cannot be packed
	for i := range 10_000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"to":"+2547%08d","variables":{"a":"`, i)
		for range 1400 {
			b.WriteByte(letters[random.IntN(len(letters))])
		}
		b.WriteString(`"}}`)
	}
	b.WriteString("]}")
	return b.String()
}

// harmless look bad, and are taken or planned as they should be.
func harmless() []submission {
	const one = `{"to":"+254799000001","from":"ACME","text":"good"}`
	return []submission{
		{16, "00", `{"to":"000254799000001","from":"ACME","text":"good"}`, 202, `"to":"+254799000001"`, nil},
		{16, "national with a default region", `{"to":"0799 000-001","from":"ACME","text":"good"}`, 202, `"to":"+254799000001"`, nil},
		{24, "recursive", `{"to":"+254799000001","from":"ACME","text":"{{a}}","variables":{"a":"{{b}}{{a}}","b":"x"}}`, 202, `"segments":1`, nil},
		{26, "GSM-7", `{"to":"+254799000001","from":"ACME","text":"` + strings.Repeat("'", 160) + `"}`, 200, `"segments":1`, []string{"?", "dry_run=true"}},
		{26, "one typographic quote", `{"to":"+254799000001","from":"ACME","text":"` + strings.Repeat("'", 159) + `’"}`, 200, `"segments":3`, []string{"?", "dry_run=true"}},
		{28, "in the past", `{"to":"+254799000001","from":"ACME","text":"good","send_at":"2020-01-01T00:00:00Z"}`, 202, `"accepted":1`, nil},
		{32, "key of wildcards", one, 202, `"accepted":1`, []string{"Idempotency-Key", "$SYS.>.*..a b"}},
		{36, "headers for the bus", one, 202, `"accepted":1`, []string{"Nats-Rollup", "all", "Nats-Expected-Last-Sequence", "999", "Nats-TTL", "1s", "Nats-Schedule", "@at 2009-11-10T23:00:00Z", "Nats-Batch-Id", "x", "Nats-Msg-Id", "x"}},
		{36, "metadata for the bus", `{"to":"+254799000001","from":"ACME","text":"good","metadata":{"Nats-Rollup":"all","Nats-TTL":"1s"}}`, 202, `"accepted":1`, nil},
		{43, "method in a header", one, 202, `"accepted":1`, []string{"X-HTTP-Method-Override", "DELETE"}},
		{51, "clock a year ahead", one, 202, `"accepted":1`, []string{"Date", "Sat, 20 Nov 2027 12:00:00 GMT", "traceparent", "00-00000000000000000000000000000000-0000000000000000-00"}},
	}
}

// Every bad submission is refused with a problem that names what is wrong, leaves
// nothing on the bus, and the next good one is taken.
func TestSubmissions(t *testing.T) {
	p := start(t, "")
	before := memory()
	taken := 0
	for _, s := range append(submissions(), harmless()...) {
		status, typ, body := p.submit(s)
		if status != s.status || !strings.Contains(body, s.says) {
			t.Errorf("row %d, %s: %d %.500s\nwant %d that says %s", s.row, s.name, status, body, s.status, s.says)
		}
		if status >= 400 && typ != "application/problem+json" {
			t.Errorf("row %d, %s: a %s", s.row, s.name, typ)
		}
		if s.status == http.StatusAccepted {
			taken++
		}
		if s.status >= 400 {
			p.accepts()
		}
	}
	if after := memory(); after > before+128<<20 {
		t.Errorf("%d MiB are held after it, %d before", after>>20, before>>20)
	}
	p.goesOn()
	js := p.bus()
	for stream, want := range map[string]int{"SMS_QUEUE_cloudrebue": p.good + taken, "SMS_SUBMIT_demo": 0, "SMS_DELAY": 0, "SMS_QUEUE_smsbox": 0} {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		got := s.CachedInfo().State
		if got.LastSeq != uint64(want) || stream == "SMS_QUEUE_cloudrebue" && got.Msgs != uint64(want) {
			t.Errorf("%s: %d messages were stored and %d are there, %d were good", stream, got.LastSeq, got.Msgs, want)
		}
	}
}

// submit posts a submission as a client would.
func (p *program) submit(s submission) (status int, typ, body string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://"+p.api+"/v1/messages", strings.NewReader(s.body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+rig.Key)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(s.header); i += 2 {
		if s.header[i] == "?" {
			req.URL.RawQuery = s.header[i+1]
		} else {
			req.Header[http.CanonicalHeaderKey(s.header[i])] = []string{s.header[i+1]}
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Errorf("row %d, %s: %v", s.row, s.name, err)
		return 0, "", ""
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Errorf("row %d, %s: %v", s.row, s.name, err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(data)
}
