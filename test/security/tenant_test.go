package security

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/test/rig"
)

// A tenant hands in and reads what became of it, over the bus alone.
func TestTenantOnTheBus(t *testing.T) {
	w := newWorld(t)
	w.up()
	c := w.connect("acme")
	js, err := jetstream.NewWithAPIPrefix(c.Conn, "tuma.api")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := js.Publish(ctx, "sms.submit.acme.high", []byte(`{"to":"+254712345678","from":"ACME","text":"Hi"}`)); err != nil {
		t.Fatal(err)
	}
	events, err := js.Consumer(ctx, bus.EventStream, "acme")
	if err != nil {
		t.Fatal(err)
	}
	it, err := events.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	for seen := ""; !strings.HasSuffix(seen, " delivered"); {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("after%s: %v", seen, err)
		}
		var e envelope.Event
		if err := json.Unmarshal(m.Data(), &e); err != nil || e.Tenant != "acme" || m.Subject() != bus.EventSubject("acme", string(e.Status)) {
			t.Fatalf("%s %s %v", m.Subject(), m.Data(), err)
		}
		if err := m.DoubleAck(ctx); err != nil {
			t.Fatal(err)
		}
		seen += " " + string(e.Status)
	}
	if info, err := events.Info(ctx); err != nil || info.NumAckPending != 0 {
		t.Errorf("the acks did not arrive: %+v %v", info, err)
	}
	inbound, err := js.Consumer(ctx, bus.InboundStream, "acme")
	if err != nil {
		t.Fatal(err)
	}
	w.hears()
	m, err := inbound.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil || m.Ack() != nil || !strings.Contains(string(m.Data()), "hello") {
		t.Fatalf("%v %v", m, err)
	}
	if told := c.told(); told != "" {
		t.Error(told)
	}
}

// forbidden is what a tenant has no business with.
var forbidden = struct{ publish, subscribe []string }{
	publish: []string{
		"sms.submit.globex.high", "sms.submit.acme", "sms.submit.acme.high.more", "sms.accepted.acme.high", "sms.queue.cr.high.acme",
		"sms.event.acme.delivered", "sms.event.globex.delivered", "sms.inbound.acme.cr", "sms.dead.none.poison", "sms.callback.cr.dlr",
		"sms.journal.close.all", "sms.journal.mode.cr", "sms.checkpoint.journal", "sms.checkpoint.part.0", "sms.delay.x", "sms.due.submit.acme.high", "sms.desk.cr", "sms.optout.cr.x", "sms.account.cr.paused",
		"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.SMS_EVENTS", "$JS.API.STREAM.CREATE.MINE",
		"$JS.API.STREAM.UPDATE.SMS_EVENTS", "$JS.API.STREAM.DELETE.SMS_EVENTS", "$JS.API.STREAM.PURGE.SMS_SUBMIT_globex",
		"$JS.API.STREAM.MSG.GET.SMS_EVENTS", "$JS.API.STREAM.MSG.DELETE.SMS_SUBMIT_acme", "$JS.API.STREAM.SNAPSHOT.SMS_EVENTS",
		"$JS.API.DIRECT.GET.SMS_SUBMIT_globex", "$JS.API.DIRECT.GET.SMS_JOURNAL.sms.journal.close.all",
		"$JS.API.CONSUMER.CREATE.SMS_EVENTS.mine", "$JS.API.CONSUMER.CREATE.SMS_EVENTS.acme.sms.event.>", "$JS.API.CONSUMER.DURABLE.CREATE.SMS_EVENTS.acme",
		"$JS.API.CONSUMER.DELETE.SMS_EVENTS.acme", "$JS.API.CONSUMER.DELETE.SMS_EVENTS.globex", "$JS.API.CONSUMER.PAUSE.SMS_EVENTS.acme",
		"$JS.API.CONSUMER.RESET.SMS_EVENTS.acme", "$JS.API.CONSUMER.LIST.SMS_EVENTS", "$JS.API.CONSUMER.NAMES.SMS_EVENTS",
		"$JS.API.CONSUMER.INFO.SMS_EVENTS.globex", "$JS.API.CONSUMER.MSG.NEXT.SMS_EVENTS.globex", "$JS.API.CONSUMER.MSG.NEXT.SMS_INBOUND.globex",
		"$JS.API.CONSUMER.MSG.NEXT.SMS_SUBMIT_acme.ingest-high", "$JS.ACK.SMS_EVENTS.globex.1.2.2.1700000000000000000.0",
		"$JS.ACK.SMS_SUBMIT_acme.ingest-high.1.1.1.1700000000000000000.0", "$JS.FC.SMS_EVENTS.acme", "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO",
		"_INBOX_globex.x", "_INBOX_ingest.x",
	},
	subscribe: []string{
		">", "*.>", "sms.>", "sms.submit.acme.>", "sms.submit.globex.high", "sms.event.acme.>", "sms.event.globex.>", "sms.journal.>",
		"_INBOX.>", "_INBOX_globex.>", "_INBOX_ingest.>", "_R_.>", "$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.EVENT.>", "$SYS.>",
	},
}

func TestTenantIsLetToNothingElse(t *testing.T) {
	w := newWorld(t)
	w.streams()
	before := w.state()
	c := w.connect("acme")
	for _, subject := range forbidden.publish {
		for _, body := range []string{"", `{"to":"+254712345678","from":"ACME","text":"forged"}`} {
			msg := &nats.Msg{Subject: subject, Reply: c.NewInbox(), Data: []byte(body)}
			if err := c.PublishMsg(msg); err == nil && !strings.Contains(c.told(), "permissions violation for publish") {
				t.Errorf("%s was let through", subject)
			}
		}
	}
	for _, subject := range forbidden.subscribe {
		if _, err := c.SubscribeSync(subject); err == nil && !strings.Contains(c.told(), "permissions violation for subscription") {
			t.Errorf("may listen to %s", subject)
		}
	}
	if d := cmp.Diff(before, w.state()); d != "" {
		t.Errorf("something changed: %s", d)
	}
}

// Whoever asks chooses the subject that the answer goes to. Answers of JetStream
// to one's own, permitted requests must not become orders or submissions.
func TestTenantCannotAimAnswers(t *testing.T) {
	w := newWorld(t)
	w.streams()
	c := w.connect("acme")
	c.aim(t)
	before := w.state()
	aims := []string{
		"$JS.API.STREAM.DELETE.SMS_JOURNAL", "$JS.API.STREAM.PURGE.SMS_EVENTS", "$JS.API.CONSUMER.DELETE.SMS_EVENTS.globex",
		"sms.submit.globex.high", "sms.queue.cr.high.globex", "sms.event.globex.delivered", "sms.journal.close.all",
		"$JS.ACK.SMS_EVENTS.globex.1.2.2.1700000000000000000.0", "$JS.API.CONSUMER.MSG.NEXT.SMS_EVENTS.globex",
	}
	for _, at := range aims {
		c.aim(t, at)
	}
	c.told()
	time.Sleep(300 * time.Millisecond) // an order that got through takes effect without anybody being told
	after := w.state()
	delete(before, "SMS_SUBMIT_acme") // what it hands in to itself is its own
	delete(after, "SMS_SUBMIT_acme")
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("an answer did something: %s", d)
	}
}

// aim makes every request that a tenant may make, with the answers sent to at:
// with a body (an event, an ack of a publish) and without (no message, too late).
func (c *client) aim(t *testing.T, at ...string) {
	t.Helper()
	for _, reply := range at {
		for _, m := range []struct{ subject, body string }{
			{"tuma.api.CONSUMER.MSG.NEXT.SMS_EVENTS." + c.name, `{"batch":1,"no_wait":true}`},
			{"tuma.api.CONSUMER.MSG.NEXT.SMS_EVENTS." + c.name, `{"batch":1,"expires":50000000}`},
			{"tuma.api.CONSUMER.MSG.NEXT.SMS_INBOUND." + c.name, `{"batch":1,"no_wait":true}`},
			{"tuma.api.CONSUMER.MSG.NEXT.SMS_INBOUND." + c.name, `nonsense`},
			{"tuma.api.CONSUMER.INFO.SMS_EVENTS." + c.name, ``},
			{"sms.submit." + c.name + ".high", `{"to":"+254712345678","from":"ACME","text":"x"}`},
			{"sms.submit." + c.name + ".urgent", ``},
		} {
			if err := c.PublishRequest(m.subject, reply, []byte(m.body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(at) > 0 {
		return
	}
	// Its own event is taken first, so that nothing but these requests moves the consumer.
	for range 2 {
		if m, err := c.Request("tuma.api.CONSUMER.MSG.NEXT.SMS_EVENTS."+c.name, []byte(`{"batch":1,"no_wait":true}`), 5*time.Second); err == nil && m.Reply != "" {
			if err := m.Respond(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The reason for an account each: with permissions alone, a tenant of the same
// account deletes a stream by the answer to a request that it may make. Should a
// server ever refuse that, accounts.conf may become simpler.
func TestWhyTenantsHaveAccountsOfTheirOwn(t *testing.T) {
	s, err := embedded.Start(t.Context(), embedded.Options{Listen: "127.0.0.1:0", StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	b, err := bus.Connect(bus.Options{URL: s.ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := errors.Join(b.EnsureStreams(t.Context(), nil, []string{"cr"}), b.EnsureReaders(t.Context(), []string{"acme"})); err != nil {
		t.Fatal(err)
	}
	c, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.SMS_EVENTS.acme", "$JS.API.STREAM.DELETE.SMS_QUEUE_cr", []byte(`{"batch":1,"no_wait":true}`)); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := b.State(t.Context(), bus.QueueStream("cr")); errors.Is(err, bus.ErrNotFound) {
			return
		}
	}
	t.Error("the server does not take answers for orders any more: see whether tenants still need an account each")
}

// Headers that mean something to the server do nothing on a tenant's own stream
// but have a publish refused, and none of them gets any further.
func TestTenantHeaders(t *testing.T) {
	w := newWorld(t)
	w.up()
	c := w.connect("acme")
	const good = `{"to":"+254712345678","from":"ACME","text":"Hi"}`
	send := func(h nats.Header, body string) (seq uint64, refused string) {
		t.Helper()
		m := &nats.Msg{Subject: "sms.submit.acme.high", Header: h, Data: []byte(body)}
		answer, err := c.RequestMsg(m, 2*time.Second)
		if err != nil {
			return 0, err.Error()
		}
		var ack struct {
			Seq   uint64
			Error struct{ Description string }
		}
		if err := json.Unmarshal(answer.Data, &ack); err != nil {
			t.Fatalf("%s", answer.Data)
		}
		return ack.Seq, ack.Error.Description
	}
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, h := range []nats.Header{
		{"Nats-Rollup": {"all"}}, {"Nats-Rollup": {"sub"}}, {"Nats-TTL": {"1s"}}, {"Nats-Incr": {"1"}},
		{"Nats-Schedule": {"@at " + later}, "Nats-Schedule-Target": {"sms.accepted.acme.high"}},
		{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"}},
		{"Nats-Scheduler": {"sms.delay.x"}, "Nats-Schedule-Next": {"purge"}},
		{"Nats-Trace-Dest": {"sms.submit.globex.high"}}, {"Nats-Trace-Dest": {"_INBOX_globex.x"}, "Nats-Trace-Only": {"true"}},
		{"Nats-Expected-Stream": {"SMS_SUBMIT_globex"}}, {"Nats-Expected-Last-Sequence": {"999"}}, {"Nats-Expected-Last-Msg-Id": {"x"}},
	} {
		if seq, refused := send(h, good); refused == "" {
			t.Errorf("%v was stored at %d", h, seq)
		}
	}
	// What is stored with a header of the server's travels on without it.
	h := nats.Header{
		"Nats-Msg-Id": {"mine"}, "Nats-Stream": {"X"}, "Nats-Sequence": {"1"},
		"Tuma-Packed": {"gzip"}, "Tuma-Body": {"x"}, "traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	if seq, refused := send(h, good); refused != "" || seq == 0 {
		t.Fatalf("%d %s", seq, refused)
	}
	d := w.connect("dispatcher")
	var stored *nats.Msg
	w.eventually("the message is in the queue", func() bool {
		var err error
		stored, err = d.Request("$JS.API.DIRECT.GET.SMS_QUEUE_cr", []byte(`{"last_by_subj":"sms.queue.cr.high.acme"}`), time.Second)
		return err == nil && len(stored.Data) > 0
	})
	for name, values := range stored.Header {
		if added := []string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"}; strings.HasPrefix(name, "Nats-") && !strings.Contains(fmt.Sprint(added), name) && name != "Nats-Msg-Id" {
			t.Errorf("%s: %s travelled on", name, values)
		}
	}
	if id := stored.Header.Get("Nats-Msg-Id"); id == "mine" {
		t.Error("the tenant's own id became the queue's")
	}
	// Another tenant's id of the same name hides nothing.
	g := w.connect("globex")
	m := &nats.Msg{Subject: "sms.submit.globex.high", Header: nats.Header{"Nats-Msg-Id": {"mine"}}, Data: []byte(good)}
	answer, err := g.RequestMsg(m, 2*time.Second)
	if err != nil || strings.Contains(string(answer.Data), "duplicate") {
		t.Errorf("%v %s", err, answer.Data)
	}
}

// An account that has another tenant's name in its imports does not load at all.
func TestTenantCannotImportAnother(t *testing.T) {
	w := newWorld(t)
	conf := t.TempDir()
	text := w.read("../../deploy/nats/tenant.conf")
	for _, subject := range []string{"sms.submit.globex.*", "$JS.API.CONSUMER.MSG.NEXT.SMS_EVENTS.globex", "$JS.ACK.SMS_INBOUND.globex.>", "$JS.API.STREAM.INFO.SMS_EVENTS", "sms.>"} {
		bad := strings.Replace(text, `subject: "sms.submit.acme.*"`, fmt.Sprintf("subject: %q", subject), 1)
		if bad == text {
			t.Fatal("tenant.conf has no import of its submissions")
		}
		if err := w.load(conf, bad); err == nil {
			t.Errorf("the account acme may import %s", subject)
		}
	}
	if err := w.load(conf, text); err != nil {
		t.Errorf("the template itself: %v", err)
	}
}

// Programs are users of one account: lists hold them.
func TestProgramsAreLetToTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.streams()
	for user, subjects := range map[string]struct{ may, mayNot []string }{
		"ingest": {nil, []string{
			"sms.journal.intent.cr", "sms.journal.outcome.cr", "sms.journal.sender.cr", "sms.callback.cr.dlr", "sms.checkpoint.journal", "sms.submit.acme.high",
			"$JS.API.STREAM.DELETE.SMS_QUEUE_cr", "$JS.API.STREAM.PURGE.SMS_JOURNAL", "$JS.API.STREAM.MSG.DELETE.SMS_JOURNAL", "$JS.ACK.SMS_QUEUE_cr.high-acme.1.1.1.1.0",
		}},
		"dispatcher": {[]string{"sms.checkpoint.journal", "sms.checkpoint.part.0"}, []string{
			"sms.submit.acme.high", "sms.accepted.acme.high", "sms.callback.cr.dlr", "sms.inbound.acme.cr", "$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.UPDATE.SMS_JOURNAL",
			"$JS.API.STREAM.PURGE.SMS_JOURNAL", "$JS.API.CONSUMER.MSG.NEXT.SMS_CALLBACKS.dlr-cr", "$JS.ACK.SMS_CALLBACKS.dlr-cr.1.1.1.1.0",
			"$JS.API.CONSUMER.MSG.NEXT.SMS_SUBMIT_acme.ingest-high", "$JS.ACK.SMS_SUBMIT_acme.ingest-high.1.1.1.1.0", "$JS.ACK.SMS_EVENTS.acme.1.1.1.1.0",
		}},
		"dlr-collector": {nil, []string{
			"sms.submit.acme.high", "sms.queue.cr.high.acme", "sms.journal.intent.cr", "sms.journal.mode.cr", "sms.delay.x", "sms.due.queue.cr.high.acme",
			"$JS.API.STREAM.UPDATE.SMS_JOURNAL", "$JS.API.STREAM.PURGE.SMS_JOURNAL", "$JS.API.CONSUMER.MSG.NEXT.SMS_QUEUE_cr.high-acme", "$JS.ACK.SMS_QUEUE_cr.high-acme.1.1.1.1.0",
		}},
		"operator": {[]string{"$JS.API.INFO", "$JS.API.STREAM.LIST"}, []string{
			"sms.submit.acme.high", "sms.event.acme.delivered", "sms.journal.mode.cr", "$JS.API.STREAM.DELETE.SMS_EVENTS", "$JS.API.STREAM.MSG.GET.SMS_EVENTS",
			"$JS.API.DIRECT.GET.SMS_QUEUE_cr", "$JS.API.CONSUMER.CREATE.SMS_EVENTS.x", "$JS.API.CONSUMER.DELETE.SMS_EVENTS.acme",
		}},
	} {
		c := w.connect(user)
		for _, s := range subjects.may {
			if err := c.Publish(s, nil); err != nil || c.told() != "" {
				t.Errorf("%s may not publish %s", user, s)
			}
		}
		for _, s := range subjects.mayNot {
			if err := c.Publish(s, nil); err == nil && !strings.Contains(c.told(), "permissions violation") {
				t.Errorf("%s may publish %s", user, s)
			}
		}
		for _, s := range []string{">", "sms.>", "_INBOX_other.>", "$JS.>", "$SYS.>"} {
			if _, err := c.SubscribeSync(s); err == nil && !strings.Contains(c.told(), "permissions violation") {
				t.Errorf("%s may listen to %s", user, s)
			}
		}
	}
}

// What is new on the bus has to be permitted to somebody, or nobody can use it
// where the shipped permissions are in force.
func TestEverySubjectIsPermitted(t *testing.T) {
	w := newWorld(t)
	w.streams()
	conf := w.read("../../deploy/nats/accounts.conf")
	for name, s := range w.state() {
		for _, subject := range s.([]any)[4].([]string) {
			root := strings.Join(strings.Split(subject, ".")[:2], ".") + "."
			if root == "sms.due." { // the server publishes what is due itself
				continue
			}
			if !strings.Contains(conf, root) {
				t.Errorf("nobody may publish %s of %s: see accounts.conf", subject, name)
			}
		}
	}
}

// An operator's user is enough for tuma check, which changes nothing.
func TestCheckAsOperator(t *testing.T) {
	w := newWorld(t)
	w.streams()
	found, err := app.Check(t.Context(), cli.Params{Name: "tuma", Version: "test", Config: w.config("operator"), Env: rig.Nothing})
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for _, f := range found {
		if strings.HasPrefix(f.What, "nats") {
			seen = true
			if f.Level == cli.Broken {
				t.Errorf("%s: %s", f.What, f.Detail)
			}
		}
	}
	if !seen {
		t.Errorf("nothing is said of NATS: %+v", found)
	}
}
