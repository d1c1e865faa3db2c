package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
)

// The inputs of hostile and of honest but mistaken clients: each is refused with
// a problem that names the field, and nothing is stored.
func TestBadInputs(t *testing.T) {
	t.Parallel()
	r := start(t)
	in := func(format string, a ...any) string { return fmt.Sprintf(format, a...) }
	to := func(number string) string { return in(`{"to":%q,"from":"ACME","text":"x"}`, number) }
	from := func(sender string) string { return in(`{"to":"+254712345678","from":%q,"text":"x"}`, sender) }
	text := func(s string) string { return in(`{"to":"+254712345678","from":"ACME","text":"%s"}`, s) }
	with := func(field string) string { return in(`{"to":"+254712345678","from":"ACME","text":"x",%s}`, field) }
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"empty":                     {"", 400, "invalid_envelope"},
		"null":                      {"null", 400, "invalid_envelope"},
		"array":                     {"[]", 400, "invalid_envelope"},
		"deep":                      {strings.Repeat("[", 1_000_000), 400, "invalid_envelope"},
		"twice":                     {with(`"to":"+254712345679"`), 400, "invalid_envelope"},
		"case":                      {`{"TO":"+254712345678","from":"ACME","text":"x"}`, 400, "invalid_envelope"},
		"two documents":             {one + one, 400, "invalid_envelope"},
		"unknown field":             {with(`"callback_url":"http://169.254.169.254/"`), 400, "invalid_envelope"},
		"lone surrogate":            {text(`\ud800`), 400, "invalid_envelope"},
		"broken UTF-8":              {text("\xff"), 400, "invalid_envelope"},
		"number as text":            {with(`"ref":1.0`), 400, "invalid_envelope"},
		"no recipients":             {`{"from":"ACME","text":"x"}`, 400, "invalid_envelope"},
		"both":                      {with(`"recipients":[{"to":"+254712345679"}]`), 400, "invalid_envelope"},
		"zero recipients":           {`{"recipients":[],"from":"ACME","text":"x"}`, 400, "invalid_envelope"},
		"10,001 recipients":         {`{"recipients":[` + strings.Repeat(`{"to":"+254712345678"},`, 10_000) + `{"to":"+254712345678"}],"from":"ACME","text":"x"}`, 422, "too_many_recipients"},
		"NUL in text":               {text(`\u0000`), 422, "invalid_text"},
		"escape sequence in text":   {text(`\u001b[2J`), 422, "invalid_text"},
		"C1 control in text":        {text(`\u0085`), 422, "invalid_text"},
		"no text":                   {`{"to":"+254712345678","from":"ACME"}`, 422, "invalid_text"},
		"1 MB text":                 {text(strings.Repeat("a", 1<<20)), 422, "invalid_text"},
		"11 segments":               {text(strings.Repeat("a", 1531)), 422, "invalid_text"},
		"11 segments by an emoji":   {text(strings.Repeat("a", 669) + "😀"), 422, "invalid_text"},
		"no sender":                 {`{"to":"+254712345678","text":"x"}`, 422, "invalid_sender"},
		"long sender":               {from("TWELVE CHARS"), 422, "invalid_sender"},
		"sender of spaces":          {from("   "), 422, "invalid_sender"},
		"hyphen first":              {from("-ACME"), 422, "invalid_sender"},
		"homoglyph":                 {from("МTN"), 422, "invalid_sender"},
		"bidi override":             {from("AC\u202eME"), 422, "invalid_sender"},
		"zero width":                {from("AC\u200bME"), 422, "invalid_sender"},
		"line break in sender":      {from("ACME\r\nX"), 422, "invalid_sender"},
		"plus":                      {to("+"), 422, "invalid_number"},
		"zeros":                     {to("+000"), 422, "invalid_number"},
		"leading zero":              {to("+0712345678"), 422, "invalid_number"},
		"7 digits":                  {to("+2547123"), 422, "invalid_number"},
		"16 digits":                 {to("+2547123456789012"), 422, "invalid_number"},
		"letters":                   {to("+254CALLNOW"), 422, "invalid_number"},
		"full-width digits":         {to("+２５４７１２３４５６７８"), 422, "invalid_number"},
		"exponent":                  {to("+1e9"), 422, "invalid_number"},
		"hexadecimal":               {to("0x254712345678"), 422, "invalid_number"},
		"tel":                       {to("tel:+254712345678"), 422, "invalid_number"},
		"extension":                 {to("+254712345678;ext=1"), 422, "invalid_number"},
		"list":                      {to("+254712345678,+254712345679"), 422, "invalid_number"},
		"line break in number":      {to("+254712345678\n+254712345679"), 422, "invalid_number"},
		"form injection":            {to("+254712345678&user=x"), 422, "invalid_number"},
		"missing variable":          {in(`{"to":"+254712345678","from":"ACME","text":"{{name}}","variables":{}}`), 422, "missing_variable"},
		"1 MB variable":             {in(`{"to":"+254712345678","from":"ACME","text":"{{n}}","variables":{"n":%q}}`, strings.Repeat("x", 1<<20)), 422, "invalid_envelope"},
		"control in variable":       {`{"to":"+254712345678","from":"ACME","text":"{{n}}","variables":{"n":"\u0007"}}`, 422, "invalid_text"},
		"no route":                  {to("+441234567890"), 422, "no_route"},
		"unknown provider":          {with(`"provider":"nobody"`), 422, "no_route"},
		"provider as subject":       {with(`"provider":"a.>"`), 422, "invalid_envelope"},
		"31 days ahead":             {with(in(`"send_at":%q`, time.Now().Add(31*24*time.Hour).Format(time.RFC3339))), 422, "invalid_envelope"},
		"year 9999":                 {with(`"send_at":"9999-12-31T23:59:59Z"`), 422, "invalid_envelope"},
		"no zone":                   {with(`"send_at":"2026-12-01T08:00:00"`), 400, "invalid_envelope"},
		"30 February":               {with(`"send_at":"2026-02-30T08:00:00Z"`), 400, "invalid_envelope"},
		"Unix time":                 {with(`"send_at":1764576000`), 400, "invalid_envelope"},
		"expired":                   {with(`"expires_at":"2020-01-01T00:00:00Z"`), 422, "expired"},
		"expires before it is sent": {with(in(`"send_at":%q,"expires_at":%q`, time.Now().Add(2*time.Hour).Format(time.RFC3339), time.Now().Add(time.Hour).Format(time.RFC3339))), 422, "expired"},
		"expires in a week":         {with(in(`"expires_at":%q`, time.Now().Add(168*time.Hour).Format(time.RFC3339))), 422, "invalid_envelope"},
		"priority":                  {with(`"priority":"urgent"`), 422, "invalid_envelope"},
		"policy":                    {with(`"on_uncertain":"drop"`), 422, "invalid_envelope"},
		"key with a header inside":  {with(`"idempotency_key":"a\r\nNats-Msg-Id: x"`), 422, "invalid_envelope"},
		"long supersede key":        {with(in(`"supersede_key":%q`, strings.Repeat("k", 129))), 422, "invalid_envelope"},
		"metadata with controls":    {with(`"metadata":{"Nats-Rollup\r\n":"all"}`), 422, "invalid_envelope"},
	} {
		a := r.post(c.body)
		var p ingest.Problem
		if a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s", name, a.header.Get("Content-Type"))
		}
		a.into(t, &p)
		if a.status != c.status || p.Status != c.status || p.Code != c.code || p.Title == "" || p.Type == "" {
			t.Errorf("%s: %d %s; want %d %s", name, a.status, a.body[:min(len(a.body), 300)], c.status, c.code)
		}
		if c.status == 422 && c.code != "too_many_recipients" && len(p.Errors) != 1 {
			t.Errorf("%s: %d errors", name, len(p.Errors))
		}
	}
	for _, account := range []string{"ke", "world", "latin"} {
		r.queue(account, 0)
	}
	if strings.Contains(r.logs.String(), "254712345678") {
		t.Error("a number is in the log")
	}
}

func TestTenantsRights(t *testing.T) {
	t.Parallel()
	r := start(t)
	post := func(body string) answer { return r.do("k-beta", http.MethodPost, "/v1/messages", body) }
	if a := post(one); a.status != 422 || !strings.Contains(a.body, "invalid_sender") {
		t.Errorf("another's sender: %s", a.body)
	}
	if a := post(`{"to":"+254712345678","from":"BETA","text":"x","provider":"ke"}`); a.status != 422 || !strings.Contains(a.body, "no_route") {
		t.Errorf("an account that is not its: %s", a.body)
	}
	if a := post(`{"to":"+254712345678","from":"BETA","text":"x"}`); a.status != 202 {
		t.Errorf("its own: %s", a.body)
	}
	if p := r.queue("world", 1)[0]; len(p.Route) != 0 {
		t.Errorf("route %v", p.Route)
	}
	id := r.accepted(one).ID
	for _, path := range []string{"/v1/messages/" + id + "-0", "/v1/envelopes/" + id, "/v1/envelopes/" + id + "/messages"} {
		if a := r.do("k-beta", http.MethodGet, path, ""); a.status != http.StatusNotFound {
			t.Errorf("another tenant reads %s: %d", path, a.status)
		}
	}
	if a := r.do("k-beta", http.MethodDelete, "/v1/envelopes/"+id, ""); a.status != http.StatusNotFound {
		t.Errorf("another tenant cancels: %d", a.status)
	}
}

func TestRateOfATenant(t *testing.T) {
	t.Parallel()
	r := start(t)
	body := `{"recipients":[{"to":"+12025550123"},{"to":"+12025550124"},{"to":"+12025550125"}],"from":"BETA","text":"x"}`
	post := func() answer { return r.do("k-beta", http.MethodPost, "/v1/messages", body) }
	if a := post(); a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a := post()
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "rate_limited") {
		t.Errorf("over the rate: %d %v %s", a.status, a.header, a.body)
	}
	r.queue("world", 1)
}

// Without a bus nothing is acknowledged, over HTTP and line by line.
func TestBusAway(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.server.Stop()
	a := r.post(one)
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, `"code":"unavailable"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.post(one+"\n"+one, "Content-Type", ndjson); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"accepted":0`) {
		t.Errorf("lines: %d %s", a.status, a.body)
	}
	if a := r.post(one, "Content-Type", ndjson, "Accept", ndjson); a.status != http.StatusOK || !strings.Contains(a.body, `"status":503`) {
		t.Errorf("streamed lines: %d %s", a.status, a.body)
	}
	if a := r.do("k-acme", http.MethodPost, "/v1/messages?dry_run=true", one); a.status != http.StatusOK {
		t.Errorf("a dry run needs no bus: %d %s", a.status, a.body)
	}
}
