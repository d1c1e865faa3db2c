package status

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

const (
	// grace is how much longer than Keep an envelope is held, so that a sweep
	// for missing reports finds what was submitted just Keep ago.
	grace = time.Hour
	// every so many new envelopes one shard is cleared of old ones. A store
	// that does not grow is left alone: reading checks the age itself.
	sweepEvery = 256
)

func (e *entry) old(now time.Time, keep time.Duration) bool {
	return now.Unix()-int64(e.changed) > int64(keep/time.Second)
}

// grown evicts a share of what is old whenever some envelopes were added, so
// that nobody ever waits for a sweep over everything.
func (s *Store) grown(isNew bool) {
	if !isNew {
		return
	}
	if n := s.added.Add(1); n%sweepEvery == 0 {
		s.evict(int(n/sweepEvery) % shards)
	}
}

func (s *Store) evict(i int) {
	now, sh := s.tails.clock(s.o.Now()), &s.shards[i]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.drop(func(e *entry) bool { return e.old(now, s.o.Keep+grace) })
}

// NoReport is the detail of an event that says that a message was submitted 72
// h ago and nobody has reported on it.
const NoReport = envelope.Remark + "none"

// Unreported returns events for the messages that were submitted after or
// longer ago and on which nobody has reported. The caller publishes and applies
// them; id makes an event's id from its first message's. Processes that sweep at
// different times tell the same events, unless there are more than limit
// messages. Call it again while it returns any. It looks at everything: once in
// some minutes is enough.
func (s *Store) Unreported(after time.Duration, limit int, id func(first string) string) []envelope.Event {
	type group struct {
		at               int64
		tenant, provider uint16
	}
	found := map[group][]envelope.EventMessage{}
	before, n := s.o.Now().Add(-after).UnixNano(), 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.each(func(id func() string, e *entry) {
			for j := range e.records {
				r := &e.records[j]
				if n < limit && r.unreported(before) {
					g := group{r.head.at, e.tenant, r.head.provider}
					found[g] = append(found[g], e.eventMessage(id(), r))
					n++
				}
			}
		})
		sh.mu.Unlock()
	}
	var out []envelope.Event
	for g, msgs := range found {
		slices.SortFunc(msgs, func(a, b envelope.EventMessage) int { return cmp.Compare(a.ID, b.ID) })
		for chunk := range slices.Chunk(msgs, envelope.MaxEventMessages) {
			out = append(out, envelope.Event{
				ID: id(chunk[0].ID), Time: nanos(g.at).Add(after), Tenant: s.names.name(g.tenant), Provider: s.names.name(g.provider),
				Status: envelope.Submitted, Detail: NoReport, Messages: chunk,
			})
		}
	}
	return out
}

func (r *record) unreported(before int64) bool {
	h := r.head
	return h != nil && statuses[h.status] == envelope.Submitted && h.at <= before &&
		(h.note == nil || !strings.HasPrefix(h.note.detail, envelope.Remark))
}

func (e *entry) eventMessage(envelopeID string, r *record) envelope.EventMessage {
	return envelope.EventMessage{
		ID: envelope.MessageID(envelopeID, int(r.index)), EnvelopeID: envelopeID, To: unpackNumber(r.number),
		Ref: e.ref(r.index), ProviderMessageID: r.providerID, Segments: int(r.segments), Attempts: int(r.attempts),
	}
}
