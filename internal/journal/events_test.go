package journal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// A server takes 1 MiB unless told otherwise. An event of a thousand messages
// whose tenant likes long references full of what JSON escapes is larger: it must
// not stop what is told after it.
func TestEventsFitTheServer(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(t.Context(), embedded.Options{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), MaxPayload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	b := natstest.Connect(t, s, []string{"acme"}, nil)
	e := envelope.Event{ID: "event", Time: time.Now().UTC(), Tenant: "acme", Status: envelope.Undelivered, Provider: "gw"}
	for i := range envelope.MaxEventMessages {
		e.Messages = append(e.Messages, envelope.EventMessage{
			ID: envelope.MessageID("01M7WHGBGJDW7VQWX646HWV2QV", i), EnvelopeID: "01M7WHGBGJDW7VQWX646HWV2QV", To: fmt.Sprintf("+2547%08d", i),
			Ref: strings.Repeat("<", 128), Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			ProviderMessageID: "550e8400-e29b-41d4-a716-446655440000", Segments: 1, Attempts: 1,
			Error: &envelope.EventError{Code: "undelivered", ProviderCode: "message.failed", Detail: "Absent subscriber"},
		})
	}
	for range 2 { // whoever tells it again tells the same
		if err := journal.Tell(t.Context(), b, []envelope.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	got := map[string]int{}
	_ = b.Tail(ctx, bus.Tail{Stream: bus.EventStream}, func(m *bus.Msg) {
		var e envelope.Event
		if err := json.Unmarshal(m.Data, &e); err != nil || e.ID != m.Get("Nats-Msg-Id") {
			t.Errorf("%q, %v", e.ID, err)
		}
		for i := range e.Messages {
			got[e.Messages[i].ID]++
		}
	}, stop)
	if len(got) != len(e.Messages) {
		t.Errorf("%d messages told of %d", len(got), len(e.Messages))
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s told %d times", id, n)
		}
	}
}
