package journal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

func open(t *testing.T, b *bus.Bus, owner string) *journal.Journal {
	t.Helper()
	j := journal.New(b, journal.Options{Owner: owner, Log: slog.New(slog.DiscardHandler)})
	run(t, j)
	return j
}

// run runs a journal until the test ends, and returns once it is ready.
func run(t *testing.T, j *journal.Journal) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	select {
	case <-j.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("not ready")
	}
}

func intent(n uint32) idempotency.Record {
	return idempotency.Record{
		Kind: idempotency.Intent, Account: "a", LeaseMillis: 60_000,
		Spans: []idempotency.Span{{Stream: bus.QueueStream("a"), Epoch: 1, Seq: 1, First: 0, End: n}},
	}
}

// put appends a record and returns its place.
func put(t *testing.T, j *journal.Journal, r idempotency.Record) uint64 {
	t.Helper()
	seq, _, err := j.Append(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func TestOneIntentWinsWhoeverAsks(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	wins := make(chan int, 8)
	for i := range 8 {
		j := open(t, natstest.Connect(t, s, nil, []string{"a"}), fmt.Sprintf("owner%d", i))
		go func() {
			_, e, err := j.Append(context.Background(), intent(5))
			if err != nil {
				t.Error(err)
			}
			wins <- e.Acted
		}()
	}
	total := 0
	for range 8 {
		total += <-wins
	}
	if total != 5 {
		t.Errorf("eight owners won %d messages of 5", total)
	}
}

func TestLateComerFoldsToTheSameState(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first := open(t, b, "first")
	seq := put(t, first, intent(3))
	put(t, first, idempotency.Record{
		Kind: idempotency.Outcome, Account: "a", Intent: seq,
		Runs: []idempotency.Run{{N: 1, To: idempotency.Closed}, {N: 1, To: idempotency.Unsettled}, {N: 1, To: idempotency.Free}},
	})
	late := open(t, natstest.Connect(t, s, nil, nil), "late")
	for i, want := range []idempotency.State{idempotency.Closed, idempotency.Unsettled, idempotency.Free} {
		k := idempotency.Key{Stream: bus.QueueStream("a"), Epoch: 1, Seq: 1, Index: uint32(i)}
		if got := late.State(k).State; got != want || first.State(k).State != want {
			t.Errorf("message %d is %v, and %v to its owner; want %v", i, got, first.State(k).State, want)
		}
	}
	if late.Unsettled("a") != 1 {
		t.Errorf("Unsettled = %d", late.Unsettled("a"))
	}
}

// An intent whose Append gave up may still be stored. Nobody sends for it, so it
// must not hold its messages for the whole lease.
func TestIntentThatNobodyWaitsForIsDeclaredNotSent(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	j := open(t, b, "me")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := j.Append(ctx, intent(2)); err == nil {
		t.Fatal("Append succeeded without a context to wait in")
	}
	// The record that was given up arrives after all.
	r := intent(2)
	r.Owner = "me"
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), bus.Out{Subject: bus.JournalSubject("intent", "a"), Data: data, MsgID: "me.1"}); err != nil {
		t.Fatal(err)
	}
	k := idempotency.Key{Stream: bus.QueueStream("a"), Epoch: 1, Seq: 1}
	for deadline := time.Now().Add(10 * time.Second); ; {
		state, err := b.State(t.Context(), bus.JournalStream)
		if err != nil {
			t.Fatal(err)
		}
		if state.LastSeq >= 2 && j.State(k).State == idempotency.Free {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %v, journal at %d", j.State(k).State, state.LastSeq)
		}
	}
	// Whoever meets its messages again reads back what there is to tell of it.
	m, err := b.Get(t.Context(), bus.JournalStream, 2)
	if err != nil {
		t.Fatal(err)
	}
	var settled idempotency.Record
	if err := json.Unmarshal(m.Data, &settled); err != nil {
		t.Fatal(err)
	}
	for _, detail := range [][]byte{settled.Detail, nil} { // nil: as earlier versions wrote it
		settled.Detail = detail
		if d, err := journal.Outcome(&settled); err != nil || d.Default.Status != "" || len(d.Each) > 0 {
			t.Errorf("an intent that was not sent tells %+v, %v", d, err)
		}
	}
}

// A bus that stood still brings back many at once. Nobody else ever settles what
// this process leaves of its own.
func TestManyIntentsThatNobodyWaitsForAreDeclaredNotSent(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	j := open(t, b, "me")
	const n = 500
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range n {
		r := intent(2)
		r.Spans[0].Seq = uint64(i + 1)
		if _, _, err := j.Append(gone, r); err == nil {
			t.Fatal("Append succeeded without a context to wait in")
		}
	}
	for i := range n {
		r := intent(2)
		r.Owner, r.Spans[0].Seq = "me", uint64(i+1)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		id := "me." + strconv.FormatInt(int64(i+1), 36)
		if _, err := b.PublishAsync(bus.Out{Subject: bus.JournalSubject("intent", "a"), Data: data, MsgID: id}); err != nil {
			t.Fatal(err)
		}
	}
	taken := 0
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		state, err := b.State(t.Context(), bus.JournalStream)
		if err != nil {
			t.Fatal(err)
		}
		taken = 0
		for i := range n {
			if j.State(idempotency.Key{Stream: bus.QueueStream("a"), Epoch: 1, Seq: uint64(i + 1)}).State == idempotency.Taken {
				taken++
			}
		}
		if state.LastSeq >= 2*n && taken == 0 {
			return
		}
	}
	t.Fatalf("%d of %d intents hold their messages for good", taken, n)
}

func TestUnreadableRecordStopsNobody(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	j := open(t, b, "me")
	for _, data := range []string{"", "{", "[]", `{"k":"intent","s":[{"st":"x","e":4294967295}]}`} {
		if _, err := b.Publish(t.Context(), bus.Out{Subject: bus.JournalSubject("intent", "a"), Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, e, err := j.Append(t.Context(), intent(2)); err != nil || e.Acted != 2 {
		t.Fatalf("effect = %+v, %v", e, err)
	}
}

func TestBatchIDNamesOneIntentOfOneJournal(t *testing.T) {
	t.Parallel()
	epoch := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	id := journal.BatchID(epoch, 123456789)
	if len(id) > 40 {
		t.Errorf("%q is longer than gateways take", id)
	}
	if seq, ok := journal.ParseBatchID(epoch, id); !ok || seq != 123456789 {
		t.Errorf("ParseBatchID(%q) = %d, %v", id, seq, ok)
	}
	for _, bad := range []string{"", "t", id + "x!", "T" + id[1:], journal.BatchID(epoch+int64(time.Hour), 5), id + " "} {
		if _, ok := journal.ParseBatchID(epoch, bad); ok {
			t.Errorf("ParseBatchID took %q", bad)
		}
	}
}

func FuzzParseBatchID(f *testing.F) {
	f.Add("t1-1")
	f.Fuzz(func(t *testing.T, id string) {
		if seq, ok := journal.ParseBatchID(36_000_000_000_000, id); ok && journal.BatchID(36_000_000_000_000, seq) != id {
			t.Errorf("%q and its own id differ", id)
		}
	})
}
