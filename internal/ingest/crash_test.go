package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// probed is a stream that no test of keys uses otherwise.
const probed = "latin"

// shorten has the bus forget message ids as soon as it can.
func (r *rig) shorten() {
	for _, stream := range []string{bus.QueueStream("ke"), bus.QueueStream("world"), bus.QueueStream(probed), bus.SubmitStream("acme")} {
		natstest.Change(r.t, r.server, stream, func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond })
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

// The hop dies after it has stored the pieces, and comes again after the bus has
// forgotten their ids: the copies are of one submission, for the journal to see.
func TestHopRepeatedAfterTheWindowMakesCopies(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.shorten()
	p := envelope.Piece{
		ID: "01HOP", Origin: &envelope.Origin{Stream: bus.SubmitStream("acme"), Epoch: 5, Seq: 9}, Tenant: "acme", Priority: envelope.Normal, From: "ACME", Text: "x",
		AcceptedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour), Messages: []envelope.Message{{Index: 3, To: "+254712345678", Segments: 1}},
	}
	for range 2 {
		r.publish(bus.AcceptedSubject("acme", "normal"), string(envelope.AppendPiece(nil, &p)))
		r.idle()
		r.windowPasses()
	}
	copies := r.queue("ke", 2)
	for _, c := range copies {
		if c.Origin == nil || *c.Origin != *p.Origin || c.Messages[0].Index != 3 {
			t.Errorf("%+v", c)
		}
	}
}
