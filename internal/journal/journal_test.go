package journal_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
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
	seq, _, err := first.Append(t.Context(), intent(3))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := first.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Outcome, Account: "a", Intent: seq,
		Runs: []idempotency.Run{{N: 1, To: idempotency.Closed}, {N: 1, To: idempotency.Unsettled}, {N: 1, To: idempotency.Free}},
	}); err != nil {
		t.Fatal(err)
	}
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

func TestMembersAreReadBackFromTheQueue(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	put := func(p envelope.Piece) uint64 {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		ack, err := b.Publish(t.Context(), bus.Out{Subject: bus.QueueSubject("a", "bulk", "acme"), Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return ack.Seq
	}
	epoch, err := b.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	many := envelope.Piece{ID: "many", Tenant: "acme", Ref: "r", Traceparent: "tp", Origin: &envelope.Origin{Stream: "SMS_SUBMIT_acme", Epoch: 5, Seq: 77}}
	for i := range 5 {
		many.Messages = append(many.Messages, envelope.Message{Index: 10 + i, To: fmt.Sprintf("+1%d", i)})
	}
	at := put(many)
	for i := range 3 {
		put(envelope.Piece{ID: fmt.Sprintf("one%d", i), Tenant: "acme", Messages: []envelope.Message{{To: fmt.Sprintf("+2%d", i)}}})
	}
	r := idempotency.Record{Account: "a", Spans: []idempotency.Span{
		{Stream: "SMS_SUBMIT_acme", Epoch: 5, Seq: 77, First: 12, End: 14, At: at},
		{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: at + 1, Run: 3},
		{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 900},
		{Stream: "SMS_SUBMIT_acme", Epoch: 4, Seq: 77, First: 12, At: at},     // of a stream that was there before
		{Stream: "SMS_SUBMIT_acme", Epoch: 5, Seq: 78, First: 12, At: at},     // of another submission
		{Stream: bus.QueueStream("a"), Epoch: epoch - 1, Seq: at + 1, Run: 2}, // of the queue before this one
	}}
	members, err := journal.Members(t.Context(), b, &r)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range members {
		got = append(got, fmt.Sprintf("%s %s %v", m.ID, m.To, m.Found))
	}
	want := []string{"many-12 +12 true", "many-13 +13 true", "one0-0 +20 true", "one1-0 +21 true", "one2-0 +22 true", "  false", "  false", "  false", "  false", "  false"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEventsAreTheSameEachTimeTheyAreTold(t *testing.T) {
	t.Parallel()
	var members []journal.Member
	for i := range 2500 {
		tenant := "acme"
		if i%5 == 0 {
			tenant = "other"
		}
		members = append(members, journal.Member{EventMessage: envelope.EventMessage{ID: fmt.Sprintf("e-%d", i)}, Tenant: tenant, Found: i != 3})
	}
	d := &journal.OutcomeDetail{
		Default: journal.MessageResult{Status: envelope.Submitted, ProviderID: "p"},
		Each:    map[uint32]journal.MessageResult{7: {Status: envelope.Failed, Code: "rejected"}, 8: {}},
	}
	first, again := journal.Events("a", 9, members, d), journal.Events("a", 9, members, d)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Fatal(diff)
	}
	seen, n := map[string]bool{}, 0
	for _, e := range first {
		if seen[e.ID] || len(e.Messages) > envelope.MaxEventMessages || len(e.Messages) == 0 {
			t.Errorf("event %s with %d messages", e.ID, len(e.Messages))
		}
		seen[e.ID] = true
		n += len(e.Messages)
	}
	if n != 2498 {
		t.Errorf("%d messages told of, want all but the one not found and the one freed", n)
	}
	if other := journal.Events("a", 10, members, d); other[0].ID == first[0].ID {
		t.Error("another outcome has the same event id")
	}
}

// A thousand messages of one price tell it once, and each gets it.
func TestBillsAreToldOnce(t *testing.T) {
	t.Parallel()
	d := &journal.OutcomeDetail{Each: map[uint32]journal.MessageResult{}}
	var members []journal.Member
	for i := range 1000 {
		bill := journal.Bill{Cost: "75 RWF"}
		switch i {
		case 7:
			bill = journal.Bill{}
		case 8:
			bill = journal.Bill{Segments: 2, Cost: "150 RWF", Operator: "mtn"}
		}
		members = append(members, journal.Member{EventMessage: envelope.EventMessage{ID: fmt.Sprintf("e-%d", i), Segments: 1}, Tenant: "acme", Found: true})
		d.Each[uint32(i)] = journal.MessageResult{Status: envelope.Submitted, Bill: d.AddBill(bill)}
	}
	if len(d.Bills) != 2 {
		t.Errorf("%d bills, want each once", len(d.Bills))
	}
	e := journal.Events("a", 9, members, d)[0]
	for i, want := range map[int]string{0: "1 75 RWF ", 7: "1  ", 8: "2 150 RWF mtn", 999: "1 75 RWF "} {
		m := e.Messages[i]
		if got := fmt.Sprintf("%d %s %s", m.Segments, m.Cost, m.Operator); got != want {
			t.Errorf("message %d: %q, want %q", i, got, want)
		}
	}
	if got := d.Bill(journal.MessageResult{Bill: 3}); got != (journal.Bill{}) {
		t.Errorf("a place that is none: %+v", got)
	}
}

// A start from a checkpoint knows what a start from the beginning knows, and
// what the journal has lost by age.
func TestCheckpointIsAStartLikeAnyOther(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first := open(t, b, "first")
	seq, _, err := first.Append(t.Context(), intent(4))
	if err != nil {
		t.Fatal(err)
	}
	settle := idempotency.Record{Kind: idempotency.Outcome, Account: "a", Intent: seq, Runs: []idempotency.Run{
		{N: 1, To: idempotency.Closed}, {N: 1, To: idempotency.Unsettled}, {N: 1, To: idempotency.Free}, {N: 1, To: idempotency.Closed},
	}}
	if _, _, err := first.Append(t.Context(), settle); err != nil {
		t.Fatal(err)
	}
	if _, _, err := first.Append(t.Context(), idempotency.Record{Kind: idempotency.Sender, Account: "a", Sender: "first"}); err != nil {
		t.Fatal(err)
	}
	if err := first.WriteCheckpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := first.Append(t.Context(), idempotency.Record{Kind: idempotency.Mode, Account: "b", Paused: true}); err != nil {
		t.Fatal(err)
	}
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
	seq, _, err := first.Append(t.Context(), intent(3))
	if err != nil {
		t.Fatal(err)
	}
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
	if _, _, err := second.Append(t.Context(), idempotency.Record{Kind: idempotency.Outcome, Account: "a", Intent: seq}); err != nil {
		t.Fatal(err)
	}
	for _, j := range []*journal.Journal{second, open(t, natstest.Connect(t, s, nil, nil), "third")} {
		if list := j.Owed("a", 0); len(list) != 0 {
			t.Errorf("%s: still owed: %+v", j.Owner(), list)
		}
	}
}

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
		if _, _, err := first.Append(t.Context(), idempotency.Record{Kind: idempotency.Close, Account: "a", Spans: spans}); err != nil {
			t.Fatal(err)
		}
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

// A process that has nothing else to write names what it told all the same.
func TestToldIsNamedByItself(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first, second := open(t, b, "first"), open(t, natstest.Connect(t, s, nil, nil), "second")
	owing, _, err := first.Append(t.Context(), idempotency.Record{Kind: idempotency.Close, Account: "a", Owes: true, Spans: intent(1).Spans})
	if err != nil {
		t.Fatal(err)
	}
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

func TestJournalThatEndsBeforeItsCheckpointStops(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, nil, []string{"a"})
	first := open(t, b, "first")
	if _, _, err := first.Append(t.Context(), intent(1)); err != nil {
		t.Fatal(err)
	}
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
	if _, _, err := first.Append(t.Context(), intent(2)); err != nil {
		t.Fatal(err)
	}
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
