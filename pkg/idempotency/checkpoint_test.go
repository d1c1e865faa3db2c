package idempotency

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// scattered names n single messages of the first limit, in order and all apart.
func scattered(random *rand.Rand, n, limit int) (keys []PlacedKey) {
	for _, i := range random.Perm(limit / 2)[:n] {
		keys = append(keys, PlacedKey{Key: Key{Stream: "Q", Seq: uint64(2 * i)}})
	}
	return keys
}

// TestScatteredWaves: what the small worlds of the properties do not reach.
// Thousands of single messages in no order, over several segments, until these
// are bitmaps; against the model, with checkpoints in between.
func TestScatteredWaves(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	f, m := NewFold(), newModel()
	do := func(r Record) {
		seq := f.Last() + 1
		want, _ := m.apply(seq, r)
		if diff := cmp.Diff(want, f.Apply(seq, r), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("record %d (-model +fold):\n%s", seq, diff)
		}
	}
	for wave := range 6 {
		do(Record{Kind: Intent, Account: "a", Spans: Spans(scattered(random, 5000, 3<<segmentBits))})
		runs := make([]Run, 0, 4000)
		for range 4000 {
			runs = append(runs, Run{1 + random.Uint32N(2), State(random.Uint32N(4))})
		}
		do(Record{Kind: Outcome, Intent: f.Last(), Runs: runs})
		do(Record{Kind: Close, Reason: "expired", Spans: Spans(scattered(random, 5000, 3<<segmentBits))})
		if wave%2 == 1 {
			back := NewFold()
			if err := back.UnmarshalBinary(mustMarshal(t, f)); err != nil {
				t.Fatal(err)
			}
			f = back
		}
	}
	do(Record{Kind: Close, Spans: singles(1, 2<<segmentBits)})
	for seq := range uint64(4 << segmentBits) {
		want := Free
		if x := m.messages[Key{Stream: "Q", Seq: seq}]; x != nil {
			want = x.state
		}
		if got := stateOf(f, seq).State; got != want {
			t.Fatalf("message %d: %d, want %d", seq, got, want)
		}
	}
	if f.books[origin{"Q", 0}].narrow.segments[2].closed.bits == nil {
		t.Error("no segment became a bitmap: the test proves less than it should")
	}
}

func mustMarshal(t testing.TB, f *Fold) []byte {
	t.Helper()
	data, err := f.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sample is a state with a bit of everything.
func sample() *Fold {
	f := NewFold()
	journal(f,
		Record{Kind: Intent, Account: "a", Owner: "x", LeaseMillis: 15_000, Spans: append(singles(65_530, 20), Span{Stream: "R", Epoch: -1, Seq: 9, End: 1000, At: 4})},
		say(Run{5, Closed}, Run{5, Free}, Run{5, Unsettled}, Run{5, Closed}, Run{500, Closed}),
		Record{Kind: Release, Intent: 1, Spans: singles(65_540, 2)},
		Record{Kind: Close, Reason: "canceled", Spans: singles(65_542, 2)},
		Record{Kind: Intent, Account: "b", Spans: singles(65_540, 1)},
		Record{Kind: Mode, Account: "c", Paused: true},
		Record{Kind: Sender, Account: "d", Sender: "o1"},
		Record{Kind: Supersede, SupersedeKey: "k", ID: "e", At: 1e18, Spans: singles(70_000, 1)},
		Record{Kind: "later"},
	)
	var odd []Span
	for seq := uint64(200_000); seq < 202_000; seq += 2 {
		odd = append(odd, Span{Stream: "Q", Seq: seq})
	}
	journal(f, Record{Kind: Close, Spans: odd})
	f.Forget("S", 3, 1<<40)
	return f
}

func TestDamagedCheckpoint(t *testing.T) {
	t.Parallel()
	data := mustMarshal(t, sample())
	refuse := func(what string, damaged []byte) {
		t.Helper()
		f := sample()
		if err := f.UnmarshalBinary(damaged); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: %v", what, err)
		}
		if !bytes.Equal(mustMarshal(t, f), data) {
			t.Errorf("%s changed the fold", what)
		}
	}
	for n := range data {
		refuse("a cut one", data[:n])
		if n > len(checkpointHeader) {
			refuse("a cut one with a checksum", sealed(data[len(checkpointHeader):n-1]))
		}
		flipped := bytes.Clone(data)
		flipped[n] ^= 4
		refuse("a flipped bit", flipped)
		if testing.Short() || n > 250 {
			break
		}
	}
	refuse("one with something behind it", sealed(append(bytes.Clone(data[len(checkpointHeader):len(data)-4]), 0)))
	next := bytes.Clone(data)
	next[len(checkpointHeader)-1]++
	binary.BigEndian.PutUint32(next[len(next)-4:], checksum(next[:len(next)-4]))
	refuse("one of the next version", next)
}

// sealed puts a header and a checksum around what a damaged writer might write.
func sealed(body []byte) []byte {
	data := append([]byte(checkpointHeader), body...)
	return binary.BigEndian.AppendUint32(data, checksum(data))
}
