package ingest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// insists repeats a body under its key for as long as somebody else is working on
// it, as a client does.
func (r *rig) insists(body, key string) (out ingest.Answer) {
	r.t.Helper()
	var a answer
	r.eventually("answer", func() bool {
		a = r.post(body, "Idempotency-Key", key)
		return a.status != http.StatusConflict
	})
	if a.status != http.StatusAccepted {
		r.t.Fatalf("status %d: %s", a.status, a.body)
	}
	a.into(r.t, &out)
	return out
}

// givenUp has the first who claims k1 end there, with its lease over, and says when.
func (k *keys) givenUp() <-chan struct{} {
	died := make(chan struct{})
	deaths := dieOnce(map[string]killed{"k1": {call: "claim", over: true}})
	k.dies = func(key, call string) (bool, bool) {
		die, over := deaths(key, call)
		if die {
			close(died)
		}
		return die, over
	}
	return died
}

// startSeen starts a rig with keys, and with statuses that do as they are told.
func startSeen(t *testing.T) (r *rig, store *keys, s *sight) {
	t.Helper()
	store = newKeys()
	r = start(t, func(o *ingest.Options) {
		s = &sight{Status: o.Status}
		o.Keys, o.Status = store, s
	})
	return r, store, s
}

// A submission over the bus is given up for dead, and its client repeats it over
// HTTP. Both go on, under one id, and one of them stores it.
func TestPublishedAndRepeatedOverHTTP(t *testing.T) {
	t.Parallel()
	store := newKeys()
	died := store.givenUp()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	<-died
	first := store.first("k1").ID
	if a := r.insists(one, "k1"); a.ID != first {
		t.Errorf("%s, first %s", a.ID, first)
	}
	if id := r.events("acme", envelope.Accepted, 1)[0].Messages[0].EnvelopeID; id != first {
		t.Errorf("accepted as %s, first %s", id, first)
	}
	r.idle()
	r.queue("ke", 1)
}

// What was sent on in part goes on, even if its key was confirmed meanwhile by a
// repeat over HTTP.
func TestPublishedInPartGoesOn(t *testing.T) {
	t.Parallel()
	store := newKeys()
	died := store.givenUp()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	ack := r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	<-died
	epoch, err := r.bus.Epoch(t.Context(), ack.Stream)
	if err != nil {
		t.Fatal(err)
	}
	first := store.first("k1")
	r.status.Register(&envelope.Piece{ID: first.ID, Tenant: "acme", AcceptedAt: first.At, Messages: []envelope.Message{{To: "+254712345678"}}},
		envelope.Origin{Stream: ack.Stream, Epoch: epoch, Seq: ack.Seq})
	if a := r.insists(one, "k1"); a.ID != first.ID {
		t.Errorf("%s, first %s", a.ID, first.ID)
	}
	if store.get("acme", "k1") == nil {
		t.Error("not confirmed")
	}
	r.idle()
	if p := r.queue("ke", 1)[0]; p.ID != first.ID {
		t.Errorf("%s, first %s", p.ID, first.ID)
	}
}

// A submission of which the ids were told, and nothing more, is on the bus: it
// goes on by itself, and whoever repeats it is told the ids and stores nothing.
func TestPublishedAndOnlyTold(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	store.givenUp()
	r.crashes(`{"idempotency_key":"k1",` + one[1:])
	first := store.first("k1").ID
	told, err := json.Marshal(envelope.Event{ID: "e1", Tenant: "acme", Status: envelope.Accepted, Time: time.Now(), Messages: []envelope.EventMessage{
		{ID: first + "-0", EnvelopeID: first, To: "+254712345678"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.publish("sms.event.acme.accepted", string(told))
	if a := r.accepted(one, "Idempotency-Key", "k1"); a.ID != first {
		t.Errorf("%s, first %s", a.ID, first)
	}
	r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	for _, e := range r.events("acme", envelope.Accepted, 2) {
		if id := e.Messages[0].EnvelopeID; id != first {
			t.Errorf("accepted as %s, first %s", id, first)
		}
	}
	r.idle()
	r.queue("ke", 0)
	if store.get("acme", "k1") != nil {
		t.Error("confirmed before it was sent on")
	}
}

// The same, if it is one that took over who dies before it sends on: it was not
// the first, and goes on all the same when it comes again.
func TestTakerOfAnotherDies(t *testing.T) {
	t.Parallel()
	r, store, s := startSeen(t)
	store.givenUp()
	r.crashes(`{"idempotency_key":"k1",` + one[1:])
	s.deadly.Store(true)
	r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	if p := r.queue("ke", 1)[0]; p.ID != store.first("k1").ID {
		t.Errorf("%s, first %s", p.ID, store.first("k1").ID)
	}
	r.events("acme", envelope.Accepted, 1)
	r.idle()
	r.queue("ke", 1)
	if s.deadly.Load() || store.get("acme", "k1") == nil {
		t.Error("it did not die, or did not confirm")
	}
}

// What is refused over the bus leaves its key to a better one.
func TestPublishedAndRefused(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	r.publish("sms.submit.acme.normal", `{"to":"bad","from":"ACME","text":"Hi"}`, "Idempotency-Key", "k1")
	r.events("acme", envelope.Rejected, 1)
	r.idle()
	r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	r.events("acme", envelope.Accepted, 1)
	r.queue("ke", 1)
}

// Nobody can tell what was stored while the statuses are being rebuilt.
func TestTakenOverWhileStatusesAreRebuilt(t *testing.T) {
	t.Parallel()
	r, store, s := startSeen(t)
	store.givenUp()
	r.crashes(`{"idempotency_key":"k1",` + one[1:])
	s.rebuilding.Store(true)
	for range 2 { // it gives the lease back each time
		if a := r.post(one, "Idempotency-Key", "k1"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	r.queue("ke", 0)
	s.rebuilding.Store(false)
	if a := r.insists(one, "k1"); a.ID != store.first("k1").ID {
		t.Errorf("%s, first %s", a.ID, store.first("k1").ID)
	}
	r.idle()
	r.queue("ke", 1)
}

// The bus says that it had the message, and does not have it any more: the hop
// has sent it on. Under a key that was taken over it counts as stored. Where the
// key was forgotten the statuses know what was stored there; if it went to others,
// nobody's id can be told.
func TestStoredAndGone(t *testing.T) {
	t.Parallel()
	r, store, s := startSeen(t)
	body := `{"idempotency_key":"k1","recipients":[{"to":"+254712345678"},{"to":"+12025550123"}],"from":"ACME","text":"Hi"}`
	store.dies = dieOnce(map[string]killed{"k1": {call: "confirm", over: true}})
	r.crashes(body)
	r.idle()
	s.blind.Store(true)
	if a := r.accepted(body); a.ID != store.first("k1").ID {
		t.Errorf("%s, first %s", a.ID, store.first("k1").ID)
	}
	first := store.first("k1").ID
	store.mu.Lock()
	clear(store.held)
	store.mu.Unlock()
	if a := r.post(strings.Replace(body, "+12025550123", "+12025550124", 1)); a.status != http.StatusConflict {
		t.Errorf("forgotten, to others: %d %s", a.status, a.body)
	}
	if id := store.first("k1").ID; id != "" {
		t.Errorf("%s keeps the key, and was never stored", id)
	}
	if a := r.accepted(body); a.ID != first {
		t.Errorf("forgotten: %s, first %s", a.ID, first)
	}
	r.queue("ke", 1)
	r.queue("world", 1)
}

// A store that is full has refused: the key is free. One that does not answer may
// have stored it: the key is kept, for whoever finds out.
func TestKeyAfterAStoreThatFailed(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	natstest.Change(t, r.server, bus.QueueStream("ke"), func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
	r.accepted(one)
	if a := r.post(one, "Idempotency-Key", "full"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "full") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if store.first("full").ID != "" {
		t.Error("kept")
	}
	r.server.Stop()
	r.eventually("away", func() bool { return !r.bus.Connected() })
	for range 2 {
		if a := r.post(one, "Idempotency-Key", "away"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if store.first("away").ID == "" {
		t.Error("dropped")
	}
	if got := strings.Join(store.settled(), " "); got != "drop release release" {
		t.Error(got)
	}
}

// meddling is a quota during which something happens.
type meddling func()

func (m meddling) Take(context.Context, string, int) (time.Duration, error) { m(); return 0, nil }

// Whose lease is over before it stores asks again: another may have stored.
func TestLeaseIsOverBeforeTheStore(t *testing.T) {
	t.Parallel()
	store := newKeys()
	store.lease = time.Second // shorter than storing may take
	become := func(change func(*heldKey)) meddling {
		return func() {
			store.mu.Lock()
			defer store.mu.Unlock()
			change(store.held["beta k1"])
		}
	}
	body := `{"to":"+12025550123","from":"BETA","text":"x"}`
	for name, change := range map[string]func(*heldKey){
		"another has it":          func(h *heldKey) { h.holder, h.taken = "another", true },
		"another has had it":      func(h *heldKey) { h.holder, h.taken, h.leased = "another", true, false },
		"another has it and done": func(h *heldKey) { h.holder, h.taken, h.answer = "another", true, []byte(`{"id":"01X"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			store.mu.Lock()
			clear(store.held)
			store.mu.Unlock()
			r := start(t, func(o *ingest.Options) { o.Keys, o.Quota = store, become(change) })
			if a := r.do("k-beta", http.MethodPost, "/v1/messages", body, "Idempotency-Key", "k1"); a.status != http.StatusConflict {
				t.Errorf("%d %s", a.status, a.body)
			}
			r.queue("world", 0)
			if store.held["beta k1"] == nil {
				t.Error("dropped")
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		clear(store.held)
		r := start(t, func(o *ingest.Options) { o.Keys, o.Quota = store, become(func(h *heldKey) { h.leased = false }) })
		if a := r.do("k-beta", http.MethodPost, "/v1/messages", body, "Idempotency-Key", "k1"); a.status != http.StatusAccepted {
			t.Errorf("%d %s", a.status, a.body)
		}
		r.queue("world", 1)
	})
}

// hanging is keys that answer nobody in time.
type hanging struct {
	*keys
	asked chan struct{}
}

// A client that leaves while its key is asked for is not taken for the first.
func TestClientLeavesDuringItsClaim(t *testing.T) {
	t.Parallel()
	store := &hanging{newKeys(), make(chan struct{})}
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v1/messages", strings.NewReader(`{"idempotency_key":"k1",`+one[1:]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer k-acme")
	req.Header.Set("Content-Type", "application/json")
	go func() { <-store.asked; leave() }()
	if resp, err := r.client.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Fatal(resp.Status)
	}
	r.eventually("released", func() bool { return len(store.settled()) > 0 })
	if got := strings.Join(store.settled(), " "); got != "release" {
		t.Error(got)
	}
	r.queue("ke", 0)
}

func (h *hanging) Claim(ctx context.Context, _, _ string, _ [32]byte, _ idempotency.Owner, _ time.Duration) (idempotency.Claim, error) {
	close(h.asked)
	<-ctx.Done()
	return idempotency.Claim{}, ctx.Err()
}
