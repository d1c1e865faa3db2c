package idempotency

import (
	"math/bits"
	"sort"
)

// interval is the positions lo to hi-1.
type interval struct{ lo, hi uint64 }

// denseSize is the largest set that may become a bitmap, and denseRuns the
// number of intervals from which it does: 8 KB either way.
const (
	denseSize = 1 << 16
	denseRuns = 512
)

type bitmap [denseSize / 64]uint64

// set is a growing set of positions below size: sorted intervals that never
// touch, and a bitmap once they would cost more than one.
type set struct {
	size  uint64
	count uint64 // positions in it
	runs  []interval
	bits  *bitmap // stands for runs once it is there
}

func (s *set) full() bool { return s.count == s.size }

// add takes lo to hi-1 into the set. None of them may be in it already.
func (s *set) add(lo, hi uint64) {
	s.count += hi - lo
	if s.bits != nil {
		s.bits.fill(lo, hi)
		return
	}
	i := len(s.runs)
	if i > 0 && s.runs[i-1].hi > lo { // mostly they come in order
		i = sort.Search(i, func(i int) bool { return s.runs[i].lo >= hi })
	}
	left := i > 0 && s.runs[i-1].hi == lo
	right := i < len(s.runs) && s.runs[i].lo == hi
	switch {
	case left && right:
		s.runs[i-1].hi = s.runs[i].hi
		s.runs = append(s.runs[:i], s.runs[i+1:]...)
	case left:
		s.runs[i-1].hi = hi
	case right:
		s.runs[i].lo = lo
	default:
		s.runs = append(s.runs, interval{})
		copy(s.runs[i+1:], s.runs[i:])
		s.runs[i] = interval{lo, hi}
	}
	if len(s.runs) > denseRuns && s.size <= denseSize {
		s.condense()
	}
}

func (s *set) condense() {
	s.bits = new(bitmap)
	for _, r := range s.runs {
		s.bits.fill(r.lo, r.hi)
	}
	s.runs = nil
}

// uniform finds the longest stretch from lo on, up to hi, that is wholly in the
// set or wholly out of it.
func (s *set) uniform(lo, hi uint64) (end uint64, in bool) {
	if s.bits != nil {
		in = s.bits.has(lo)
		return s.bits.next(lo, hi, !in), in
	}
	n := len(s.runs)
	if n == 0 || s.runs[n-1].hi <= lo {
		return hi, false
	}
	r := s.runs[sort.Search(n, func(i int) bool { return s.runs[i].hi > lo })]
	if r.lo <= lo {
		return min(hi, r.hi), true
	}
	return min(hi, r.lo), false
}

func (s *set) has(at uint64) bool {
	_, in := s.uniform(at, at+1)
	return in
}

// complete adds what of lo to hi-1 is not in the set yet.
func (s *set) complete(lo, hi uint64) {
	for lo < hi {
		end, in := s.uniform(lo, hi)
		if !in {
			s.add(lo, end)
		}
		lo = end
	}
}

// each visits the set's intervals in order.
func (s *set) each(visit func(interval)) {
	if s.bits == nil {
		for _, r := range s.runs {
			visit(r)
		}
		return
	}
	for lo := s.bits.next(0, s.size, true); lo < s.size; {
		hi := s.bits.next(lo, s.size, false)
		visit(interval{lo, hi})
		lo = s.bits.next(hi, s.size, true)
	}
}

func (b *bitmap) has(at uint64) bool { return b[at/64]>>(at%64)&1 == 1 }

func (b *bitmap) fill(lo, hi uint64) {
	for lo < hi {
		end := min(hi, (lo|63)+1)
		b[lo/64] |= ^uint64(0) >> (64 - (end - lo)) << (lo % 64)
		lo = end
	}
}

// next is the first position from lo on whose bit is one (or zero), hi if there
// is none before it.
func (b *bitmap) next(lo, hi uint64, one bool) uint64 {
	for lo < hi {
		w := b[lo/64]
		if !one {
			w = ^w
		}
		if w >>= lo % 64; w != 0 {
			return min(hi, lo+uint64(bits.TrailingZeros64(w)))
		}
		lo = (lo | 63) + 1
	}
	return hi
}
