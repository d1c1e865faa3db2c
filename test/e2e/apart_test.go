package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// Every program is a process of its own and starts when it likes; each says what
// it waits for. Then messages come in by every door and go out by every gateway.
func TestApartInAnyOrder(t *testing.T) {
	t.Parallel()
	rig.RedisPath(t)
	c := cluster{programs.NewCluster(t, rig.Settings{Types: "cloudrebue,digitalservices,smsbox,smsscheduler,bulksmsrates"})}
	nodes := c.startShuffled(t)
	c.Ready(nodes["ingest"], nodes["dlr-collector"], nodes["dispatcher"])
	js := c.Publisher()
	events := watch(t, js, "SMS_EVENTS", "sms.event.demo.*")
	l := rig.NewLoad(c.Cluster)

	// HTTP, one number for each gateway.
	mixed := []string{"+254712345678", "+250788123456", "+22670123456", "+33612345678", "+447700900123"}
	env := rig.Campaign(mixed)
	env["ref"] = "order-17"
	l.Accepted(c.Submit(env))
	// NDJSON.
	var batch []map[string]any
	for _, n := range rig.Numbers(12_000_000, 300) {
		batch = append(batch, rig.Single(n))
	}
	c.stream(t, l, batch)
	// CSV.
	csv := "phone,name\n"
	for i, n := range rig.Numbers(13_000_000, 300) {
		csv += fmt.Sprintf("%s,Asha %d\n", n, i)
	}
	path := rig.Write(t, filepath.Join(c.Dir, "people.csv"), csv)
	send := c.Tuma("send", "--csv", path, "--from", "ACME", "--text", "Hi {{name}}", "--wait", "--timeout", "30s", "--json")
	// A NATS client that knows nothing of us but a subject and some JSON.
	if _, err := js.Publish(rig.Timeout(t, 5*time.Second), "sms.submit.demo.high", []byte(`{"to": "0719000001", "from": "ACME", "text": "Your code is 4711"}`)); err != nil {
		t.Fatal(err)
	}
	accepted := events.next(t, "accepted")
	if accepted.Messages[0].To != "+254719000001" {
		t.Errorf("accepted: %s", accepted.raw)
	}
	l.Numbers["+254719000001"], l.Envelopes[accepted.Messages[0].EnvelopeID] = 1, 1

	if code := send.Wait(40 * time.Second); code != 0 {
		t.Errorf("tuma send --csv: exit %d\n%s%s", code, send.Stdout(), send.Stderr())
	}
	for _, n := range rig.Numbers(13_000_000, 300) {
		l.Numbers[n] = 1
	}
	if got := l.Settled(t, 30*time.Second); got["delivered"] != l.Messages() {
		t.Errorf("%v, want %d delivered", got, l.Messages())
	}
	l.OnceEach(t, nil)
	for _, e := range c.Sim.Ledger(t) {
		for _, r := range e.Recipients {
			if strings.HasPrefix(r.To, "+25471300") && !strings.HasPrefix(r.Text, "Hi Asha ") {
				t.Fatalf("%s got %q", r.To, r.Text)
			}
		}
	}
	c.told(t, events, accepted.Messages[0].ID)
	c.inbound(t)

	for _, sample := range []struct{ node, name, label string }{
		{"dispatcher", "tuma_requests_total", `account="smsbox-main"`},
		{"dispatcher", "tuma_messages_total", `status="submitted"`},
		{"dlr-collector", "tuma_messages_total", `status="delivered"`},
	} {
		if nodes[sample.node].Metric(sample.name, sample.label) < 1 {
			t.Errorf("%s: no %s{%s}", sample.node, sample.name, sample.label)
		}
	}
	for name, n := range nodes {
		if code, took := n.Terminate(20 * time.Second); code != 0 || took > 5*time.Second {
			t.Errorf("SIGTERM to %s: exit %d after %s", name, code, took)
		}
	}
}

// startShuffled starts servers and programs in a random order and checks after
// each step that every program says what it waits for.
func (c cluster) startShuffled(t *testing.T) map[string]*rig.Node {
	t.Helper()
	nodes, servers := map[string]*rig.Node{}, map[string]bool{}
	order := []string{"nats", "redis", "simulator", "ingest", "dispatcher", "dlr-collector"}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	t.Logf("order: %v", order)
	for _, name := range order {
		switch name {
		case "nats":
			c.StartNATS()
		case "redis":
			c.StartRedis()
		case "simulator":
			c.StartSimulator()
		default:
			nodes[name] = c.Launch(name)
		}
		servers[name] = true
		for who, n := range nodes {
			rig.Eventually(t, 15*time.Second, who+" says what it waits for", func() (bool, string) {
				code, h := n.Readyz()
				if !servers["nats"] {
					return code == http.StatusServiceUnavailable && slices.Contains(h.Waiting, "nats"), fmt.Sprint(code, h)
				}
				return code == http.StatusOK && slices.Contains(h.Degraded, "redis") == !servers["redis"], fmt.Sprint(code, h)
			})
		}
	}
	return nodes
}

// stream submits envelopes as NDJSON and asks for a line of answer for each.
func (c cluster) stream(t *testing.T, l *rig.Load, envelopes []map[string]any) {
	t.Helper()
	header := http.Header{"Content-Type": {"application/x-ndjson"}, "Accept": {"application/x-ndjson"}}
	code, body, err := c.Request(http.MethodPost, "/v1/messages", header, rig.Lines(t, envelopes...), nil)
	if err != nil || code >= 300 {
		t.Fatalf("NDJSON: %d %s %v", code, body, err)
	}
	ids := map[string]bool{}
	for i, line := range strings.Split(strings.TrimSpace(string(body)), "\n") {
		var a struct{ ID string }
		rig.Decode(t, line, &a)
		if a.ID == "" {
			t.Fatalf("line %d: %s", i+1, line)
		}
		ids[a.ID] = true
		l.Envelopes[a.ID], l.Numbers[envelopes[i]["to"].(string)] = 1, 1
	}
	if len(ids) != len(envelopes) {
		t.Errorf("%d lines became %d envelopes", len(envelopes), len(ids))
	}
}

// told checks what SMS_EVENTS says of one message after its acceptance.
func (c cluster) told(t *testing.T, events *follower, id string) {
	t.Helper()
	for _, want := range []string{"submitted", "delivered"} {
		for found := false; !found; {
			e := events.next(t, want)
			for _, m := range e.Messages {
				if m.ID != id {
					continue
				}
				found = true
				if e.subject != "sms.event.demo."+want || e.Tenant != rig.Tenant || e.Provider != "cloudrebue-main" || e.ID == "" || e.header != e.ID ||
					e.Time.IsZero() || m.To != "+254719000001" || m.EnvelopeID == "" || m.ProviderMessageID == "" || m.Traceparent == "" || m.Error != nil {
					t.Errorf("%s (Nats-Msg-Id %s): %s", e.subject, e.header, e.raw)
				}
			}
		}
	}
}

// inbound sends a message from a handset and looks for it on the bus.
func (c cluster) inbound(t *testing.T) {
	t.Helper()
	mo := watch(t, c.Publisher(), "SMS_INBOUND", "sms.inbound.demo.smsbox-main")
	c.Sim.Call(t, http.MethodPost, "inbound", `{"from": "+22670111222", "to": "15000", "text": "STOP"}`)
	e := mo.next(t, "")
	var m struct{ From, To, Text string }
	rig.Decode(t, e.raw, &m)
	if m.From != "+22670111222" || m.To != "15000" || m.Text != "STOP" {
		t.Errorf("inbound: %s", e.raw)
	}
}
