package rig

import (
	"bytes"
	"net"
	"slices"
	"sync"
	"time"
)

// Stamped is a listener that notes when the kernel got each request's first bytes.
// The ledger notes when the gateway came to read them, which on a machine that is
// busy with something else may be much later: a server that stalls would seem to
// have been sent a burst. A sender answers for the former. Elsewhere than on Linux
// nothing is noted, and the ledger's time has to do.
type Stamped struct {
	net.Listener

	mu sync.Mutex
	at map[string][]time.Time // by the first step of the path: the gateway's type
}

func (s *Stamped) note(request []byte, at time.Time) {
	_, path, _ := bytes.Cut(request, []byte(" /"))
	first, _, _ := bytes.Cut(path, []byte("/"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[string][]time.Time{}
	}
	s.at[string(first)] = append(s.at[string(first)], at)
}

// Arrived returns the instants noted so far of a gateway's requests, in order.
func (s *Stamped) Arrived(typ string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.at[typ])
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// Most returns the most instants, which are in order, in any half-open window.
func Most(at []time.Time, window time.Duration) int {
	most, from := 0, 0
	for i := range at {
		for at[i].Sub(at[from]) >= window {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}
