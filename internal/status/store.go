// Package status answers what became of a message or an envelope. It is a view
// in memory, rebuilt from the streams at every start: pieces say which messages
// there are, events say what happened to them. Nothing is written anywhere.
//
// What many messages have in common is kept once: an envelope holds what its
// messages share, and the changes that one event brought to a thousand messages
// are one step, shared by all that had the same past.
package status

import (
	"hash/maphash"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Options of a Store.
type Options struct {
	Now  func() time.Time // default time.Now
	Keep time.Duration    // how long after its last change an envelope is known; default 72 h
	Log  *slog.Logger
}

// Store holds the statuses. It is safe for concurrent use.
type Store struct {
	o      Options
	seed   maphash.Seed
	shards [shards]shard
	names  names
	added  atomic.Uint64 // envelopes ever added: drives eviction
	tails  progress
	queues queues
	looks  looks
	own    own
}

const shards = 256

// New returns an empty Store.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keep == 0 {
		o.Keep = 72 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{o: o, seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].byULID, s.shards[i].byName = map[ulid.ULID]*entry{}, map[string]*entry{}
	}
	return s
}

func (s *Store) shard(envelopeID string) *shard {
	return &s.shards[maphash.String(s.seed, envelopeID)%shards]
}

// Register makes the messages of an accepted piece known, with the place where
// the submission was first stored, all of it as p says. A whole submission and its
// pieces, in any order and number, add up to one envelope.
func (s *Store) Register(p *envelope.Piece, origin envelope.Origin) {
	s.register(p, origin)
	if q := s.queues.get(origin.Stream); q != nil {
		q.registered(origin)
	}
}

func (s *Store) register(p *envelope.Piece, origin envelope.Origin) {
	sh := s.shard(p.ID)
	sh.mu.Lock()
	e, isNew := sh.entry(p.ID, s.names.index(p.Tenant))
	if e.tenant != s.names.index(p.Tenant) {
		sh.mu.Unlock()
		return
	}
	e.describe(s, p, origin)
	account := s.names.index(p.Account)
	for i := range p.Messages {
		m := &p.Messages[i]
		r := e.record(m.Index)
		if r.number = packNumber(m.To); !r.billed {
			r.segments = clamp8(m.Segments)
		}
		r.attempts = max(r.attempts, clamp8(p.Attempts))
		if account != 0 {
			r.account = account
		}
		if m.Ref != "" {
			e.rare().setRef(m.Index, strings.Clone(m.Ref))
		}
	}
	sh.mu.Unlock()
	s.grown(isNew)
}

// Apply folds one event. Applying it again changes nothing, and an event that
// comes too late to change a status (submitted after delivered) still finds its
// place in the history.
func (s *Store) Apply(ev *envelope.Event) {
	a := applying{store: s, event: ev, provider: s.names.index(ev.Provider), at: ev.Time.UnixNano()}
	tenant := s.names.index(ev.Tenant)
	for i := 0; i < len(ev.Messages); {
		id := ev.Messages[i].EnvelopeID
		end := i + 1
		for end < len(ev.Messages) && ev.Messages[end].EnvelopeID == id {
			end++
		}
		if id != "" {
			s.applyTo(id, tenant, &a, ev.Messages[i:end])
		}
		i = end
	}
}

func (s *Store) applyTo(id string, tenant uint16, a *applying, msgs []envelope.EventMessage) {
	sh := s.shard(id)
	sh.mu.Lock()
	e, isNew := sh.entry(id, tenant)
	if e.tenant == tenant {
		for i := range msgs {
			a.message(e, &msgs[i])
		}
	}
	sh.mu.Unlock()
	s.grown(isNew)
}

// Current returns a message's status.
func (s *Store) Current(messageID string) (envelope.Status, bool) {
	id, index, ok := envelope.SplitMessageID(messageID)
	if !ok {
		return "", false
	}
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.find(id); e != nil {
		if r := e.find(index); r != nil {
			return e.status(r), true
		}
	}
	return "", false
}
