package idempotency

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// The size of one request to the provider that takes the most.
const batch = 10_000

// round is what one request costs every process that reads the journal: its
// intent and its outcome.
func round(f *Fold, spans []Span, runs []Run) {
	seq := f.Last() + 1
	f.Apply(seq, Record{Kind: Intent, Account: "a", Owner: "x", Spans: spans})
	f.Apply(seq+1, Record{Kind: Outcome, Intent: seq, Runs: runs})
}

func perMessage(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/message")
}

func BenchmarkRound(b *testing.B) {
	closed := []Run{{batch, Closed}}
	b.Run("one single", func(b *testing.B) {
		f := NewFold()
		b.ReportAllocs()
		for i := range uint64(b.N) {
			round(f, []Span{{Stream: "Q", Seq: 1 + i}}, closed)
		}
	})
	b.Run("10000 singles in a run", func(b *testing.B) {
		f := NewFold()
		b.ReportAllocs()
		for i := range uint64(b.N) {
			round(f, []Span{{Stream: "Q", Seq: 1 + i*batch, Run: batch}}, closed)
		}
		perMessage(b, batch)
	})
	b.Run("10000 singles scattered", func(b *testing.B) {
		benchmarkScattered(b, closed)
	})
	b.Run("10000 singles scattered, mixed", func(b *testing.B) {
		var runs []Run
		for i := range batch / 2 {
			runs = append(runs, Run{1, Closed}, Run{1, []State{Free, Unsettled}[i%2]})
		}
		benchmarkScattered(b, runs)
	})
	b.Run("10 envelopes of 1000", func(b *testing.B) {
		f := NewFold()
		b.ReportAllocs()
		spans := make([]Span, 10)
		for i := range uint64(b.N) {
			spans := append([]Span(nil), spans...)
			for j := range spans {
				spans[j] = Span{Stream: "Q", Seq: 1 + 10*i + uint64(j), End: 1000}
			}
			round(f, spans, closed)
		}
		perMessage(b, batch)
	})
	b.Run("5000 envelopes of 2", func(b *testing.B) {
		f := NewFold()
		b.ReportAllocs()
		for i := range uint64(b.N) {
			spans := make([]Span, batch/2)
			for j := range spans {
				spans[j] = Span{Stream: "Q", Seq: 1 + 5000*i + uint64(j), End: 2}
			}
			round(f, spans, closed)
		}
		perMessage(b, batch)
	})
}

// benchmarkScattered takes every third message, so that two waves later the
// segments are full of holes.
func benchmarkScattered(b *testing.B, runs []Run) {
	f := NewFold()
	b.ReportAllocs()
	for i := range uint64(b.N) {
		spans := make([]Span, batch)
		for j := range spans {
			spans[j] = Span{Stream: "Q", Seq: 1 + 3*(i*batch+uint64(j))}
		}
		round(f, spans, runs)
	}
	perMessage(b, batch)
}

func BenchmarkState(b *testing.B) {
	f := NewFold()
	for _, k := range scattered(rand.New(rand.NewPCG(1, 2)), 30_000, 1<<segmentBits) {
		f.Apply(f.Last()+1, Record{Kind: Close, Spans: Spans([]PlacedKey{k})})
	}
	b.ResetTimer()
	for i := range b.N {
		f.State(Key{Stream: "Q", Seq: uint64(i) % (1 << segmentBits)})
	}
}

func BenchmarkCheckpoint(b *testing.B) {
	f := NewFold()
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		f.Apply(f.Last()+1, Record{Kind: Close, Spans: Spans(scattered(random, batch, 64<<segmentBits))})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		data, _ := f.MarshalBinary()
		if err := NewFold().UnmarshalBinary(data); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
	}
}

// heap is what records add to the memory of a fold that knows one message.
func heap(build func(f *Fold)) (*Fold, int) {
	var before, after runtime.MemStats
	measure := func(f *Fold, m *runtime.MemStats) {
		f.pieces, f.cells = nil, nil // buffers, one a fold
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(m)
	}
	f := NewFold()
	round(f, singles(1<<40, 1), []Run{{1, Closed}})
	measure(f, &before)
	build(f)
	measure(f, &after)
	return f, int(after.HeapAlloc) - int(before.HeapAlloc)
}

// TestMemory is the promise in bytes. Not parallel, as it measures the heap.
func TestMemory(t *testing.T) {
	const million = 1_000_000
	for _, c := range []struct {
		name  string
		most  int
		build func(f *Fold)
	}{
		{"a million closed singles in a row", 1 << 10, func(f *Fold) {
			for i := uint64(0); i < million; i += batch {
				round(f, []Span{{Stream: "Q", Seq: 1 + i, Run: batch}}, []Run{{batch, Closed}})
			}
		}},
		{"a hundred thousand closed singles, one by one", 1 << 10, func(f *Fold) {
			for i := range uint64(million / 10) {
				round(f, []Span{{Stream: "Q", Seq: 1 + i}}, []Run{{1, Closed}})
			}
		}},
		{"a hundred thousand closed singles, every other", 36 << 10, func(f *Fold) {
			for i := uint64(0); i < million/5; i += 2 {
				round(f, []Span{{Stream: "Q", Seq: 1 + i}}, []Run{{1, Closed}})
			}
		}},
		{"a million closed in envelopes of 1000", 24 * 1000, func(f *Fold) {
			for i := range uint64(1000) {
				round(f, []Span{{Stream: "Q", Seq: 1 + i, End: 1000}}, []Run{{1000, Closed}})
			}
		}},
		{"10,000 taken in a run", 2 << 10, func(f *Fold) {
			journal(f, Record{Kind: Intent, Account: "a", Spans: singles(1, batch)})
		}},
		{"10,000 taken, scattered", 125 * batch, func(f *Fold) {
			var spans []Span
			for i := range uint64(batch) {
				spans = append(spans, Span{Stream: "Q", Seq: 1 + 2*i})
			}
			journal(f, Record{Kind: Intent, Account: "a", Spans: spans})
		}},
		{"10,000 unsettled of 1000 intents", 300 * 1000, func(f *Fold) {
			for i := range uint64(1000) {
				round(f, []Span{{Stream: "Q", Seq: 1 + 20*i, Run: 20}}, []Run{{10, Closed}, {10, Unsettled}})
			}
		}},
	} {
		var f *Fold
		var tries []int
		for range 3 { // the runtime itself takes some, sometimes
			var n int
			f, n = heap(c.build)
			tries = append(tries, n)
		}
		slices.Sort(tries)
		bytes := tries[1]
		t.Logf("%s: %d bytes, checkpoint %d", c.name, bytes, len(mustMarshal(t, f)))
		if bytes > c.most {
			t.Errorf("%s: %d bytes, want at most %d", c.name, bytes, c.most)
		}
	}
}
