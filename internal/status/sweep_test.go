package status

import (
	"strconv"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

func (s *Store) size() (n int) {
	for i := range s.shards {
		n += len(s.shards[i].byULID) + len(s.shards[i].byName)
	}
	return n
}

func fill(s *Store, prefix string, n int, at time.Time) {
	for i := range n {
		s.Register(&envelope.Piece{ID: prefix + strconv.Itoa(i), Tenant: "t", AcceptedAt: at, Messages: []envelope.Message{{To: "+254700000000"}}}, envelope.Origin{})
	}
}

func TestOldEnvelopesLeaveAsNewOnesCome(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	s := New(Options{Now: func() time.Time { return now }})
	fill(s, "old", 5000, now)
	now = now.Add(74 * time.Hour)
	fill(s, "new", sweepEvery*shards, now)
	if got := s.size(); got != sweepEvery*shards {
		t.Errorf("%d envelopes, want only the %d new ones", got, sweepEvery*shards)
	}
}

// While the streams are read from the beginning, the wall clock says nothing of
// which envelope is old: its last event may be still to come.
func TestNothingLeavesBeforeItsEventsWereRead(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	s := New(Options{Now: func() time.Time { return now }})
	slow, quick := s.tails.start(2)[0], s.tails.positions[1]
	quick.caught.Store(true)
	slow.at.Store(now.Add(-100 * time.Hour).UnixNano())
	fill(s, "old", sweepEvery*shards, now.Add(-100*time.Hour))
	if got := s.size(); got != sweepEvery*shards {
		t.Errorf("%d envelopes left", got)
	}
	slow.caught.Store(true)
	fill(s, "new", sweepEvery*shards, now)
	if got := s.size(); got != sweepEvery*shards {
		t.Errorf("%d envelopes, want only the new ones", got)
	}
}
