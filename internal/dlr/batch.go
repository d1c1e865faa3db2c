package dlr

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// batch is one intent and its messages, read back from journal and queue. Many
// are kept, so a message takes some 200 bytes of it: journal.Members are three
// times as large. It is safe for concurrent use.
type batch struct {
	seq     uint64
	account string
	at      time.Time        // when the intent was stored: the request left within the second
	channel envelope.Channel // of all: nothing shares a request across channels
	whole   bool             // every member's copy was found
	bytes   int              // that it takes, about
	spans   []idempotency.Span
	ends    []uint16 // of the spans: the position after each one's last
	lots    []lot
	members []member // in the intent's order

	byID     places
	byNumber sorted
}

// lot is what messages that follow one another have in common.
type lot struct {
	envelope, tenant, ref, traceparent, replayOf string
	attempts                                     int
}

// member is one message; its lot is negative if its copy was not found.
type member struct {
	to, ref  string // ref is empty if it is the lot's
	lot      int32
	index    uint16
	segments uint16
}

// What a batch, a lot and a member take beside their strings, with its place in
// each order that a batch is looked up in.
const (
	batchBytes  = 512
	lotBytes    = 88
	memberBytes = 40 + 3 + 2
	spanBytes   = 56 + 2
)

func newBatch(seq uint64, at time.Time, intent *idempotency.Record, members []journal.Member) *batch {
	b := &batch{seq: seq, at: at, account: intent.Account, spans: intent.Spans, whole: true, members: make([]member, len(members))}
	end := 0
	for i := range b.spans {
		s := &b.spans[i]
		if s.Stream == b.spans[0].Stream {
			s.Stream = b.spans[0].Stream // one string for all
		}
		end += s.Len()
		b.ends = append(b.ends, uint16(end))
	}
	text := arena{block: min(128*len(members), 4<<10)}
	for i := range members {
		m := &members[i]
		_, index, ok := envelope.SplitMessageID(m.ID)
		if !m.Found || !ok {
			b.members[i].lot, b.whole = -1, false
			continue
		}
		b.channel = m.Channel
		b.join(&text, m)
		own := member{to: text.keep(m.To), lot: int32(len(b.lots) - 1), index: uint16(index), segments: uint16(m.Segments)}
		if m.Ref != b.lots[own.lot].ref {
			own.ref = text.keep(m.Ref)
		}
		b.members[i] = own
	}
	b.lots = slices.Clip(b.lots)
	b.bytes = batchBytes + text.size + len(b.lots)*lotBytes + len(b.members)*memberBytes + len(b.spans)*spanBytes
	return b
}

// join sees to it that the last lot is one of m's.
func (b *batch) join(text *arena, m *journal.Member) {
	n := len(b.lots)
	if n > 0 {
		l := &b.lots[n-1]
		if l.envelope == m.EnvelopeID && l.tenant == m.Tenant && l.traceparent == m.Traceparent && l.replayOf == m.ReplayOf &&
			l.attempts == m.Attempts && (m.Ref != "" || l.ref == "") {
			return
		}
	}
	l := lot{
		envelope: text.keep(m.EnvelopeID), ref: text.keep(m.Ref), traceparent: text.keep(m.Traceparent),
		replayOf: text.keep(m.ReplayOf), attempts: m.Attempts,
	}
	if n > 0 && b.lots[n-1].tenant == m.Tenant {
		l.tenant = b.lots[n-1].tenant
	} else {
		l.tenant = text.keep(m.Tenant)
	}
	b.lots = append(b.lots, l)
}

// found reports whether the copy of the message at a position was found; nothing
// else may be asked of it otherwise.
func (b *batch) found(pos int) bool { return b.members[pos].lot >= 0 }

func (b *batch) to(pos int) string { return b.members[pos].to }

func (b *batch) tenant(pos int) string { return b.lots[b.members[pos].lot].tenant }

func (b *batch) id(pos int) string {
	m := &b.members[pos]
	return envelope.MessageID(b.lots[m.lot].envelope, int(m.index))
}

// message is what events tell of the message at a position, before any outcome.
func (b *batch) message(pos int) envelope.EventMessage {
	m := &b.members[pos]
	l := &b.lots[m.lot]
	ref := m.ref
	if ref == "" {
		ref = l.ref
	}
	return envelope.EventMessage{
		ID: b.id(pos), EnvelopeID: l.envelope, To: m.to, Ref: ref, Traceparent: l.traceparent,
		Segments: int(m.segments), Attempts: l.attempts, ReplayOf: l.replayOf,
	}
}

// placed is a member's identity in the journal, with where its copy lies.
func (b *batch) placed(pos int) idempotency.PlacedKey {
	i, _ := slices.BinarySearch(b.ends, uint16(pos+1))
	if i == len(b.ends) {
		return idempotency.PlacedKey{}
	}
	s := &b.spans[i]
	at := pos - int(b.ends[i]) + s.Len()
	return idempotency.PlacedKey{Key: s.Key(at), At: s.Place(at)}
}

// withID returns the position of a message.
func (b *batch) withID(id string) (pos int, ok bool) {
	env, index, ok := envelope.SplitMessageID(id)
	if !ok {
		return 0, false
	}
	p := &b.byID
	p.make(b)
	for at := p.first(env, index); p.slots[at] != 0; at = p.next(at) {
		pos := int(p.slots[at]) - 1
		if m := &b.members[pos]; int(m.index) == index && b.lots[m.lot].envelope == env {
			return pos, true
		}
	}
	return 0, false
}

// places finds the members by their ids: a table of positions, each one more than
// it is, at the place that its id's hash says or after it. It is made when
// somebody first asks.
type places struct {
	once  sync.Once
	seed  maphash.Seed
	slots []uint16
}

func (p *places) make(b *batch) {
	p.once.Do(func() {
		p.seed, p.slots = maphash.MakeSeed(), make([]uint16, 3*len(b.members)/2+1) // one stays free
		for pos := range b.members {
			if !b.found(pos) {
				continue
			}
			m := &b.members[pos]
			at := p.first(b.lots[m.lot].envelope, int(m.index))
			for p.slots[at] != 0 {
				at = p.next(at)
			}
			p.slots[at] = uint16(pos + 1)
		}
	})
}

func (p *places) first(env string, index int) int {
	return int((maphash.String(p.seed, env) + uint64(index)) % uint64(len(p.slots)))
}

func (p *places) next(at int) int {
	if at++; at == len(p.slots) {
		return 0
	}
	return at
}

// withNumber returns the positions of the messages to a number.
func (b *batch) withNumber(number string) []uint16 {
	order := b.byNumber.of(b, compareNumbers)
	from, _ := slices.BinarySearchFunc(order, number, func(pos uint16, to string) int { return cmp.Compare(b.members[pos].to, to) })
	end := from
	for end < len(order) && b.members[order[end]].to == number {
		end++
	}
	return order[from:end]
}

func compareNumbers(x, y *member) int { return cmp.Compare(x.to, y.to) }

// numbers are those of all messages that were found, each once.
func (b *batch) numbers() []string {
	var out []string
	for _, pos := range b.byNumber.of(b, compareNumbers) {
		if to := b.members[pos].to; len(out) == 0 || out[len(out)-1] != to {
			out = append(out, to)
		}
	}
	return out
}

// sorted are the positions of the members that were found, put in order when
// somebody first asks.
type sorted struct {
	once  sync.Once
	order []uint16
}

func (s *sorted) of(b *batch, compare func(x, y *member) int) []uint16 {
	s.once.Do(func() {
		s.order = make([]uint16, 0, len(b.members))
		for pos := range b.members {
			if b.found(pos) {
				s.order = append(s.order, uint16(pos))
			}
		}
		slices.SortFunc(s.order, func(x, y uint16) int { return compare(&b.members[x], &b.members[y]) })
	})
	return s.order
}

// arena keeps small strings in few pieces of memory, as each would otherwise keep
// the whole document that it was read from.
type arena struct {
	block, size int // of a piece of memory, and of all
	at          *strings.Builder
}

func (a *arena) keep(s string) string {
	if s == "" {
		return ""
	}
	if a.at == nil || a.at.Cap()-a.at.Len() < len(s) {
		a.at = &strings.Builder{}
		a.at.Grow(max(a.block, len(s)))
		a.size += a.at.Cap()
	}
	from := a.at.Len()
	a.at.WriteString(s)
	return a.at.String()[from:]
}
