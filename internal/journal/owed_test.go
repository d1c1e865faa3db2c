package journal_test

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

func taken(j *journal.Journal) (n int) {
	for seq := range uint64(200) {
		if o, ok := j.Intent(seq); ok {
			n += o.Taken
		}
	}
	return n
}

// What a process owes that died is known to those that come after it, a checkpoint
// and a journal without the record later.
func TestWhatIsOwedIsKnownUntilItIsTold(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first := open(t, b, "first")
	seq := put(t, first, intent(3))
	over := idempotency.Record{Kind: idempotency.Close, Account: "a", Reason: "expired", Owes: true, Spans: intent(4).Spans}
	owing, _, err := first.Append(t.Context(), over)
	if err == nil {
		err = first.WriteCheckpoint(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	second := open(t, natstest.Connect(t, s, nil, nil), "second")
	list := second.Owed("a", 0)
	if len(list) != 1 || list[0].Seq != owing || len(list[0].Effect.Lost) != 3 || list[0].Effect.Acted != 1 || len(second.Owed("b", 0)) != 0 {
		t.Fatalf("owed: %+v", list)
	}
	second.Told(owing)
	put(t, second, idempotency.Record{Kind: idempotency.Outcome, Account: "a", Intent: seq})
	for _, j := range []*journal.Journal{second, open(t, natstest.Connect(t, s, nil, nil), "third")} {
		if list := j.Owed("a", 0); len(list) != 0 {
			t.Errorf("%s: still owed: %+v", j.Owner(), list)
		}
	}
}

// A process that has nothing else to write names what it told all the same.
func TestToldIsNamedByItself(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first, second := open(t, b, "first"), open(t, natstest.Connect(t, s, nil, nil), "second")
	owing := put(t, first, idempotency.Record{Kind: idempotency.Close, Account: "a", Owes: true, Spans: intent(1).Spans})
	first.Told(owing)
	named := make(chan struct{})
	go func() {
		defer close(named)
		for len(second.Owed("a", 0)) > 0 || second.State(idempotency.Key{Stream: bus.QueueStream("a"), Epoch: 1, Seq: 1}).State != idempotency.Closed {
			select {
			case <-t.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	select {
	case <-named:
	case <-time.After(10 * time.Second):
		t.Error("it was never named")
	}
}
