package dlr

import (
	"hash/maphash"
	"sync/atomic"
)

// sieve remembers most of the last half million ids it was given, in 8 MiB that
// never grow and without a lock, as every callback passes it twice. What it has
// forgotten is stored, and folded, once more: statuses do not mind, and the
// stream itself refuses repetitions within two minutes.
type sieve struct {
	seed  maphash.Seed
	slots []atomic.Uint64 // hashes; what comes later takes the place of what was there
}

const sieveSlots = 1 << 20

func newSieve() *sieve {
	return &sieve{seed: maphash.MakeSeed(), slots: make([]atomic.Uint64, sieveSlots)}
}

func (s *sieve) slot(id string) (*atomic.Uint64, uint64) {
	h := maphash.String(s.seed, id)
	return &s.slots[h%sieveSlots], h | sieveSlots // never 0, which is nothing; the low bits are the place
}

func (s *sieve) has(id string) bool {
	slot, h := s.slot(id)
	return slot.Load() == h
}

func (s *sieve) add(id string) {
	slot, h := s.slot(id)
	slot.Store(h)
}
