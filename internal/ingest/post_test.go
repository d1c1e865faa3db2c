package ingest_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

const one = `{"to":"+254712345678","from":"ACME","text":"Hi"}`

func TestOneMessageGoesStraightToTheQueue(t *testing.T) {
	t.Parallel()
	r := start(t)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a := r.accepted(`{"to":"0712 345 678","from":"ACME","text":"Hi {{name}}","variables":{"name":"Asha","unused":"x"},"priority":"high","ref":"r1","metadata":{"k":"v"},"on_uncertain":"hold"}`, "traceparent", trace)
	if a.Accepted != 1 || a.Rejected != 0 || len(a.Errors) != 0 || a.ID == "" {
		t.Errorf("answer %+v", a)
	}
	if diff := cmp.Diff([]ingest.AcceptedMessage{{ID: a.ID + "-0", To: "+254712345678", Segments: 1}}, a.Messages); diff != "" {
		t.Error(diff)
	}
	p := r.queue("ke", 1)[0]
	want := envelope.Piece{
		ID: a.ID, Tenant: "acme", Priority: envelope.High, Account: "ke", Route: []string{"world"}, From: "ACME",
		Text: "Hi {{name}}", Template: true, OnUncertain: envelope.Hold, Ref: "r1", Metadata: map[string]string{"k": "v"}, Traceparent: trace,
		Messages: []envelope.Message{{To: "+254712345678", Variables: map[string]string{"name": "Asha"}, Segments: 1}},
	}
	if d := p.ExpiresAt.Sub(p.AcceptedAt); d != envelope.DefaultTTL {
		t.Errorf("expires after %s", d)
	}
	p.AcceptedAt, p.ExpiresAt = time.Time{}, time.Time{}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	r.eventually("status", func() bool {
		return r.do("k-acme", http.MethodGet, "/v1/messages/"+a.ID+"-0", "").status == http.StatusOK
	})
	got := r.do("k-acme", http.MethodGet, "/v1/messages/"+a.ID+"-0", "")
	if !strings.Contains(got.body, `"status":"accepted"`) || !strings.Contains(got.body, `"trace_id":"0af7651916cd43dd8448eb211c80319c"`) {
		t.Error(got.body)
	}
}

func TestLargeEnvelopeIsAcceptedWholeAndCut(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.accepted(`{"recipients":[{"to":"+254712345670"},{"to":"+254712345671","ref":"b"},{"to":"bad"},{"to":"+254712345672"},{"to":"+12025550123"},{"to":"+441234567890"}],"from":"ACME","text":"x"}`)
	if a.Accepted != 4 || a.Rejected != 2 {
		t.Fatalf("answer %+v", a)
	}
	if a.Errors[0].Index != 2 || a.Errors[0].Code != envelope.InvalidNumber || a.Errors[1].Index != 5 || a.Errors[1].Code != envelope.NoRoute || a.Errors[1].To != "+441234567890" {
		t.Errorf("errors %+v", a.Errors)
	}
	ke, world := r.queue("ke", 2), r.queue("world", 1)
	var got [][]int
	for _, p := range append(ke, world...) {
		var at []int
		for _, m := range p.Messages {
			at = append(at, m.Index)
		}
		got = append(got, at)
		if p.ID != a.ID || p.Origin == nil || p.Origin.Stream != "SMS_SUBMIT_acme" || p.Origin.Seq != 1 || p.Origin.Epoch == 0 {
			t.Errorf("piece of %s, origin %+v", p.ID, p.Origin)
		}
	}
	if diff := cmp.Diff([][]int{{0, 1}, {3}, {4}}, got); diff != "" {
		t.Error(diff)
	}
	for _, m := range a.Messages {
		r.eventually("status of "+m.ID, func() bool {
			return r.do("k-acme", http.MethodGet, "/v1/messages/"+m.ID, "").status == http.StatusOK
		})
	}
}

func TestTenThousandRecipients(t *testing.T) {
	t.Parallel()
	r := start(t)
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, `{"to":"+1202%07d","variables":{"name":"Somebody with quite a long name %d"},"ref":"order-%d"},`, i, i, i)
	}
	a := r.accepted(`{"recipients":[` + strings.TrimSuffix(b.String(), ",") + `],"from":"ACME","text":"Hi {{name}}"}`)
	if a.Accepted != 10_000 {
		t.Fatalf("%d accepted", a.Accepted)
	}
	seen := map[int]bool{}
	for _, p := range r.queue("world", 10) {
		for _, m := range p.Messages {
			seen[m.Index] = true
		}
	}
	if len(seen) != 10_000 {
		t.Errorf("%d messages queued", len(seen))
	}
}

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

func TestNumbersAreNormalised(t *testing.T) {
	t.Parallel()
	r := start(t)
	for number, want := range map[string]string{
		"0712345678": "+254712345678", "0712 345-678": "+254712345678", "254712345678": "+254712345678",
		"+254 712 345 678": "+254712345678", "000254712345678": "+254712345678", "+1 (202) 555-0123": "+12025550123", "+254999999999": "+254999999999",
	} {
		a := r.accepted(fmt.Sprintf(`{"to":%q,"from":"ACME","text":"x"}`, number))
		if a.Messages[0].To != want {
			t.Errorf("%s: %s, want %s", number, a.Messages[0].To, want)
		}
	}
	strict := r.do("k-ops", http.MethodPost, "/v1/messages", `{"to":"+254999999999","from":"ACME","text":"x"}`)
	if strict.status != http.StatusUnprocessableEntity {
		t.Errorf("a number that no plan has, strictly: %d", strict.status)
	}
	national := r.do("k-beta", http.MethodPost, "/v1/messages", `{"to":"0712345678","from":"BETA","text":"x"}`)
	if national.status != http.StatusUnprocessableEntity {
		t.Errorf("a national number without a region: %d", national.status)
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

func TestDryRunStoresNothing(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.do("k-acme", http.MethodPost, "/v1/messages?dry_run=true", `{"recipients":[{"to":"+254712345670"},{"to":"+254712345671"},{"to":"+254712345672"},{"to":"+12025550123"},{"to":"x"}],"from":"ACME","text":"`+strings.Repeat("é", 161)+`"}`)
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var got ingest.Answer
	a.into(t, &got)
	want := ingest.Answer{
		Counts: ingest.Counts{Accepted: 4, Rejected: 1},
		Messages: []ingest.AcceptedMessage{
			{To: "+254712345670", Segments: 2, Provider: "ke"}, {To: "+254712345671", Segments: 2, Provider: "ke"},
			{To: "+254712345672", Segments: 2, Provider: "ke"}, {To: "+12025550123", Segments: 2, Provider: "world"},
		},
		Errors:  got.Errors,
		Batches: map[string]int{"ke": 2, "world": 1},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got.Errors) != 1 || strings.Contains(a.body, `"id"`) {
		t.Errorf("%s\n%s", diff, a.body)
	}
	for _, account := range []string{"ke", "world"} {
		r.queue(account, 0)
	}
}

func TestAccountsCheckDecides(t *testing.T) {
	t.Parallel()
	r := start(t)
	if a := r.post(`{"to":"+33612345678","from":"ACME","text":"été"}`); a.status != 202 {
		t.Errorf("GSM-7: %s", a.body)
	}
	if a := r.post(`{"to":"+33612345678","from":"ACME","text":"ça va"}`); a.status != 422 || !strings.Contains(a.body, "plain text only") {
		t.Errorf("UCS-2: %s", a.body)
	}
}

// A tenant may let texts go in ASCII where no account of the route carries them
// as they are: the others' stay as typed, and all are told the segments of what
// is sent.
func TestTransliterated(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Tenants[0].Transliterate = true })
	a := r.post(`{"recipients":[{"to":"+33612345678","variables":{"name":"Zoë 🎉"}},{"to":"+254712345678","variables":{"name":"Zoë 🎉"}},
		{"to":"+33612345679","variables":{"name":"Ann"}}],"from":"ACME","text":"ça va {{name}}, 5 £` + strings.Repeat(".", 60) + `"}`)
	if a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var got ingest.Answer
	a.into(t, &got)
	for i, want := range []int{1, 2, 1} {
		if got.Messages[i].Segments != want {
			t.Errorf("message %d has %d segments, want %d", i, got.Messages[i].Segments, want)
		}
	}
	dots := strings.Repeat(".", 60)
	texts := map[string]string{}
	for account, n := range map[string]int{"latin": 1, "ke": 1} {
		for _, p := range r.queue(account, n) {
			for _, m := range p.Messages {
				texts[m.To], _ = envelope.Render(p.Text, m.Variables)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{
		"+33612345678": "ca va Zoe , 5 GBP" + dots, "+33612345679": "ca va Ann, 5 GBP" + dots, "+254712345678": "ça va Zoë 🎉, 5 £" + dots,
	}, texts); diff != "" {
		t.Error(diff)
	}

	a = r.do("k-acme", http.MethodPost, "/v1/messages", `{"to":"+33612345678","from":"ACME","text":"`+strings.Repeat("ж", 70)+`"}`)
	if a.into(t, &got); a.status != http.StatusAccepted || got.Messages[0].Segments != 1 {
		t.Errorf("alone: %d %s", a.status, a.body)
	}
	for name, body := range map[string]string{
		"nothing is left":             `{"to":"+33612345678","from":"ACME","text":"🎉"}`,
		"too long when it is spelled": `{"to":"+33612345678","from":"ACME","text":"` + strings.Repeat("щ", 600) + `"}`,
		"another placeholder":         `{"to":"+33612345678","from":"ACME","text":"ж {{a}} ｛｛a｝｝","variables":{"a":"b"}}`,
	} {
		if a := r.post(body); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := r.do("k-ops", http.MethodPost, "/v1/messages", `{"to":"+33612345678","from":"ACME","text":"ж"}`); a.status != http.StatusUnprocessableEntity {
		t.Errorf("a tenant that does not allow it: %d %s", a.status, a.body)
	}
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

// TestMessagesAreCounted: by the account in whose queue they are, once, however
// often they are submitted under their key.
func TestMessagesAreCounted(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[string]int{}
	r := start(t, func(o *ingest.Options) {
		o.Keys = newKeys()
		o.Count = func(account string, s envelope.Status, n int) {
			mu.Lock()
			defer mu.Unlock()
			got[account+" "+string(s)] += n
		}
	})
	r.accepted(one, "Idempotency-Key", "k1")
	r.accepted(one, "Idempotency-Key", "k1")
	r.accepted(`{"recipients":[{"to":"+254712345678"},{"to":"+12025550123"},{"to":"nobody"}],"from":"ACME","text":"x"}`)
	r.post(`{"to":"nobody","from":"ACME","text":"x"}`)
	r.do("k-acme", http.MethodPost, "/v1/messages?dry_run=true", `{"to":"nobody","from":"ACME","text":"x"}`)
	r.post(`{"to":"nobody","from":"ACME","text":"x"}`+"\n"+one+"\n", "Content-Type", "application/x-ndjson")
	r.publish("sms.submit.acme.normal", `{"recipients":[{"to":"+254712345678"},{"to":"nobody"}],"from":"ACME","text":"x"}`)
	r.publish("sms.submit.acme.normal", `{"to":"nobody","from":"ACME","text":"x"}`)
	want := map[string]int{"ke accepted": 4, "world accepted": 1, "none rejected": 5}
	r.eventually("counted", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return maps.Equal(got, want)
	})
}
