package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/test/rig"
)

// One idempotency key is one submission: again, at the same time, with another
// body, and over the bus.
func TestOneKeyOneSubmission(t *testing.T) {
	t.Parallel()
	r := up(t, rig.Settings{}, 1)
	post := func(key string, env map[string]any) (int, rig.Answer) {
		var a rig.Answer
		code, body, err := r.Request(http.MethodPost, "/v1/messages", http.Header{"Idempotency-Key": {key}}, rig.Encode(t, env), nil)
		if err == nil {
			err = json.Unmarshal(body, &a)
		}
		if err != nil {
			t.Error(err)
		}
		return code, a
	}
	l := rig.NewLoad(r.Cluster)

	code, first := post("again", rig.Single("+254711000001"))
	l.Accepted(first)
	if code != http.StatusAccepted {
		t.Errorf("the first is answered %d", code)
	}
	if code, second := post("again", rig.Single("+254711000001")); code != http.StatusAccepted || second.ID != first.ID || second.Messages[0].ID != first.Messages[0].ID {
		t.Errorf("the second is answered %d %+v, the first was %+v", code, second, first)
	}
	if code, _ := post("again", rig.Single("+254711000002")); code != http.StatusUnprocessableEntity {
		t.Errorf("another body is answered %d, want 422", code)
	}

	for _, env := range []map[string]any{rig.Single("+254711000003"), rig.Campaign(rig.Numbers(11_000_100, 250))} { // one piece, and several
		l.Accepted(concurrently(t, post, env))
	}

	js := r.Publisher()
	events := watch(t, js, "SMS_EVENTS", "sms.event.demo.*")
	data := []byte(`{"to": "+254711000004", "from": "ACME", "text": "Habari", "idempotency_key": "bus"}`)
	var ids []string
	for range 2 {
		if _, err := js.Publish(rig.Timeout(t, 5*time.Second), "sms.submit.demo.high", data); err != nil {
			t.Fatal(err)
		}
		e := events.next(t, "accepted")
		ids = append(ids, e.Messages[0].ID)
		l.Numbers["+254711000004"], l.Envelopes[e.Messages[0].EnvelopeID] = 1, 1
	}
	if ids[0] != ids[1] {
		t.Errorf("over the bus one key became two messages: %v", ids)
	}
	other := []byte(`{"to": "+254711000005", "from": "ACME", "text": "Habari", "idempotency_key": "bus"}`)
	if _, err := js.Publish(rig.Timeout(t, 5*time.Second), "sms.submit.demo.high", other); err != nil {
		t.Fatal(err)
	}
	if e := events.next(t, "rejected"); e.Messages[0].Error == nil || e.Messages[0].Error.Code != "duplicate" {
		t.Errorf("another body over the bus: %+v", e)
	}

	if got := l.Settled(t, 30*time.Second); got["delivered"] != l.Messages() {
		t.Errorf("%v, want %d delivered", got, l.Messages())
	}
	l.OnceEach(t, nil)
}

// concurrently submits one envelope under one key from many clients at once: all
// who are answered 202 are told the same ids, the others that it is being worked on.
func concurrently(t *testing.T, post func(string, map[string]any) (int, rig.Answer), env map[string]any) rig.Answer {
	t.Helper()
	const clients = 12
	key := fmt.Sprintf("at-once-%p", env)
	codes, answers := make([]int, clients), make([]rig.Answer, clients)
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i := range clients {
		group.Go(func() {
			<-begin
			codes[i], answers[i] = post(key, env)
		})
	}
	close(begin)
	group.Wait()
	var first *rig.Answer
	for i, code := range codes {
		switch {
		case code == http.StatusConflict:
		case code != http.StatusAccepted:
			t.Errorf("answered %d", code)
		case first == nil:
			first = &answers[i]
		case answers[i].ID != first.ID || len(answers[i].Messages) != len(first.Messages):
			t.Errorf("two submissions under one key: %s and %s", first.ID, answers[i].ID)
		}
	}
	if first == nil {
		t.Fatalf("nobody was accepted: %v", codes)
	}
	return *first
}

// event is what SMS_EVENTS carries.
type event struct {
	ID, Tenant, Status, Provider string
	Time                         time.Time
	Messages                     []struct {
		ID                string
		EnvelopeID        string `json:"envelope_id"`
		To, Ref           string
		Traceparent       string
		ProviderMessageID string `json:"provider_message_id"`
		Error             *struct{ Code, Detail string }
	}
	subject string
	raw     string
	header  string // Nats-Msg-Id
}

// follower reads a stream from now on.
type follower struct{ it jetstream.MessagesContext }

func watch(t *testing.T, js jetstream.JetStream, stream, subject string) *follower {
	t.Helper()
	c, err := js.OrderedConsumer(rig.Timeout(t, 10*time.Second), stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(it.Stop)
	return &follower{it}
}

// next returns the next event with a status (empty: any), and passes over others.
func (f *follower) next(t *testing.T, status string) event {
	t.Helper()
	ctx := rig.Timeout(t, 20*time.Second)
	for {
		m, err := f.it.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("no event %s: %v", status, err)
		}
		e := event{subject: m.Subject(), raw: string(m.Data()), header: m.Headers().Get("Nats-Msg-Id")}
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			t.Fatalf("%s: %v\n%s", e.subject, err, e.raw)
		}
		if status == "" || e.Status == status {
			return e
		}
	}
}
