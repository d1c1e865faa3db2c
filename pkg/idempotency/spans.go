package idempotency

import (
	"fmt"
	"math"
)

// MaxMessages is how many messages the spans of one record may name. The fold
// ignores the spans beyond it: what a record did is told message by message, and
// one damaged record must not fill the memory of every process that reads it.
const MaxMessages = 1 << 20

// shape is the span as a run of submissions or a stretch of one submission, and
// false for a span that is malformed: both shapes at once, an end that is not
// after its beginning, or more than the numbers hold.
func (s *Span) shape() (run, first, end uint64, ok bool) {
	run, first, end = max(uint64(s.Run), 1), uint64(s.First), uint64(s.End)
	if end == 0 {
		end = first + 1
	}
	switch {
	case end <= first, end > math.MaxUint32:
		return 0, 0, 0, false
	case run > 1 && (end != 1 || s.Seq > math.MaxUint64-run || s.placed() > math.MaxUint64-run):
		return 0, 0, 0, false
	}
	return run, first, end, true
}

func (s *Span) placed() uint64 {
	if s.At == 0 {
		return s.Seq
	}
	return s.At
}

// Len is the number of messages that the span names, 0 if it is malformed.
func (s Span) Len() int {
	run, first, end, _ := s.shape()
	return int(run * (end - first))
}

// Key is the identity of the span's message i, counted from 0. It panics if the
// span has no such message, as a slice would.
func (s Span) Key(i int) Key {
	s.mustHave(i)
	k := Key{Stream: s.Stream, Epoch: s.Epoch, Seq: s.Seq, Index: s.First}
	if s.Run > 1 {
		k.Seq += uint64(i)
	} else {
		k.Index += uint32(i)
	}
	return k
}

// Place is where message i lies in the account's queue stream. Like Key it
// panics if the span has no such message.
func (s Span) Place(i int) uint64 {
	s.mustHave(i)
	if s.Run > 1 {
		return s.placed() + uint64(i)
	}
	return s.placed()
}

func (s Span) mustHave(i int) {
	if n := s.Len(); i < 0 || i >= n {
		panic(fmt.Sprintf("idempotency: message %d of a span of %d", i, n))
	}
}

// PlacedKey is a message and where the copy of it that is meant lies in the
// account's queue stream. At zero means at Seq itself.
type PlacedKey struct {
	Key
	At uint64
}

// Spans names the messages in as few spans as their order allows: neighbouring
// indices of one submission that lie in one place, and neighbouring submissions
// of one message each that lie in neighbouring places. The order is kept, so
// message i of the keys is message i of the spans.
func Spans(keys []PlacedKey) []Span {
	var spans []Span
	for _, k := range keys {
		if k.At == k.Seq {
			k.At = 0
		}
		if n := len(spans); n == 0 || !spans[n-1].extend(k) {
			spans = append(spans, Span{Stream: k.Stream, Epoch: k.Epoch, Seq: k.Seq, First: k.Index, At: k.At})
		}
	}
	return spans
}

// extend takes one more message into the span if it is the next one.
func (s *Span) extend(k PlacedKey) bool {
	run, first, end, ok := s.shape()
	if !ok || s.Stream != k.Stream || s.Epoch != k.Epoch || run*(end-first) >= MaxMessages {
		return false
	}
	at := k.At
	if at == 0 {
		at = k.Seq
	}
	switch {
	case run == 1 && k.Seq == s.Seq && uint64(k.Index) == end && at == s.placed() && end < math.MaxUint32:
		s.End = uint32(end) + 1
	case end == 1 && k.Index == 0 && k.Seq == s.Seq+run && at == s.placed()+run && k.Seq > s.Seq && at > s.placed() && k.Seq < math.MaxUint64 && at < math.MaxUint64:
		s.Run, s.End = uint32(run)+1, 0
	default:
		return false
	}
	return true
}

// cut appends the spans of messages at to at+n-1 of the spans.
func cut(to, spans []Span, at, n uint64) []Span {
	for _, s := range spans {
		size := uint64(s.Len())
		if at >= size {
			at -= size
			continue
		}
		m := min(n, size-at)
		if s.Run > 1 {
			s.Seq += at
			if s.At != 0 {
				s.At += at
			}
			if s.Run = uint32(m); m == 1 {
				s.Run = 0
			}
		} else {
			s.First += uint32(at)
			if s.End = s.First + uint32(m); m == 1 {
				s.End = 0
			}
		}
		to = append(to, s)
		if n -= m; n == 0 {
			break
		}
		at = 0
	}
	return to
}

// AppendRuns counts equal states that follow one another, which is what an
// outcome carries: state i is that of its intent's message i. The result is nil
// for no states.
func AppendRuns(states []State) []Run {
	var runs []Run
	for _, s := range states {
		if n := len(runs); n > 0 && runs[n-1].To == s && runs[n-1].N < math.MaxUint32 {
			runs[n-1].N++
			continue
		}
		runs = append(runs, Run{N: 1, To: s})
	}
	return runs
}
