package journal_test

import (
	"log/slog"
	"testing"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A queue that was restored from an old copy counts on from there: before anybody
// stores into it, it is led past what the journal knows, also by checkpoints.
func TestStreamThatFellBackIsLedOn(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	epoch, err := b.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	first := open(t, b, "first")
	for _, spans := range [][]idempotency.Span{
		{{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 700, Run: 3}},
		{{Stream: bus.QueueStream("a"), Epoch: epoch - 1, Seq: 9000}}, // of one that there was before
	} {
		put(t, first, idempotency.Record{Kind: idempotency.Close, Account: "a", Spans: spans})
	}
	if err := first.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		j := journal.New(natstest.Connect(t, s, nil, nil), journal.Options{
			Owner: "second", Log: slog.New(slog.DiscardHandler), Leads: []journal.Lead{{Stream: bus.QueueStream("a"), Subject: bus.SkipSubject("a")}},
		})
		run(t, j)
		if s, err := b.State(t.Context(), bus.QueueStream("a")); err != nil || s.LastSeq != 702 {
			t.Errorf("at %d, want 702: %v", s.LastSeq, err)
		}
	}
}
