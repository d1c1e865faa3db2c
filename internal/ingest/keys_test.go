package ingest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	first := r.accepted(one, "Idempotency-Key", "k1")
	for name, a := range map[string]ingest.Answer{
		"the same":        r.accepted(one, "Idempotency-Key", "k1"),
		"in the body":     r.accepted(`{"idempotency_key":"k1","text":"Hi","from":"ACME","to":"+254712345678"}`),
		"in both":         r.accepted(`{"idempotency_key":"k1","text":"Hi","from":"ACME","to":"+254712345678","priority":"normal"}`, "Idempotency-Key", "k1"),
		"spelt otherwise": r.accepted(`{"to":"\u002b254712345678","from":"ACME","text":"Hi"}`, "Idempotency-Key", "k1"),
	} {
		if a.ID != first.ID || len(a.Messages) != 1 || a.Messages[0] != first.Messages[0] {
			t.Errorf("%s: %+v, first %+v", name, a, first)
		}
	}
	if a := r.post(strings.Replace(one, "Hi", "Ho", 1), "Idempotency-Key", "k1"); a.status != 422 || !strings.Contains(a.body, `"code":"duplicate"`) {
		t.Errorf("another body: %d %s", a.status, a.body)
	}
	if a := r.post(`{"idempotency_key":"k2","text":"Hi","from":"ACME","to":"+254712345678"}`, "Idempotency-Key", "k1"); a.status != 400 {
		t.Errorf("header and field differ: %d", a.status)
	}
	if other := r.do("k-beta", http.MethodPost, "/v1/messages", `{"to":"+254712345678","from":"BETA","text":"Hi"}`, "Idempotency-Key", "k1"); other.status != 202 {
		t.Errorf("another tenant's key: %d %s", other.status, other.body)
	}
	r.queue("ke", 1)
}

func TestKeyIsHeldUntilADayAfterTheSendTime(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	at := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	r.accepted(`{"to":"+254712345678","from":"ACME","text":"Hi","send_at":"`+at.Format(time.RFC3339)+`"}`, "Idempotency-Key", "k1")
	if !store.until.Equal(at.Add(24 * time.Hour)) {
		t.Errorf("held until %s, sent at %s", store.until, at)
	}
}

func TestKeyInProgress(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	r.accepted(one, "Idempotency-Key", "k1")
	claim := store.held["acme k1"]
	claim.Stored, claim.ID = false, "somebody else's"
	store.held["acme k1"] = claim
	if a := r.post(one, "Idempotency-Key", "k1"); a.status != http.StatusConflict || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A refused submission does not use its key up.
func TestRefusedSubmissionGivesItsKeyBack(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Keys = newKeys() })
	if a := r.post(`{"to":"bad","from":"ACME","text":"Hi"}`, "Idempotency-Key", "k1"); a.status != 422 {
		t.Fatal(a.status)
	}
	r.accepted(one, "Idempotency-Key", "k1")
}

// Without the keys' store the bus's own window still catches a repeat, and
// answers as the first time.
func TestKeysAway(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Keys = &keys{away: true} })
	first := r.accepted(one, "Idempotency-Key", "k1")
	if again := r.accepted(one, "Idempotency-Key", "k1"); again.ID != first.ID || again.Messages[0] != first.Messages[0] {
		t.Errorf("%+v, first %+v", again, first)
	}
	if a := r.post(strings.Replace(one, "Hi", "Ho", 1), "Idempotency-Key", "k1"); a.status != 422 {
		t.Errorf("another body: %d %s", a.status, a.body)
	}
	r.queue("ke", 1)
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, key := range []string{"", strings.Repeat("k", 256), "ключ"} {
		if a := r.post(one, "Idempotency-Key", key); a.status != 400 {
			t.Errorf("%.20q: %d", key, a.status)
		}
	}
}
