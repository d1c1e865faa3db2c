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

func TestNumbersAreNormalised(t *testing.T) {
	t.Parallel()
	r := start(t)
	for number, want := range map[string]string{
		"0712345678": "+254712345678", "0712 345-678": "+254712345678", "254712345678": "+254712345678",
		"+254 712 345 678": "+254712345678", " +254712345678 ": "+254712345678", "000254712345678": "+254712345678", "+1 (202) 555-0123": "+12025550123", "+254999999999": "+254999999999",
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
	later := r.accepted(`{"to":"+254712345678","from":"ACME","text":"x","send_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}`)
	r.eventually("scheduled", func() bool {
		return strings.Contains(r.do("k-acme", http.MethodGet, "/v1/messages/"+later.Messages[0].ID, "").body, `"scheduled"`)
	})
	for range 2 {
		r.do("k-acme", http.MethodDelete, "/v1/messages/"+later.Messages[0].ID, "")
	}
	want := map[string]int{"ke accepted": 4, "world accepted": 1, "none rejected": 5, "none scheduled": 1, "none canceled": 1}
	r.eventually("counted", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return maps.Equal(got, want)
	})
}
