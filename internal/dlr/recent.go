package dlr

import (
	"hash/maphash"
	"sync"
)

// seenAtMost is how many ids a recent remembers at least: 20 bytes each.
const seenAtMost = 500_000

// recent remembers the last ids it was given, n of them at least and 2n at most.
// It only spares work: who relies on it for more than that must not.
type recent struct {
	n    int
	seed maphash.Seed

	mu       sync.Mutex
	now, old map[uint64]struct{}
}

func newRecent(n int) *recent {
	return &recent{n: n, seed: maphash.MakeSeed(), now: map[uint64]struct{}{}}
}

func (r *recent) has(id string) bool {
	h := maphash.String(r.seed, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	_, now := r.now[h]
	_, old := r.old[h]
	return now || old
}

func (r *recent) add(id string) {
	h := maphash.String(r.seed, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.now) >= r.n {
		r.old, r.now = r.now, map[uint64]struct{}{}
	}
	r.now[h] = struct{}{}
}
