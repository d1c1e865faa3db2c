package idempotency

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzCheckpoint: whatever the bytes between header and checksum are, they are
// refused or they are a state: one that can be written again, gives the same
// after that, and can be worked on.
func FuzzCheckpoint(f *testing.F) {
	empty, full := mustMarshal(f, NewFold()), mustMarshal(f, sample())
	for _, data := range [][]byte{empty, full} {
		f.Add(data[len(checkpointHeader) : len(data)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fold := NewFold()
		if fold.UnmarshalBinary(sealed(body)) != nil {
			return
		}
		data := mustMarshal(t, fold)
		back := NewFold()
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(data, mustMarshal(t, back)) {
			t.Fatal("the checkpoint of a checkpoint differs")
		}
		for o := range fold.books {
			first := []Span{{Stream: o.stream, Epoch: o.epoch, Run: 70_000}, {Stream: o.stream, Epoch: o.epoch, End: 9}}
			last := fold.Last()
			if last > 1<<63 {
				return
			}
			a := fold.Apply(last+1, Record{Kind: Intent, Spans: first})
			b := back.Apply(last+1, Record{Kind: Intent, Spans: first})
			if a.Acted != b.Acted || a.Acted+len(a.Lost) != 70_009 {
				t.Fatalf("acted on %d and %d, lost %d", a.Acted, b.Acted, len(a.Lost))
			}
			fold.Apply(last+2, Record{Kind: Outcome, Intent: last + 1, Runs: []Run{{70_000, Closed}}})
		}
		fold.Open(func(o OpenIntent) bool { return o.Taken > 0 })
	})
}

// FuzzRecord: whatever JSON a journal carries, it is refused or can be applied,
// twice over, and the state can be written and read.
func FuzzRecord(f *testing.F) {
	for _, r := range []Record{
		{Kind: Intent, Account: "a", Owner: "x", LeaseMillis: 9, Spans: []Span{{Stream: "Q", Epoch: 1, Seq: 7, Run: 3, At: 8}, {Stream: "Q", Seq: 1, First: 2, End: 5}}},
		{Kind: Outcome, Intent: 1, Runs: []Run{{2, Closed}, {9, Unsettled}}, Class: "c", Detail: json.RawMessage(`{"ids":[1]}`)},
		{Kind: Close, Reason: "expired", Spans: []Span{{Stream: "Q", Seq: 7}}},
		{Kind: Release, Intent: 1, Spans: []Span{{Stream: "Q", Seq: 7}}},
		{Kind: Supersede, Tenant: "t", SupersedeKey: "k", At: 5, ID: "e", Until: 6, Spans: []Span{{Stream: "Q", Seq: 7}}},
		{Kind: Mode, Account: "a", Paused: true},
	} {
		data, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Record
		if json.Unmarshal(data, &r) != nil {
			return
		}
		fold := NewFold()
		intent := r
		intent.Kind = Intent
		outcome := r
		outcome.Kind, outcome.Intent = Outcome, 1
		release := r
		release.Kind, release.Intent = Release, 1
		journal(fold, intent, r, outcome, r, release, r, intent)
		if err := NewFold().UnmarshalBinary(mustMarshal(t, fold)); err != nil {
			t.Fatal(err)
		}
	})
}
