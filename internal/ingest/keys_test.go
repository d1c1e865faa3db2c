package ingest_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
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
	if got, want := store.get("acme", "k1").keep, time.Until(at.Add(24*time.Hour)); got < want || got > want+10*time.Second {
		t.Errorf("held for %s, want %s", got, want)
	}
}

func TestKeyInProgress(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	r.accepted(one, "Idempotency-Key", "k1")
	store.mu.Lock()
	store.held["acme k1"].answer = nil // as it was before the first was stored
	store.mu.Unlock()
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

// The keys' store forgets and comes back: what the bus had is what the key stands
// for from then on.
func TestKeysForgotten(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	first := r.accepted(one, "Idempotency-Key", "k1")
	store.mu.Lock()
	clear(store.held)
	store.mu.Unlock()
	for range 2 {
		if again := r.accepted(one, "Idempotency-Key", "k1"); again.ID != first.ID {
			t.Errorf("%s, first %s", again.ID, first.ID)
		}
	}
	if h := store.get("acme", "k1"); h == nil || !strings.Contains(string(h.answer), first.ID) {
		t.Errorf("kept %+v", h)
	}
}

// The same with the real store of keys.
func TestKeysOnRedis(t *testing.T) {
	t.Parallel()
	redisServer := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: redisServer.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	r := start(t, func(o *ingest.Options) { o.Keys = idempotency.NewKeys(client, time.Now) })
	body := `{"recipients":[{"to":"+254712345678"},{"to":"bad"},{"to":"+254712345679"},{"to":"+254712345670"}],"from":"ACME","text":"x"}`
	first := r.accepted(body, "Idempotency-Key", "k1")
	again := r.accepted(body, "Idempotency-Key", "k1")
	if diff := cmp.Diff(first, again); diff != "" {
		t.Error(diff)
	}
	if a := r.post(one, "Idempotency-Key", "k1"); a.status != 422 {
		t.Errorf("another body: %d", a.status)
	}
	r.publish("sms.submit.acme.normal", body, "Idempotency-Key", "k1")
	if m := r.events("acme", envelope.Accepted, 3)[0].Messages[0]; m.EnvelopeID != first.ID {
		t.Errorf("over the bus: %+v", m)
	}
	redisServer.Close()
	if again := r.accepted(body, "Idempotency-Key", "k2"); again.ID == first.ID {
		t.Error("another key, the same id")
	}
	r.queue("ke", 4)
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

// A repeat is answered as the first time, whatever has changed since: what was
// accepted is on its way, and what was refused was never stored.
func TestRepeatIsAnsweredAsTheFirstTime(t *testing.T) {
	t.Parallel()
	var out sync.Map
	r := start(t, func(o *ingest.Options) {
		o.Keys = newKeys()
		o.OptedOut = func(_, number string) bool { _, yes := out.Load(number); return yes }
	})
	two := `{"recipients":[{"to":"+254700000001"},{"to":"+254700000002"},{"to":"x"}],"from":"ACME","text":"Hi"}`
	out.Store("+254700000001", true)
	first := r.post(two, "Idempotency-Key", "some")
	out.Delete("+254700000001")
	all := r.post(two, "Idempotency-Key", "all")
	for _, c := range []struct {
		name string
		out  []string
	}{{"nothing", nil}, {"both have opted out", []string{"+254700000001", "+254700000002"}}, {"none has", nil}} {
		out.Clear()
		for _, number := range c.out {
			out.Store(number, true)
		}
		if again := r.post(two, "Idempotency-Key", "all"); again.status != all.status || again.body != all.body {
			t.Errorf("%s: %d %s, first %s", c.name, again.status, again.body, all.body)
		}
		again := r.post(two, "Idempotency-Key", "some")
		var was, is ingest.Answer
		first.into(t, &was)
		again.into(t, &is)
		if again.status != first.status || !cmp.Equal(was.Messages, is.Messages) || was.Rejected != is.Rejected {
			t.Errorf("%s: %d %s, first %s", c.name, again.status, again.body, first.body)
		}
	}
	r.publish("sms.submit.acme.high", `{"to":"+254700000004","from":"ACME","text":"Hi"}`, "Idempotency-Key", "bus")
	r.events("acme", envelope.Accepted, 1)
	out.Store("+254700000004", true)
	r.publish("sms.submit.acme.high", `{"to":"+254700000004","from":"ACME","text":"Hi"}`, "Idempotency-Key", "bus")
	r.events("acme", envelope.Accepted, 2)
}
