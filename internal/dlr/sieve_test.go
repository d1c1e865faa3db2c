package dlr

import (
	"strconv"
	"testing"
)

func TestSieveRemembersMostAndInventsNothing(t *testing.T) {
	t.Parallel()
	const n = 500_000
	s := newSieve()
	for i := range n {
		id := strconv.Itoa(i)
		if s.has(id) {
			t.Fatalf("knows %s, which it was never given", id)
		}
		s.add(id)
		if !s.has(id) {
			t.Fatalf("forgot %s at once", id)
		}
	}
	kept := 0
	for i := range n {
		if s.has(strconv.Itoa(i)) {
			kept++
		}
	}
	if kept < n*3/4 {
		t.Errorf("remembers %d of the last %d", kept, n)
	}
}
