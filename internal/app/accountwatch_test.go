package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A server that is full for some seconds, in which everything fails at once, must
// not be the reason that nobody is told that an account was ill.
func TestAccountEventsAreToldOnceTheBusTakesThem(t *testing.T) {
	t.Parallel()
	server := natstest.Server(t)
	b := natstest.Connect(t, server, nil, nil)
	full := func(yes bool) {
		natstest.Change(t, server, bus.AccountStream, func(c *jetstream.StreamConfig) {
			c.Discard, c.MaxMsgSize = jetstream.DiscardOld, -1
			if yes {
				c.MaxMsgSize = 1 // refuses whatever comes
			}
		})
	}
	full(true)
	w := newAccountWatch(&kit{bus: b, log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = w.run(ctx) }()
	defer func() { stop(); <-ended }()
	now := time.Now()
	w.see(7, now, &idempotency.Record{Kind: idempotency.Health, Account: "a", Reason: journal.IllBreaker}, nil)
	w.see(8, now, &idempotency.Record{Kind: idempotency.Health, Account: "a", Reason: journal.Well}, nil)
	for deadline := time.Now().Add(10 * time.Second); len(w.tell) > 1; time.Sleep(time.Millisecond) { // the first is in hand
		if time.Now().After(deadline) {
			t.Fatal("never taken up")
		}
	}
	full(false)
	var told []string
	tailing, enough := context.WithTimeout(ctx, 10*time.Second)
	defer enough()
	_ = b.Tail(tailing, bus.Tail{Stream: bus.AccountStream}, func(m *bus.Msg) {
		var e dlr.AccountEvent
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Error(err)
		}
		if told = append(told, e.Kind); len(told) == 2 {
			enough()
		}
	}, nil)
	if len(told) != 2 || told[0] != "ill" || told[1] != "well" {
		t.Errorf("told %v", told)
	}
}
