package simulator

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// batch is what one accepted request holds. It is immutable once it is shelved:
// how far a message got follows from the time alone.
type batch struct {
	index      uint64 // place on the shelf, over the simulator's life
	first      uint64 // number of its first message id
	parts      int    // message ids per recipient
	id         string // the request's id, where it is not made from index
	ref        string // client_ref, where it is the batch's
	noRef      bool   // the reports keep the client_ref to themselves
	channel    string // empty: SMS
	oneID      bool   // all recipients share the first one's id
	at, sendAt time.Duration
	recipients []recipient
}

// recipient is kept small: hundreds of thousands of them are held.
type recipient struct {
	number                  uint64 // E.164 digits
	from                    string
	text                    string // final, as a handset would show it
	ref                     string // raw JSON for CloudRebue, else as given
	callback                string
	refused                 string // why it alone was refused; empty: taken
	due                     time.Duration
	word                    word
	silent, lost, corrected bool
}

// message names one recipient of a batch.
type message struct {
	b *batch
	i int
}

func (m message) r() *recipient { return &m.b.recipients[m.i] }

// n is the number of the message's first id.
func (m message) n() uint64 { return m.b.first + uint64(m.i*max(m.b.parts, 1)) }

// phase is how far a message got.
type phase int

const (
	scheduled phase = iota
	pending
	sent
	final
)

func (m message) phase(now time.Duration) phase {
	r := m.r()
	switch {
	case now < m.b.sendAt:
		return scheduled
	case now < m.b.sendAt+(r.due-m.b.sendAt)/2:
		return pending
	case now < r.due || r.silent:
		return sent
	}
	return final
}

// outcome is the last word on a message once its phase is final.
func (m message) outcome() word {
	if m.r().corrected {
		return delivered
	}
	return m.r().word
}

// shelf keeps the batches of one API in the order they were taken, so that ids
// that count upwards find their message without an index.
type shelf struct {
	mu      sync.Mutex
	batches []*batch
	taken   uint64 // batches ever
	next    uint64 // message ids ever
}

func (s *shelf) add(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.index, b.first = s.taken, s.next
	s.taken++
	s.next += uint64(len(b.recipients) * max(b.parts, 1))
	s.batches = append(s.batches, b)
}

// find returns the message that id number n belongs to.
func (s *shelf) find(n uint64) (message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.batches), func(i int) bool { return s.batches[i].first > n }) - 1
	if i < 0 {
		return message{}, false
	}
	b := s.batches[i]
	k := (n - b.first) / uint64(max(b.parts, 1))
	if k >= uint64(len(b.recipients)) || b.recipients[k].refused != "" {
		return message{}, false
	}
	return message{b, int(k)}, true
}

func (s *shelf) batch(index uint64) (*batch, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := slices.BinarySearchFunc(s.batches, index, func(b *batch, x uint64) int {
		return cmp.Compare(b.index, x)
	})
	if !ok {
		return nil, false
	}
	return s.batches[i], true
}

func (s *shelf) all() []*batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

func (s *shelf) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = nil
}

// accept takes a batch: from here on its messages count as sent, whatever the
// client gets to see.
func (c *call) accept(sh *shelf, b *batch) {
	s := c.sim
	b.at, b.sendAt = c.at, max(b.sendAt, c.at)
	plans := make([]plan, len(b.recipients))
	for i := range b.recipients {
		r := &b.recipients[i]
		if r.refused != "" {
			continue
		}
		p := s.faults.report(c.typ, magic(r.number))
		if r.word == delivered { // else the gateway decided already
			r.word = p.word
		}
		r.silent, r.lost, r.corrected = p.silent, p.lost, p.corrected
		delay := s.faults.spread(s.opts.ReportDelay)
		if p.late > 0 {
			delay = p.late
		} else if p.slow {
			delay *= 10
		}
		r.due = b.sendAt + delay
		plans[i] = p
	}
	sh.add(b)
	s.ledger.accepted(c.entry, b)
	for i, p := range plans {
		m := message{b, i}
		if r := m.r(); r.refused != "" || r.silent || r.lost || c.gateway.callback(m) == "" {
			continue
		}
		c.plan(m, p)
	}
}

// plan queues the reports on one message.
func (c *call) plan(m message, p plan) {
	r, planned := m.r(), 1
	first := &dueReport{at: r.due, typ: c.typ, m: m, word: r.word}
	if p.twice {
		planned++
		c.sim.reports.add(&dueReport{at: r.due + max(c.sim.opts.ReportDelay, 0)/10, typ: c.typ, m: m, word: r.word})
	}
	if p.corrected {
		planned++
		first.then = &dueReport{typ: c.typ, m: m, word: delivered}
	}
	c.sim.ledger.report(c.typ, func(rc *ReportCounts) { rc.Planned += planned })
	if p.early {
		c.early = append(c.early, first)
	} else {
		c.sim.reports.add(first)
	}
}

// order lists which of n results the answer tells, and in what order, as faults
// leave some out or turn them round.
func (c *call) order(n int) []int {
	idx := make([]int, 0, n)
	for i := range n {
		if c.faults.missing == nil || !c.sim.faults.chance(share(c.faults.missing)) {
			idx = append(idx, i)
		}
	}
	if c.faults.reorder {
		slices.Reverse(idx)
	}
	return idx
}

// refusal says why number is refused by itself: by its magic or by a fault.
func (c *call) refusal(number uint64) string {
	if p := magic(number); p.refuse != "" {
		return p.refuse
	}
	if c.faults.partial != nil && c.sim.faults.chance(share(c.faults.partial)) {
		return refusedGateway
	}
	return ""
}

// digits reads a number of 8 to 15 digits, with or without its plus.
func digits(s string) (uint64, bool) {
	s = strings.TrimPrefix(s, "+")
	if len(s) < 8 || len(s) > 15 || s[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func plain(number uint64) string { return strconv.FormatUint(number, 10) }

func e164(number uint64) string { return "+" + plain(number) }

// uuid makes an id that looks random and whose last 12 digits are n, so that a
// look-up needs no index.
func uuid(kind string, seed, n uint64) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(kind))
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], seed)
	binary.BigEndian.PutUint64(b[8:], n)
	_, _ = h.Write(b[:])
	binary.BigEndian.PutUint64(b[:8], h.Sum64()*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(b[8:], n&(1<<48-1))
	b[6] = b[6]&0x0f | 0x40
	b[8], b[9] = b[0]&0x3f|0x80, b[1]
	x := hex.EncodeToString(b[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// number reads n back and proves the rest.
func number(kind string, seed uint64, id string) (uint64, bool) {
	if len(id) != 36 {
		return 0, false
	}
	n, err := strconv.ParseUint(id[24:], 16, 64)
	return n, err == nil && uuid(kind, seed, n) == id
}
