package idempotency

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// drawSpan draws from a small world, so that records meet: few submissions, some
// at the border of two segments, few indices.
func drawSpan(t *rapid.T) Span {
	s := Span{
		Stream: rapid.SampledFrom([]string{"Q1", "Q1", "Q1", "Q2"}).Draw(t, "stream"),
		Epoch:  rapid.SampledFrom([]int64{0, 0, 0, 1}).Draw(t, "epoch"),
		Seq:    rapid.OneOf(rapid.Uint64Range(1, 6), rapid.Uint64Range(65532, 65538)).Draw(t, "seq"),
	}
	switch rapid.IntRange(0, 2).Draw(t, "shape") {
	case 0:
		s.Run = rapid.Uint32Range(0, 12).Draw(t, "run")
	case 1:
		s.First = rapid.Uint32Range(0, 5).Draw(t, "first")
		s.End = s.First + rapid.Uint32Range(1, 6).Draw(t, "length")
	case 2:
		s.End = rapid.Uint32Range(0, 6).Draw(t, "end")
	}
	return s
}

// author draws the records of a journal, with the intents so far to refer to.
type author struct {
	seqs  []uint64
	spans map[uint64][]Span
}

func (a *author) draw(t *rapid.T, seq uint64) Record {
	r := Record{
		Kind:    rapid.SampledFrom([]Kind{Intent, Intent, Intent, Outcome, Outcome, Outcome, Outcome, Close, Release, Release, Supersede, Mode, Sender, "later"}).Draw(t, "kind"),
		Account: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "account"),
		Owner:   rapid.SampledFrom([]string{"x", "y"}).Draw(t, "owner"),
	}
	switch r.Kind {
	case Outcome, Release:
		r.Intent = rapid.Uint64Range(0, seq).Draw(t, "intent")
		if n := len(a.seqs); n > 0 && rapid.IntRange(0, 9).Draw(t, "a real one") > 0 {
			r.Intent = rapid.SampledFrom(a.seqs[max(0, n-5):]).Draw(t, "intent")
		}
	}
	switch r.Kind {
	case Release:
		if r.Spans = a.spans[r.Intent]; len(r.Spans) > 0 && rapid.IntRange(0, 3).Draw(t, "its own spans") > 0 {
			break
		}
		fallthrough
	case Intent, Close, Supersede:
		r.Spans = rapid.SliceOfN(rapid.Custom(drawSpan), 0, 5).Draw(t, "spans")
	}
	switch r.Kind {
	case Intent:
		a.seqs, a.spans[seq] = append(a.seqs, seq), r.Spans
	case Outcome:
		to := rapid.SampledFrom([]State{Free, Taken, Unsettled, Unsettled, Unsettled, Closed, 9})
		for range rapid.IntRange(0, 4).Draw(t, "runs") {
			r.Runs = append(r.Runs, Run{rapid.Uint32Range(0, 12).Draw(t, "n"), to.Draw(t, "to")})
		}
	case Close:
		r.Reason = rapid.SampledFrom([]string{"canceled", "expired", "reported"}).Draw(t, "reason")
	case Supersede:
		r.SupersedeKey = rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")
		r.At = rapid.Int64Range(1, 5).Draw(t, "at")
		r.ID = rapid.SampledFrom([]string{"e1", "e2", "e3"}).Draw(t, "id")
	case Mode:
		r.Paused = rapid.IntRange(0, 2).Draw(t, "paused") == 0
	case Sender:
		r.Sender = rapid.SampledFrom([]string{"", "", "x", "y"}).Draw(t, "sender")
		r.Was = rapid.SampledFrom([]string{"", "", "x", "y"}).Draw(t, "was")
	}
	return r
}

// everyKey is all messages that drawSpan can name, and some more.
func everyKey() (keys []Key) {
	for _, stream := range []string{"Q1", "Q2", "Q3"} {
		for epoch := range int64(2) {
			for _, from := range []uint64{0, 65525} {
				for seq := from; seq < from+32; seq++ {
					for index := range uint32(12) {
						keys = append(keys, Key{stream, epoch, seq, index})
					}
				}
			}
		}
	}
	return keys
}

// TestFoldIsTheModel is the fold's whole promise: what it says is what the naive
// model says, after every record, whatever their order.
func TestFoldIsTheModel(t *testing.T) {
	t.Parallel()
	keys := everyKey()
	rapid.Check(t, func(t *rapid.T) {
		fold, m, a := NewFold(), newModel(), author{spans: map[uint64][]Span{}}
		for seq := uint64(1); seq <= 40; seq++ {
			r := a.draw(t, seq)
			before := map[Key]State{}
			for k, x := range m.messages {
				before[k] = x.state
			}
			want, closed := m.apply(seq, r)
			got := fold.Apply(seq, r)
			if gone := keysOf(got.Superseded); !cmp.Equal(sortedKeys(gone), sortedKeys(closed), cmpopts.EquateEmpty()) {
				t.Fatalf("record %d %+v: superseded %v, want %v", seq, r, gone, closed)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Effect{}, "Superseded")); diff != "" {
				t.Fatalf("record %d %+v: effect (-model +fold):\n%s", seq, r, diff)
			}
			if again := fold.Apply(seq, r); !cmp.Equal(again, Effect{}) {
				t.Fatalf("record %d replayed: %+v", seq, again)
			}
			if rapid.IntRange(0, 7).Draw(t, "checkpoint") == 0 {
				fold = throughCheckpoint(t, fold)
			}
			checkInvariants(t, m, before)
			checkIntents(t, fold, m)
		}
		for _, k := range keys {
			checkMessage(t, fold, m, k)
		}
	})
}

func sortedKeys(keys []Key) map[Key]int {
	n := map[Key]int{}
	for _, k := range keys {
		n[k]++
	}
	return n
}

func checkMessage(t *rapid.T, fold *Fold, m *model, k Key) {
	want := MessageState{}
	if x := m.messages[k]; x != nil {
		want = MessageState{State: x.state, Released: x.released, CloseStands: x.reason}
		if x.state == Taken || x.state == Unsettled {
			want.Intent = x.by
		}
	}
	if got := fold.State(k); got != want {
		t.Fatalf("state of %v: %+v, want %+v", k, got, want)
	}
}

// checkInvariants proves the promises of the model, and so of what equals it.
func checkInvariants(t *rapid.T, m *model, before map[Key]State) {
	for k, x := range m.messages {
		if before[k] == Closed && x.state != Closed {
			t.Fatalf("%v left closed", k)
		}
		if x.won > 1+x.freed+x.releases || x.releases > 1 {
			t.Fatalf("%v was won %d times, freed %d and released %d times", k, x.won, x.freed, x.releases)
		}
	}
}

func checkIntents(t *rapid.T, fold *Fold, m *model) {
	var open []uint64
	taken, unsettled, by := 0, 0, map[string]int{}
	for seq := uint64(0); seq <= m.last; seq++ {
		in := m.intents[seq]
		if in == nil {
			continue
		}
		want := OpenIntent{Seq: seq, Account: in.account, Messages: len(in.keys), Taken: m.holds(seq, Taken), Unsettled: m.holds(seq, Unsettled)}
		taken, unsettled, by[in.account] = taken+want.Taken, unsettled+want.Unsettled, by[in.account]+want.Unsettled
		if want.Taken > 0 {
			open = append(open, seq)
		}
		got, ok := fold.Intent(seq)
		if ok != (want.Taken+want.Unsettled > 0) {
			t.Fatalf("intent %d known: %v, want %+v", seq, ok, want)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(OpenIntent{}, "Owner", "Lease", "Spans")); ok && diff != "" {
			t.Fatalf("intent %d (-model +fold):\n%s", seq, diff)
		}
	}
	var got []uint64
	fold.Open(func(o OpenIntent) bool { got = append(got, o.Seq); return true })
	if !cmp.Equal(open, got) {
		t.Fatalf("open intents %v, want %v", got, open)
	}
	if fold.Taken() != taken || fold.Unsettled() != unsettled {
		t.Fatalf("taken %d, unsettled %d; want %d, %d", fold.Taken(), fold.Unsettled(), taken, unsettled)
	}
	for _, a := range []string{"a", "b", "c"} {
		if fold.UnsettledBy(a) != by[a] || fold.Paused(a) != m.paused[a] || fold.Sender(a) != m.sender[a] {
			t.Fatalf("account %s: unsettled %d, paused %v; want %d, %v", a, fold.UnsettledBy(a), fold.Paused(a), by[a], m.paused[a])
		}
	}
}

// TestPortionsAndCheckpoints: one journal, read at once, or in portions with a
// checkpoint after each and every record read twice, is one state.
func TestPortionsAndCheckpoints(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		straight, portions, a := NewFold(), NewFold(), author{spans: map[uint64][]Span{}}
		for seq := uint64(1); seq <= 40; seq++ {
			r := a.draw(t, seq)
			r.At *= int64(30 * time.Hour) // so that keys pass
			want := straight.Apply(seq, throughJSON(t, r))
			got := portions.Apply(seq, r)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("record %d %+v after a checkpoint (-straight +portions):\n%s", seq, r, diff)
			}
			if rapid.IntRange(0, 4).Draw(t, "checkpoint") == 0 {
				portions = throughCheckpoint(t, portions)
				portions.Apply(seq, r)
			}
		}
		if a, b := marshal(t, straight), marshal(t, portions); !bytes.Equal(a, b) {
			t.Fatalf("the states differ:\n%x\n%x", a, b)
		}
	})
}

func throughJSON(t rapid.TB, r Record) (back Record) {
	data, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(data, &back)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("record through JSON (-was +is):\n%s", diff)
	}
	return back
}

func marshal(t rapid.TB, f *Fold) []byte {
	data, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func throughCheckpoint(t rapid.TB, f *Fold) *Fold {
	data := marshal(t, f)
	back := NewFold()
	if err := back.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	if again := marshal(t, back); !bytes.Equal(data, again) {
		t.Fatalf("checkpoint of a checkpoint differs:\n%x\n%x", data, again)
	}
	return back
}
