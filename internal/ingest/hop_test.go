package ingest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

func TestPublishedSubmission(t *testing.T) {
	t.Parallel()
	r := start(t)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ack := r.publish("sms.submit.acme.high", `{"recipients":[{"to":"0712345678"},{"to":"bad"},{"to":"+254712345679","ref":"b"}],"from":"ACME","text":"x","priority":"bulk"}`, "traceparent", trace)
	p := r.queue("ke", 1)[0]
	if p.Priority != envelope.High {
		t.Errorf("priority %s, the subject's holds", p.Priority)
	}
	if p.Origin == nil || p.Origin.Stream != ack.Stream || p.Origin.Seq != ack.Seq || p.Traceparent != trace {
		t.Errorf("origin %+v, trace %q", p.Origin, p.Traceparent)
	}
	e := r.events("acme", envelope.Accepted, 2)[0]
	if e.Messages[0].ID != p.ID+"-0" || e.Messages[1].ID != p.ID+"-2" || e.Messages[1].Ref != "b" || e.Messages[0].Traceparent != trace {
		t.Errorf("accepted %+v", e.Messages)
	}
	rejected := r.events("acme", envelope.Rejected, 1)[0].Messages[0]
	if rejected.Index == nil || *rejected.Index != 1 || rejected.Error.Code != "invalid_number" || rejected.ID != "" {
		t.Errorf("rejected %+v", rejected)
	}
	r.eventually("settled", func() bool {
		s, err := r.bus.State(t.Context(), bus.SubmitStream("acme"))
		return err == nil && s.Messages == 0
	})
	r.eventually("status", func() bool {
		return r.do("k-acme", "GET", "/v1/messages/"+p.ID+"-2", "").status == 200
	})
}

// Whatever a publisher sends is told: nothing is dropped in silence.
func TestPublishedRubbish(t *testing.T) {
	t.Parallel()
	r := start(t)
	bodies := []string{"", "null", "not JSON", `{"version":999}`, strings.Repeat("[", 100_000), "\x00\xff", `{"to":1}`, strings.Repeat("x", 7<<20)}
	for _, b := range bodies {
		r.publish("sms.submit.acme.normal", b, "Tuma-Packed", "gzip", "X-Tenant", "beta")
	}
	// Without a body, these look to a client like the server's own remarks.
	for _, remark := range [][]string{{"Status", "409", "Description", "Consumer Deleted"}, {"Status", "100"}, {"Status", "408", "Nats-Pending-Messages", "1000000", "Nats-Pending-Bytes", "1000000"}} {
		bodies = append(bodies, "")
		r.publish("sms.submit.acme.normal", "", remark...)
	}
	for _, e := range r.events("acme", envelope.Rejected, len(bodies)) {
		if m := e.Messages[0]; m.Error.Code != string(envelope.InvalidEnvelope) || m.Error.Detail == "" {
			t.Errorf("%+v", m)
		}
	}
	var page ingest.DeadPage
	r.eventually("dead letters", func() bool {
		r.do("k-ops", "GET", "/v1/dead", "").into(t, &page)
		return len(page.Dead) == len(bodies)
	})
	for _, d := range page.Dead {
		if d.Error == nil || d.Error.Code != string(envelope.InvalidEnvelope) || d.Error.Detail == "" ||
			strings.Contains(d.Error.Detail, "ingest") || strings.Contains(d.Error.Detail, d.Error.Code) {
			t.Errorf("a person is told %+v", d.Error)
		}
	}
	if d := page.Dead[0]; d.Reason != envelope.DeadPoison || d.Tenant != "acme" || d.Account != "none" {
		t.Errorf("%+v", d)
	}
	r.publish("sms.submit.acme.normal", `{"to":"+254712345678","from":"","text":"x"}`)
	if e := r.events("acme", envelope.Rejected, len(bodies)+1); e[len(bodies)].Messages[0].Error.Code != string(envelope.InvalidSender) {
		t.Errorf("%+v", e[len(bodies)])
	}
	r.queue("ke", 0)
	if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: "sms.submit.acme.urgent", Data: []byte(one)}); err == nil {
		t.Error("a subject that nobody reads was stored")
	}
}

func TestPublishedKeys(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Keys = newKeys() })
	r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	first := r.events("acme", envelope.Accepted, 1)[0].Messages[0].ID
	r.publish("sms.submit.acme.normal", one, "Idempotency-Key", "k1")
	r.publish("sms.submit.acme.normal", `{"idempotency_key":"k1","to":"+254712345678","from":"ACME","text":"Hi"}`)
	events := r.events("acme", envelope.Accepted, 3)
	for _, e := range events {
		if e.Messages[0].ID != first {
			t.Errorf("%s, first %s", e.Messages[0].ID, first)
		}
	}
	r.publish("sms.submit.acme.normal", strings.Replace(one, "Hi", "Ho", 1), "Idempotency-Key", "k1")
	if m := r.events("acme", envelope.Rejected, 1)[0].Messages[0]; m.Error.Code != string(envelope.Duplicate) {
		t.Errorf("another body: %+v", m.Error)
	}
	r.publish("sms.submit.acme.normal", `{"idempotency_key":"k2","to":"+254712345678","from":"ACME","text":"Hi"}`, "Idempotency-Key", "k3")
	r.events("acme", envelope.Rejected, 2)
	if a := r.accepted(one, "Idempotency-Key", "k1"); a.Messages[0].ID != first {
		t.Errorf("the same key over HTTP: %s", a.Messages[0].ID)
	}
	r.queue("ke", 1)
}

func TestMessageIDCountsAsKey(t *testing.T) {
	t.Parallel()
	store := newKeys()
	r := start(t, func(o *ingest.Options) { o.Keys = store })
	if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: "sms.submit.acme.normal", Data: []byte(one), MsgID: "order-1"}); err != nil {
		t.Fatal(err)
	}
	r.queue("ke", 1)
	r.eventually("key", func() bool { return store.get("acme", "order-1") != nil })
}

func TestPublishedOverTheRateIsTakenLater(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Quota = &slowQuota{} })
	for range 4 {
		r.publish("sms.submit.beta.normal", `{"to":"+12025550123","from":"BETA","text":"x"}`)
	}
	r.queue("world", 4)
}

func TestScheduled(t *testing.T) {
	t.Parallel()
	r := start(t)
	at := time.Now().Add(2 * time.Second)
	a := r.accepted(`{"to":"+254712345678","from":"ACME","text":"x","send_at":"` + at.Format(time.RFC3339Nano) + `"}`)
	told := r.events("acme", envelope.Scheduled, 1)[0]
	if told.Detail != "" {
		t.Errorf("a detail for nobody: %q", told.Detail)
	}
	if m := told.Messages[0]; m.ID != a.Messages[0].ID {
		t.Errorf("%+v", m)
	}
	r.eventually("waiting", func() bool {
		return strings.Contains(r.do("k-acme", "GET", "/v1/messages/"+a.Messages[0].ID, "").body, `"reason":"schedule"`)
	})
	p := r.queue("ke", 1)[0]
	if now := time.Now(); now.Before(at) {
		t.Errorf("queued %s before its time", at.Sub(now))
	}
	if p.ID != a.ID || p.Origin == nil || p.Origin.Stream != "SMS_SUBMIT_acme" {
		t.Errorf("%+v", p)
	}
}

func TestSendTimeInThePastMeansNow(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.accepted(`{"to":"+254712345678","from":"ACME","text":"x","send_at":"2020-01-01T00:00:00Z"}`)
	if p := r.queue("ke", 1)[0]; p.SendAt != nil {
		t.Errorf("%v", p.SendAt)
	}
}

func TestSupersede(t *testing.T) {
	t.Parallel()
	r := start(t)
	body := func(text string) string {
		return fmt.Sprintf(`{"recipients":[{"to":"+254712345678"},{"to":"+254712345679"},{"to":"+12025550123"}],"from":"ACME","text":%q,"supersede_key":"otp-asha","priority":"high"}`, text)
	}
	first := r.accepted(body("1"))
	r.queue("ke", 1)
	second := r.accepted(body("2"))
	canceled := r.events("acme", envelope.Canceled, 3)
	for _, e := range canceled {
		for _, m := range e.Messages {
			if m.EnvelopeID != first.ID || e.Detail != "superseded" || m.To == "" {
				t.Errorf("%+v: %+v; first %s, second %s", e, m, first.ID, second.ID)
			}
		}
	}
	r.eventually("status", func() bool {
		return strings.Contains(r.do("k-acme", "GET", "/v1/envelopes/"+first.ID, "").body, `"canceled":3`)
	})
	if a := r.do("k-acme", "GET", "/v1/envelopes/"+second.ID, ""); !strings.Contains(a.body, `"accepted":3`) {
		t.Errorf("the newer: %s", a.body)
	}
}

// What no account can carry any more, after it was acknowledged, is closed in
// the journal and told.
func TestRouteGoneAfterAcceptance(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := envelope.Piece{
		ID: "01GONE", Tenant: "acme", Priority: envelope.Normal, From: "ACME", Text: "x", AcceptedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
		Messages: []envelope.Message{{Index: 0, To: "+254712345678"}, {Index: 3, To: "+441234567890"}},
	}
	data, err := json.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	ack := r.publish("sms.accepted.acme.normal", string(data))
	if m := r.events("acme", envelope.Rejected, 1)[0].Messages[0]; m.ID != "01GONE-3" || m.Error.Code != string(envelope.NoRoute) {
		t.Errorf("%+v", m)
	}
	o := r.queue("ke", 1)[0].Origin
	for index, want := range map[uint32]idempotency.State{0: idempotency.Free, 3: idempotency.Closed} {
		if s := r.journal.State(idempotency.Key{Stream: ack.Stream, Epoch: o.Epoch, Seq: ack.Seq, Index: index}); s.State != want {
			t.Errorf("message %d: %v", index, s.State)
		}
	}
}

// A submission that makes us panic is tried a few times, then buried; the others
// go on.
func TestPanicIsBuried(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.publish("sms.submit.acme.normal", `{"to":"+12025550123","from":"ACME","text":"panic"}`)
	r.publish("sms.submit.acme.normal", one)
	r.queue("ke", 1)
	var page ingest.DeadPage
	r.eventually("buried", func() bool {
		r.do("k-ops", "GET", "/v1/dead", "").into(t, &page)
		return len(page.Dead) == 1
	})
	if d := page.Dead[0]; d.Reason != envelope.DeadPoison {
		t.Errorf("%+v", d)
	}
	if logs := r.logs.String(); strings.Contains(logs, "bug, met") || !strings.Contains(logs, "panic of string") {
		t.Errorf("the panic's own words are logged, or nothing is:\n%s", logs)
	}
}

// Taking a stored submission twice gives the same ids and the same events.
func TestTakenTwiceIsTakenOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.publish("sms.submit.acme.normal", one)
	p := r.queue("ke", 1)[0]
	again := p
	again.Account, again.Route, again.Origin = "", nil, nil
	data, err := json.Marshal(&again)
	if err != nil {
		t.Fatal(err)
	}
	r.publish("sms.accepted.beta.normal", string(data)) // another tenant's: forged
	var page ingest.DeadPage
	r.eventually("buried", func() bool {
		r.do("k-ops", "GET", "/v1/dead", "").into(t, &page)
		return len(page.Dead) == 1
	})
	r.queue("ke", 1)
}

// While an account is ill what comes goes to the next of its route, one message or
// many, and stays on the route, last.
func TestIllAccountsComeLast(t *testing.T) {
	r := start(t, func(o *ingest.Options) { o.Down = func(account string) bool { return account == "ke" } })
	r.accepted(`{"to": "+254712345678", "from": "ACME", "text": "one"}`)
	r.accepted(`{"recipients": [{"to": "+254712345678"}, {"to": "+254712345679"}], "from": "ACME", "text": "two"}`)
	for _, p := range r.queue("world", 2) {
		if p.Account != "world" || len(p.Route) != 1 || p.Route[0] != "ke" {
			t.Errorf("%q goes to %s, then %v", p.Text, p.Account, p.Route)
		}
	}
}
