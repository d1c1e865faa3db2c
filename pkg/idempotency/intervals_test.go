package idempotency

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSetIsABoolEach: intervals or bitmap, the set is what a bool for each
// position is. Half of the cases start fragmented enough to be a bitmap.
func TestSetIsABoolEach(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, want := set{size: denseSize}, make([]bool, denseSize)
		complete := func(lo, hi uint64) {
			s.complete(lo, hi)
			for i := lo; i < hi; i++ {
				want[i] = true
			}
		}
		if rapid.Bool().Draw(t, "fragmented") {
			for i := range uint64(denseRuns + 1) {
				complete(3*i, 3*i+1)
			}
			if s.bits == nil {
				t.Fatal("still intervals")
			}
		}
		border := rapid.OneOf(rapid.Uint64Range(0, 200), rapid.Uint64Range(1500, 1560), rapid.Uint64Range(denseSize-130, denseSize))
		for range rapid.IntRange(0, 12).Draw(t, "adds") {
			lo, hi := border.Draw(t, "lo"), border.Draw(t, "hi")
			complete(min(lo, hi), max(lo, hi))
		}
		checkSet(t, &s, want)
	})
}

func checkSet(t *rapid.T, s *set, want []bool) {
	got, count, last := make([]bool, len(want)), uint64(0), uint64(0)
	s.each(func(r interval) {
		if r.lo >= r.hi || r.lo == last && last > 0 {
			t.Fatalf("interval %v after %d", r, last)
		}
		for i := r.lo; i < r.hi; i++ {
			got[i] = true
		}
		count, last = count+r.hi-r.lo, r.hi
	})
	for i := range want {
		if got[i] != want[i] || s.has(uint64(i)) != want[i] {
			t.Fatalf("position %d: %v and %v, want %v", i, got[i], s.has(uint64(i)), want[i])
		}
	}
	if s.count != count || s.full() != (count == s.size) {
		t.Fatalf("count %d, want %d; full %v", s.count, count, s.full())
	}
	for lo := uint64(0); lo < s.size; {
		end, in := s.uniform(lo, s.size)
		if in != want[lo] || end < s.size && want[end] == in {
			t.Fatalf("uniform from %d: to %d, %v", lo, end, in)
		}
		lo = end
	}
}
