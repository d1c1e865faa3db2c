package journal_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A start from a checkpoint knows what a start from the beginning knows, and
// what the journal has lost by age.
func TestCheckpointIsAStartLikeAnyOther(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first := open(t, b, "first")
	seq := put(t, first, intent(4))
	settle := idempotency.Record{Kind: idempotency.Outcome, Account: "a", Intent: seq, Runs: []idempotency.Run{
		{N: 1, To: idempotency.Closed}, {N: 1, To: idempotency.Unsettled}, {N: 1, To: idempotency.Free}, {N: 1, To: idempotency.Closed},
	}}
	put(t, first, settle)
	put(t, first, idempotency.Record{Kind: idempotency.Sender, Account: "a", Sender: "first"})
	if err := first.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, first, idempotency.Record{Kind: idempotency.Mode, Account: "b", Paused: true})
	if err := b.Delete(t.Context(), bus.JournalStream, seq); err != nil { // as if by age
		t.Fatal(err)
	}
	seen := 0
	second := journal.New(natstest.Connect(t, s, nil, nil), journal.Options{Owner: "second", Log: slog.New(slog.DiscardHandler)})
	second.Watch(func(uint64, time.Time, *idempotency.Record, *idempotency.Effect) { seen++ })
	run(t, second)
	for i, want := range []idempotency.State{idempotency.Closed, idempotency.Unsettled, idempotency.Free, idempotency.Closed} {
		k := idempotency.Key{Stream: bus.QueueStream("a"), Epoch: 1, Seq: 1, Index: uint32(i)}
		if got := second.State(k).State; got != want {
			t.Errorf("message %d is %v, want %v", i, got, want)
		}
	}
	if !second.Paused("b") || second.Sender("a") != "first" {
		t.Error("what came before or after the checkpoint is not known")
	}
	if seen != 3 {
		t.Errorf("watchers saw %d records, want the recent ones again: 3", seen)
	}
	if _, e, err := second.Append(t.Context(), intent(4)); err != nil || e.Acted != 0 {
		t.Errorf("an intent of a process that may not send won %d, %v", e.Acted, err)
	}
}

// A fold that is larger than a message is kept in parts; one that lacks a part is
// passed over.
func TestCheckpointInParts(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first := journal.New(natstest.Connect(t, s, nil, nil), journal.Options{Owner: "first", Log: slog.New(slog.DiscardHandler), PartSize: 100})
	run(t, first)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		r := intent(1)
		r.Spans[0].Seq = random.Uint64() >> 20
		seq, _, err := first.Append(t.Context(), r)
		if err == nil && i%2 == 0 {
			_, _, err = first.Append(t.Context(), idempotency.Record{Kind: idempotency.Outcome, Account: "a", Intent: seq, Runs: []idempotency.Run{{N: 1, To: idempotency.Closed}}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := first.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	state, err := b.State(t.Context(), bus.CheckpointStream)
	if err != nil || state.Messages < 10 {
		t.Fatalf("%d messages, %v", state.Messages, err)
	}
	if err := b.Delete(t.Context(), bus.JournalStream, 1); err != nil { // as if by age
		t.Fatal(err)
	}
	known := func(owner string) bool {
		j := open(t, natstest.Connect(t, s, nil, nil), owner)
		_, settled := j.Intent(4)
		_, open := j.Intent(3)
		return !settled && open && taken(j) == taken(first)
	}
	if !known("second") {
		t.Error("not begun at the checkpoint")
	}
	if err := b.Delete(t.Context(), bus.CheckpointStream, 3); err != nil {
		t.Fatal(err)
	}
	if j := open(t, natstest.Connect(t, s, nil, nil), "third"); taken(j) != taken(first) {
		t.Error("passed over, and not read from the beginning")
	}
}

func TestJournalThatEndsBeforeItsCheckpointStops(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first := open(t, b, "first")
	put(t, first, intent(1))
	f := idempotency.NewFold()
	f.Apply(99, idempotency.Record{Kind: idempotency.Mode, Account: "a"})
	data, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(append([]byte("\x02{}"), data...)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), bus.Out{Subject: bus.CheckpointSubject, Data: packed.Bytes(), Header: bus.Header{
		"Tuma-Epoch": {fmt.Sprint(first.Epoch())}, "Tuma-Back": {"1"}, "Tuma-Format": {"3"},
	}}); err != nil {
		t.Fatal(err)
	}
	short := journal.New(natstest.Connect(t, s, nil, nil), journal.Options{Owner: "second", Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = short.Run(ctx) }()
	select {
	case <-short.Ready():
		t.Error("ready although the journal has lost its end")
	case <-time.After(time.Second): // it never becomes ready: there is nothing to wait for
	}
	stop()
	<-ended
}

func TestDamagedCheckpointIsPassedOver(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first := open(t, b, "first")
	put(t, first, intent(2))
	for _, h := range []bus.Header{
		{"Tuma-Epoch": {fmt.Sprint(first.Epoch())}, "Tuma-Back": {"1"}}, {"Tuma-Epoch": {"5"}}, {}, {"Tuma-Epoch": {fmt.Sprint(first.Epoch())}},
	} {
		if _, err := b.Publish(t.Context(), bus.Out{Subject: bus.CheckpointSubject, Data: []byte("tumafold\x01nonsense"), Header: h}); err != nil {
			t.Fatal(err)
		}
		again := open(t, natstest.Connect(t, s, nil, nil), "again")
		if got := again.State(idempotency.Key{Stream: bus.QueueStream("a"), Epoch: 1, Seq: 1}).State; got != idempotency.Taken {
			t.Errorf("headers %v: the message is %v, want taken", h, got)
		}
	}
}

// All dispatchers of a deployment write their first checkpoint at the same time. Each
// puts its parts over those of the others, and one of them is whole.
func TestCheckpointsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	var later atomic.Int64
	writers := make([]*journal.Journal, 5)
	for i := range writers {
		writers[i] = journal.New(natstest.Connect(t, s, nil, nil), journal.Options{
			Owner: fmt.Sprint("writer", i), Log: slog.New(slog.DiscardHandler), PartSize: 40, Now: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
		})
		run(t, writers[i])
	}
	seq, _, err := writers[0].Append(t.Context(), intent(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := writers[0].Append(t.Context(), idempotency.Record{Kind: idempotency.Mode, Account: "a", Paused: true}); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		later.Add(int64(10 * time.Minute))
		var writing sync.WaitGroup
		for _, j := range writers {
			writing.Go(func() {
				if err := j.WriteCheckpoint(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		writing.Wait()
		if round == 0 { // what only checkpoints know
			if err := b.Delete(t.Context(), bus.JournalStream, seq+1); err != nil {
				t.Fatal(err)
			}
		}
		if j := open(t, natstest.Connect(t, s, nil, nil), fmt.Sprint("reader", round)); !j.Paused("a") {
			t.Fatalf("round %d: what only the checkpoint knew is forgotten", round)
		}
	}
}
