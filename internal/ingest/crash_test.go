package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// change changes the settings of a stream, as nobody but a test would.
func (r *rig) change(stream string, set func(*jetstream.StreamConfig)) {
	r.t.Helper()
	nc, err := nats.Connect(r.server.ClientURL())
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	set(&cfg)
	if _, err := js.UpdateStream(r.t.Context(), cfg); err != nil {
		r.t.Fatal(err)
	}
}

// probed is a stream that no test of keys uses otherwise.
const probed = "latin"

// shorten has the bus forget message ids as soon as it can.
func (r *rig) shorten() {
	for _, stream := range []string{bus.QueueStream("ke"), bus.QueueStream("world"), bus.QueueStream(probed), bus.SubmitStream("acme")} {
		r.change(stream, func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond })
	}
}

// windowPasses waits until the bus has forgotten the ids of all it has stored.
func (r *rig) windowPasses() {
	r.t.Helper()
	for range 3 { // one window, and what the server takes to clean up
		r.eventually("window", func() bool {
			ack, err := r.bus.Publish(r.t.Context(), bus.Out{Subject: bus.QueueSubject(probed, "normal", "acme"), Data: []byte("{}"), MsgID: "probe"})
			return err == nil && !ack.Duplicate
		})
	}
}

// crashes posts what nobody answers. The key is in the body: a header would have
// net/http repeat the request by itself.
func (r *rig) crashes(body string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/v1/messages", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer k-acme")
	req.Header.Set("Content-Type", "application/json")
	if resp, err := r.client.Do(req); err == nil {
		_ = resp.Body.Close()
		r.t.Fatalf("answered %d instead of dying", resp.StatusCode)
	}
}

// idle waits until the hop has settled everything.
func (r *rig) idle() {
	r.t.Helper()
	r.eventually("idle", func() bool {
		for _, stream := range []string{bus.SubmitStream("acme"), bus.DelayStream} {
			if s, err := r.bus.State(r.t.Context(), stream); err != nil || s.Messages > 0 {
				return false
			}
		}
		return true
	})
}

// killed is where a submission under a key ends without an answer.
type killed struct {
	name string
	call string // the call of the keys' store at which it dies
	over bool   // its lease is over: it was given up, not killed
}

var crashPoints = []killed{
	{"before the store", "claim", false},
	{"after the store, before it is confirmed", "confirm", false},
	{"after a store without an answer, that failed", "claim", true},
	{"after a store without an answer, that worked", "confirm", true},
}

// dieOnce has the first call of each key die as its point says.
func dieOnce(points map[string]killed) func(key, call string) (die, over bool) {
	return func(key, call string) (bool, bool) {
		p, ok := points[key]
		if !ok || p.call != call {
			return false, false
		}
		delete(points, key)
		return true, p.over
	}
}

// Wherever ingest is killed, and long after the bus has forgotten: a client that
// repeats its key is answered with the ids of the first try, and everything is
// stored once.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	r.shorten()
	at := time.Now().Add(4 * time.Second).UTC().Format(time.RFC3339Nano)
	three := `"recipients":[{"to":"+254712345678"},{"to":"+254712345679"},{"to":"+254712345670"}]`
	roads := []struct {
		name, body       string
		messages, pieces int
	}{
		{"one piece", `"to":"+254712345678"`, 1, 1},
		{"whole", three, 3, 2},
		{"whole, for later", three + `,"send_at":"` + at + `"`, 3, 2},
	}
	bodies, points, pieces, first := map[string]string{}, map[string]killed{}, map[string]int{}, map[string]string{}
	messages, total := map[string]int{}, 0
	for _, road := range roads {
		for _, p := range crashPoints {
			key := road.name + ", " + p.name
			points[key], messages[key], pieces[key] = p, road.messages, road.pieces
			bodies[key] = fmt.Sprintf(`{"idempotency_key":%q,"from":"ACME","text":"Hi",%s}`, key, road.body)
			total += road.pieces
		}
	}
	store.dies = dieOnce(points)
	for key, body := range bodies {
		over := points[key].over
		r.crashes(body)
		first[key] = store.first(key).ID
		if a := r.post(body); !over && a.status != http.StatusConflict {
			t.Errorf("%s: repeated within its lease: %d %s", key, a.status, a.body)
		}
	}
	r.windowPasses()
	var repeating sync.WaitGroup
	for key, body := range bodies {
		store.lapse(key)
		repeating.Go(func() {
			for _, again := range []string{"repeated", "repeated again"} {
				a := r.accepted(body)
				if len(a.Messages) != messages[key] || a.ID != first[key] || a.Messages[0].ID != first[key]+"-0" {
					t.Errorf("%s: %s: %+v, the first was %s", key, again, a, first[key])
				}
			}
			if h := store.get("acme", key); h == nil || !strings.Contains(string(h.answer), first[key]) {
				t.Errorf("%s: confirmed %+v", key, h)
			}
		})
	}
	repeating.Wait()
	r.queue("ke", total)
	r.idle()
	got, origins := map[string]int{}, map[string]envelope.Origin{}
	for _, p := range r.queue("ke", total) {
		got[p.ID]++
		if o, seen := origins[p.ID]; p.Origin != nil && seen && *p.Origin != o {
			t.Errorf("%s has two origins: %v and %v", p.ID, o, *p.Origin)
		} else if p.Origin != nil {
			origins[p.ID] = *p.Origin
		}
	}
	for key, id := range first {
		if got[id] != pieces[key] {
			t.Errorf("%s: %d pieces, want %d", key, got[id], pieces[key])
		}
	}
}

// The same key over the bus, after a submission over HTTP that nobody answered.
func TestCrashPointsAndTheBus(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	r.shorten()
	points, first := map[string]killed{}, map[string]bool{}
	for _, p := range crashPoints {
		points[p.name] = p
	}
	store.dies = dieOnce(points)
	for _, p := range crashPoints {
		r.crashes(fmt.Sprintf(`{"idempotency_key":%q,%s`, p.name, one[1:]))
		first[store.first(p.name).ID] = true
	}
	r.windowPasses()
	for _, p := range crashPoints {
		store.lapse(p.name)
		r.publish("sms.submit.acme.normal", one, "Idempotency-Key", p.name)
	}
	for _, e := range r.events("acme", envelope.Accepted, len(crashPoints)) {
		if id := e.Messages[0].EnvelopeID; !first[id] {
			t.Errorf("accepted as %s, not as one of %v", id, first)
		}
	}
	r.idle()
	for _, p := range r.queue("ke", len(crashPoints)) {
		if !first[p.ID] {
			t.Errorf("%s is stored beside, or twice", p.ID)
		}
		delete(first, p.ID)
	}
}

// A submission over the bus is given up for dead, and its client repeats it over
// HTTP. Both go on, under one id, and one of them stores it.
func TestPublishedAndRepeatedOverHTTP(t *testing.T) {
	t.Parallel()
	store := newKeys()
	died := make(chan struct{})
	deaths := dieOnce(map[string]killed{"k1": {call: "claim", over: true}})
	store.dies = func(key, call string) (bool, bool) {
		die, over := deaths(key, call)
		if die {
			close(died)
		}
		return die, over
	}
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	<-died
	first := store.first("k1").ID
	if a := r.accepted(one, "Idempotency-Key", "k1"); a.ID != first {
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
	died := make(chan struct{})
	deaths := dieOnce(map[string]killed{"k1": {call: "claim", over: true}})
	store.dies = func(key, call string) (bool, bool) {
		die, over := deaths(key, call)
		if die {
			close(died)
		}
		return die, over
	}
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
	if a := r.accepted(one, "Idempotency-Key", "k1"); a.ID != first.ID {
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
	store.dies = dieOnce(map[string]killed{"k1": {call: "claim", over: true}})
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

// Nobody can tell what was stored while the statuses are being rebuilt.
func TestTakenOverWhileStatusesAreRebuilt(t *testing.T) {
	t.Parallel()
	store := newKeys()
	var s *sight
	r := start(t, func(o *ingest.Options) {
		s = &sight{Status: o.Status}
		o.Keys, o.Status = store, s
	})
	store.dies = dieOnce(map[string]killed{"k1": {call: "claim", over: true}})
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
	if a := r.accepted(one, "Idempotency-Key", "k1"); a.ID != store.first("k1").ID {
		t.Errorf("%s, first %s", a.ID, store.first("k1").ID)
	}
	r.idle()
	r.queue("ke", 1)
}

// The bus says that it had the message, and does not have it any more: the hop
// has sent it on. Under a key that was taken over it counts as stored; else it
// is somebody's whose key was forgotten.
func TestStoredAndGone(t *testing.T) {
	t.Parallel()
	store := newKeys()
	var s *sight
	r := start(t, func(o *ingest.Options) {
		s = &sight{Status: o.Status}
		o.Keys, o.Status = store, s
	})
	body := `{"idempotency_key":"k1","recipients":[{"to":"+254712345678"},{"to":"+12025550123"}],"from":"ACME","text":"Hi"}`
	store.dies = dieOnce(map[string]killed{"k1": {call: "confirm", over: true}})
	r.crashes(body)
	r.idle()
	s.blind.Store(true)
	if a := r.accepted(body); a.ID != store.first("k1").ID {
		t.Errorf("%s, first %s", a.ID, store.first("k1").ID)
	}
	store.mu.Lock()
	clear(store.held)
	store.mu.Unlock()
	if a := r.post(body); a.status != http.StatusConflict {
		t.Errorf("forgotten: %d %s", a.status, a.body)
	}
	if id := store.first("k1").ID; id != "" {
		t.Errorf("%s keeps the key, and was never stored", id)
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
	r.change(bus.QueueStream("ke"), func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
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
