package idempotency

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSpans(t *testing.T) {
	t.Parallel()
	key := func(seq uint64, index uint32, at uint64) PlacedKey {
		return PlacedKey{Key{"Q", 1, seq, index}, at}
	}
	for name, c := range map[string]struct {
		keys []PlacedKey
		want []Span
	}{
		"none":            {nil, nil},
		"one":             {[]PlacedKey{key(7, 3, 0)}, []Span{{Stream: "Q", Epoch: 1, Seq: 7, First: 3}}},
		"indices":         {[]PlacedKey{key(7, 0, 0), key(7, 1, 0), key(7, 2, 0)}, []Span{{Stream: "Q", Epoch: 1, Seq: 7, End: 3}}},
		"a run":           {[]PlacedKey{key(7, 0, 0), key(8, 0, 8), key(9, 0, 0)}, []Span{{Stream: "Q", Epoch: 1, Seq: 7, Run: 3}}},
		"a run elsewhere": {[]PlacedKey{key(7, 0, 70), key(8, 0, 71)}, []Span{{Stream: "Q", Epoch: 1, Seq: 7, Run: 2, At: 70}}},
		"another place":   {[]PlacedKey{key(7, 0, 70), key(7, 1, 71)}, []Span{{Stream: "Q", Epoch: 1, Seq: 7, At: 70}, {Stream: "Q", Epoch: 1, Seq: 7, First: 1, At: 71}}},
		"a gap of places": {[]PlacedKey{key(7, 0, 70), key(8, 0, 72)}, []Span{{Stream: "Q", Epoch: 1, Seq: 7, At: 70}, {Stream: "Q", Epoch: 1, Seq: 8, At: 72}}},
		"backwards":       {[]PlacedKey{key(8, 0, 0), key(7, 0, 0)}, []Span{{Stream: "Q", Epoch: 1, Seq: 8}, {Stream: "Q", Epoch: 1, Seq: 7}}},
		"run, then index": {[]PlacedKey{key(7, 0, 0), key(8, 0, 0), key(8, 1, 0)}, []Span{{Stream: "Q", Epoch: 1, Seq: 7, Run: 2}, {Stream: "Q", Epoch: 1, Seq: 8, First: 1}}},
	} {
		if diff := cmp.Diff(c.want, Spans(c.keys)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSpansKeepEveryKey: whatever the messages, the spans name them in their
// order and in their places, and so does each part that is cut from them.
func TestSpansKeepEveryKey(t *testing.T) {
	t.Parallel()
	number := rapid.OneOf(rapid.Uint64Range(1, 5), rapid.Uint64Range(math.MaxUint64-2, math.MaxUint64))
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) PlacedKey {
			return PlacedKey{Key{
				rapid.SampledFrom([]string{"Q", "R"}).Draw(t, "stream"), 1, number.Draw(t, "seq"),
				rapid.OneOf(rapid.Uint32Range(0, 2), rapid.Uint32Range(math.MaxUint32-3, math.MaxUint32-1)).Draw(t, "index"),
			}, rapid.OneOf(rapid.Just(uint64(0)), number).Draw(t, "at")}
		}), 0, 20).Draw(t, "keys")
		spans := Spans(keys)
		checkSpans(t, spans, keys)
		if len(keys) > 0 {
			at := rapid.IntRange(0, len(keys)-1).Draw(t, "from")
			n := rapid.IntRange(1, len(keys)-at).Draw(t, "n")
			checkSpans(t, cut(nil, spans, uint64(at), uint64(n)), keys[at:at+n])
		}
	})
}

func checkSpans(t *rapid.T, spans []Span, keys []PlacedKey) {
	var got []PlacedKey
	for _, s := range spans {
		for i := range s.Len() {
			got = append(got, PlacedKey{s.Key(i), s.Place(i)})
		}
	}
	if len(got) != len(keys) {
		t.Fatalf("%v name %d messages, want %d", spans, len(got), len(keys))
	}
	for i, k := range keys {
		if k.At == 0 {
			k.At = k.Seq
		}
		if got[i] != k {
			t.Fatalf("message %d of %v: %v, want %v", i, spans, got[i], k)
		}
	}
}

func TestMalformedSpansNameNothing(t *testing.T) {
	t.Parallel()
	malformed := []Span{
		{Stream: "Q", Seq: 1, First: 5, End: 5},
		{Stream: "Q", Seq: 1, First: 5, End: 4},
		{Stream: "Q", Seq: 1, First: math.MaxUint32},
		{Stream: "Q", Seq: 1, Run: 2, First: 1},
		{Stream: "Q", Seq: 1, Run: 2, End: 2},
		{Stream: "Q", Seq: math.MaxUint64 - 1, Run: 2},
		{Stream: "Q", Seq: 1, Run: 2, At: math.MaxUint64 - 1},
	}
	for _, s := range malformed {
		if s.Len() != 0 {
			t.Errorf("%+v names %d messages", s, s.Len())
		}
	}
	f := NewFold()
	good := Span{Stream: "Q", Seq: 3, Run: 2}
	e := f.Apply(1, Record{Kind: Intent, Spans: append(malformed[:len(malformed):len(malformed)], good)})
	if e.Acted != 2 || len(e.Lost) != 0 || f.Ignored() != uint64(len(malformed)) {
		t.Errorf("effect %+v, ignored %d", e, f.Ignored())
	}
	if in, _ := f.Intent(1); in.Messages != 2 || len(in.Spans) != 1 {
		t.Errorf("intent %+v", in)
	}
}

func TestTooManyMessages(t *testing.T) {
	t.Parallel()
	f := NewFold()
	e := f.Apply(1, Record{Kind: Intent, Spans: []Span{
		{Stream: "Q", Seq: 1, End: math.MaxUint32}, {Stream: "Q", Seq: 2},
	}})
	if e.Acted != 0 || f.Ignored() != 2 {
		t.Errorf("effect %+v, ignored %d", e, f.Ignored())
	}
	e = f.Apply(2, Record{Kind: Intent, Spans: []Span{{Stream: "Q", Seq: 2}, {Stream: "Q", Seq: 1, Run: MaxMessages}, {Stream: "Q", Seq: 1}}})
	if e.Acted != 1 || f.Ignored() != 4 {
		t.Errorf("effect %+v, ignored %d", e, f.Ignored())
	}
}

func TestAppendRuns(t *testing.T) {
	t.Parallel()
	got := AppendRuns([]State{Closed, Closed, Free, Unsettled, Unsettled, Closed})
	want := []Run{{2, Closed}, {1, Free}, {2, Unsettled}, {1, Closed}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if AppendRuns(nil) != nil {
		t.Error("runs of no states")
	}
}
