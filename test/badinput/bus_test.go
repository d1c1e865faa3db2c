package badinput

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
)

// busMessage is what somebody publishes who may publish everything.
type busMessage struct {
	row    int // of the list
	name   string
	body   string
	header nats.Header
}

func busMessages() []busMessage {
	piece := func(tenant, to string) string {
		return `{"id":"x","tenant":"` + tenant + `","messages":[{"i":0,"to":"` + to + `","seg":1}]}`
	}
	return []busMessage{
		{53, "nothing", "", nil},
		{53, "null", "null", nil},
		{53, "array", "[]", nil},
		{53, "half", "{", nil},
		{53, "bytes", "\x00\xff", nil},
		{53, "7 MB", strings.Repeat("x", 7<<20), nil},
		{53, "brackets", strings.Repeat("[", 100_000), nil},
		{53, "gzip that is none", "{}", nats.Header{"Tuma-Packed": {"gzip"}}},
		{54, "version 999", `{"version":999}`, nil},
		{54, "fields of another", `{"to":"+254712345678","from":"ACME"}`, nil},
		{55, "50,000 recipients", `{"recipients":[` + strings.TrimSuffix(strings.Repeat(`{"to":"+254712345678"},`, 50_000), ",") + `],"from":"ACME","text":"x"}`, nil},
		{56, "another tenant's", piece("other", "+254712345678"), nil},
		{56, "header of another tenant", piece("other", "+254712345678"), nats.Header{"X-Tenant": {"other"}, "Tuma-Tenant": {"other"}, "Tuma-Route": {"smsbox"}}},
		{54, "negative index", `{"id":"x","tenant":"demo","messages":[{"i":-5,"to":"x","seg":1}]}`, nil},
		{54, "no number", piece("demo", "x"), nil},
		{66, "remark of the server", "", nats.Header{"Status": {"409"}, "Description": {"Consumer Deleted"}}},
		{66, "heartbeat of the server", "", nats.Header{"Status": {"100"}, "Description": {"Idle Heartbeat"}}},
		{66, "marker of a limit", "", nats.Header{"Nats-Marker-Reason": {"MaxAge"}}},
		{66, "headers only", "", nats.Header{"traceparent": {strings.Repeat("x", 3000)}, "Idempotency-Key": {"a", "b"}}},
	}
}

// nowhere are subjects that no stream takes: what is published there is not
// acknowledged, so nobody can think it sent. Row 58.
func nowhere() []string {
	return []string{"sms.submit.demo.urgent", "sms.submit.nobody.high", "sms.submit.demo.high.more", "sms.submit.demo", "sms.queue.cloudrebue.urgent.demo", "sms.queue.nobody.high.demo", "sms.submit.DEMO.high"}
}

// Anything at all, published by anyone who may: what is stored becomes a dead
// letter or a rejected event, with its reason, and each lane goes on.
func TestRubbishOnTheBus(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	js := p.bus()
	stored := map[string]int{}
	for _, subject := range []string{"sms.submit.demo.high", "sms.submit.demo.normal", "sms.submit.demo.bulk", "sms.queue.cloudrebue.high.demo", "sms.queue.cloudrebue.bulk.demo"} {
		for _, m := range busMessages() {
			if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: m.header, Data: []byte(m.body)}); err != nil {
				t.Fatalf("row %d: %s: %s: %v", m.row, subject, m.name, err)
			}
			stored[subject[:10]]++
		}
	}
	for _, subject := range nowhere() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := js.Publish(ctx, subject, []byte("{}")); err == nil {
			t.Errorf("%s is stored, and nobody reads it", subject)
		}
		cancel()
	}
	p.eventually("all of the queue is dead", func() bool { return p.letters("cloudrebue") == stored["sms.queue."] })
	// What was understood and refused is an event; the rest is dead.
	events := p.stream(js, "SMS_EVENTS")
	p.eventually("all that was submitted is told", func() bool {
		return int(told(t, events, "rejected")) >= stored["sms.submit"]
	})
	for _, priority := range []string{"high", "normal", "bulk"} {
		before := delivered(t, events)
		if _, err := js.Publish(t.Context(), "sms.submit.demo."+priority, []byte(`{"to":"+254712345678","from":"ACME","text":"good"}`)); err != nil {
			t.Fatal(err)
		}
		p.eventually("the next good one of "+priority+" is delivered", func() bool { return delivered(t, events) > before })
	}
	p.goesOn()
	p.restart() // all of it is read again
	p.goesOn()
}

// A piece that is right but for whose it is becomes a dead letter: who may publish to
// one tenant's lane speaks for no other. Row 56.
func TestForgedTenant(t *testing.T) {
	t.Parallel()
	gw := newGateway(t)
	p := start(t, gw.url)
	p.becomes(p.accepts(), `"status":"submitted"`)
	js := p.bus()
	real, err := p.stream(js, "SMS_QUEUE_cloudrebue").GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(real.Data, []byte(`"tenant":"demo"`), []byte(`"tenant":"acme"`), 1)
	if bytes.Equal(forged, real.Data) {
		t.Fatalf("there is no tenant in %s", real.Data)
	}
	if _, err := js.Publish(t.Context(), real.Subject, forged); err != nil {
		t.Fatal(err)
	}
	p.eventually("it is dead", func() bool { return p.letters("cloudrebue") == 1 })
	p.becomes(p.accepts(), `"status":"submitted"`)
	if n := gw.count(); n != 2 {
		t.Errorf("the gateway got %d messages", n)
	}
}

// ours are subjects that only Tuma's own programs publish to.
func ours() []string {
	return []string{
		"sms.accepted.demo.high", "sms.due.submit.demo.high", "sms.due.queue.cloudrebue.high.demo", "sms.due.queue.nobody.high.demo", "sms.due.other", "sms.delay.x",
		"sms.event.demo.delivered", "sms.event.demo.nonsense", "sms.event.nobody.delivered", "sms.event.x", "sms.inbound.demo.cloudrebue",
		"sms.dead.cloudrebue.refused", "sms.dead.none.poison", "sms.dead.x", "sms.account.cloudrebue.paused", "sms.optout.cloudrebue.hash", "sms.optout.nobody.hash",
		"sms.callback.cloudrebue.dlr", "sms.callback.smsbox.inbound", "sms.callback.nobody.dlr", "sms.callback.x", "sms.checkpoint.journal", "sms.checkpoint.part.0",
		"sms.journal.intent.cloudrebue", "sms.journal.mode.cloudrebue", "sms.journal.x",
	}
}

// Rubbish where only our own programs write stops none of them, nor their next
// start.
func TestRubbishAmongOurOwn(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	js := p.bus()
	p.goesOn()
	for _, m := range append(busMessages(), busMessage{54, "half right", `{"id":"x","time":"2026-11-20T12:00:00Z","tenant":"demo","status":"delivered","account":"cloudrebue","reason":"refused","messages":[{"id":"","to":"","error":null},{"id":"x-0","envelope_id":"x","to":"+254712345678"}],"piece":{"id":"x"},"version":999}`, nil}) {
		for _, subject := range ours() {
			if len(m.body) > 1<<20 {
				continue
			}
			if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: m.header, Data: []byte(m.body)}); err != nil {
				t.Fatalf("%s: %s: %v", subject, m.name, err)
			}
		}
	}
	if reply, err := js.Conn().Request("sms.desk.bulksmsrates", []byte("{"), 5*time.Second); err != nil || len(reply.Data) == 0 {
		t.Errorf("the desk: %v", err)
	}
	p.goesOn()
	looks := func() {
		t.Helper()
		paths := []string{"/v1/dead?limit=1000", "/v1/messages/x-0", "/v1/envelopes/x", "/v1/envelopes/x/messages", "/v1/providers"}
		for id := range p.stream(js, "SMS_DEAD").CachedInfo().State.LastSeq {
			paths = append(paths, fmt.Sprintf("/v1/dead/%d", id+1))
		}
		for _, path := range paths {
			if code, body := p.call("GET", "http://"+p.api+path, ""); code == 0 || code >= 500 {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
	}
	looks()
	p.restart()
	looks()
	p.goesOn()
}

// letters counts an account's dead letters of poison, each with its reason.
func (p *program) letters(account string) int {
	n, cursor := 0, ""
	for {
		_, body := p.call("GET", "http://"+p.api+"/v1/dead?reason=poison&limit=1000&account="+account+cursor, "")
		var page struct {
			Dead []struct{ Error struct{ Code, Detail string } }
			Next string
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return -1
		}
		for _, d := range page.Dead {
			if d.Error.Code == "" || d.Error.Detail == "" {
				p.t.Fatalf("a letter without its reason: %s", body)
			}
		}
		if n += len(page.Dead); page.Next == "" {
			return n
		}
		cursor = "&cursor=" + page.Next
	}
}

// A Nats-Msg-Id that comes again with another body is not taken in silence: the
// server's ack says that it is a repetition, and after its window the key does.
func TestMessageIDOfAnotherBody(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	js := p.bus()
	publish := func(text, header string) *jetstream.PubAck {
		t.Helper()
		ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "sms.submit.demo.high", Header: nats.Header{header: {"order-1"}},
			Data: []byte(`{"to":"+254712345678","from":"ACME","text":"` + text + `"}`)})
		if err != nil {
			t.Fatal(err)
		}
		return ack
	}
	publish("one", "Nats-Msg-Id")
	events := p.stream(js, "SMS_EVENTS")
	p.eventually("delivered", func() bool { return delivered(t, events) == 1 })
	if ack := publish("two", "Nats-Msg-Id"); !ack.Duplicate {
		t.Error("the second was stored, or its publisher is not told")
	}
	publish("three", "Idempotency-Key") // as the id's key outlives the server's window
	p.eventually("the third is refused", func() bool { return told(t, events, "rejected") == 1 })
	if n := delivered(t, events); n != 1 {
		t.Errorf("%d were delivered", n)
	}
	p.goesOn()
}

// Streams and consumers that somebody makes anew, empties or changes under the
// running program, and records that it has not written, stop nobody.
func TestHandsOnTheBus(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	js := p.bus()
	const queue, lane = "SMS_QUEUE_cloudrebue", "high-demo"
	p.goesOn()
	remake := func(name string) {
		t.Helper()
		cfg := p.stream(js, name).CachedInfo().Config
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	remake(queue) // row 60: its sequences begin at 1 again
	p.goesOn()
	p.goesOn()
	remake("SMS_SUBMIT_demo")
	p.delivered(p.accepted(`{"recipients":[{"to":"+254712345678"},{"to":"+254712345678"}],"from":"ACME","text":"x","supersede_key":"k"}`))

	// Row 61: purged while messages are on their way. What was in it is gone by the
	// operator's hand; what is sent, and what comes, is not.
	var list []string
	for range 300 {
		list = append(list, `{"to":"+254712345678"}`) // a request each: some seconds of work
	}
	p.accepted(`{"recipients":[` + strings.Join(list, ",") + `],"from":"ACME","text":"x","priority":"bulk"}`)
	events := p.stream(js, "SMS_EVENTS")
	before := delivered(t, events)
	p.eventually("it is at it", func() bool { return delivered(t, events) > before })
	for _, stream := range []string{queue, "SMS_SUBMIT_demo", "SMS_CALLBACKS"} {
		if err := p.stream(js, stream).Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.goesOn()

	// Row 62.
	stream := p.stream(js, queue)
	for name, change := range map[string]func(*jetstream.ConsumerConfig){
		"impatient": func(c *jetstream.ConsumerConfig) { c.AckWait, c.MaxAckPending = time.Second, 1 },
		"gives up":  func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 1 },
	} {
		have, err := stream.Consumer(t.Context(), lane)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cfg := have.CachedInfo().Config
		change(&cfg)
		if _, err := stream.UpdateConsumer(t.Context(), cfg); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p.goesOn()
	}
	for range 2 {
		if err := stream.DeleteConsumer(t.Context(), lane); err != nil {
			t.Fatal(err)
		}
		p.goesOn()
	}

	// Row 67.
	for _, record := range []string{"", "{", "null", `{"k":"intent"}`, `{"k":"tomorrow's","v":999}`, `{"k":"outcome","i":18446744073709551615}`, `{"k":"intent","s":[{"st":"SMS_QUEUE_cloudrebue","q":1,"e":4294967295}]}`, strings.Repeat("[", 100_000), "\x00\xff"} {
		for _, kind := range []string{"intent", "outcome", "close", "mode"} {
			if _, err := js.Publish(t.Context(), bus.JournalSubject(kind, "cloudrebue"), []byte(record)); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.goesOn()
}

func (p *program) stream(js jetstream.JetStream, name string) jetstream.Stream {
	p.t.Helper()
	s, err := js.Stream(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func delivered(t *testing.T, events jetstream.Stream) uint64 { return told(t, events, "delivered") }

// told counts the events of one status.
func told(t *testing.T, events jetstream.Stream, status string) uint64 {
	t.Helper()
	subject := "sms.event.demo." + status
	info, err := events.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects[subject]
}
