package idempotency

import (
	"slices"
	"sort"
)

// A book holds what is known of one origin stream. Messages with index 0 and
// the others are kept apart: the former lie side by side where submissions have
// one recipient, the latter where they have many, and so both fold into ranges.
type book struct {
	narrow lane // position: sequence
	wide   lane // position: sequence and index
}

// A lane is cut into segments of 65,536 submissions. Positions count within
// their segment: the low 16 bits of the sequence, in the wide lane those and
// then the index. Segments that are closed throughout are just numbers.
type lane struct {
	shift    uint // bits of a position behind the sequence's
	segments map[uint64]*segment
	full     set
}

const (
	segmentBits = 16
	indexBits   = 32
	maxSegment  = 1 << (64 - segmentBits)
)

func newLane(shift uint) lane {
	return lane{shift: shift, segments: map[uint64]*segment{}, full: set{size: maxSegment}}
}

func newBook() *book { return &book{narrow: newLane(0), wide: newLane(indexBits)} }

// locate splits a sequence into its segment's number and its place there.
func locate(seq uint64) (no, off uint64) { return seq >> segmentBits, seq & (1<<segmentBits - 1) }

// position finds where a key is kept.
func (b *book) position(k Key) (l *lane, no, at uint64) {
	no, at = locate(k.Seq)
	if k.Index == 0 {
		return &b.narrow, no, at
	}
	return &b.wide, no, at<<indexBits | uint64(k.Index)
}

// value is what is known of a message. The zero value is a free message of
// which nothing is known.
type value struct {
	by       *intent // Taken, Unsettled
	reason   string  // Taken, Unsettled: the close record that stands
	state    State
	released bool
}

// cell is a value that neighbouring messages share.
type cell struct {
	lo, hi uint64
	value
}

// A segment holds the closed messages, which cost next to nothing, and the
// living: taken, unsettled, or free for the last time.
type segment struct {
	live   []cell // sorted, disjoint from one another and from closed
	closed set
}

// piece is a stretch of a segment that a record names.
type piece struct {
	lo, hi uint64
	at     uint64 // the record's position of lo
	to     State  // an outcome's verdict
}

// verdict gives the new value for n messages that share one, from the record's
// position at on. Whatever it says, a closed message stays closed.
type verdict func(p piece, at, n uint64, v value) value

// update asks for the new values of all messages in the pieces, which are
// sorted and disjoint. The cells they touch are rebuilt in the buffer and put
// back in one move, so that a record's cost does not multiply with the
// segment's. The buffer is given back for the next time.
func (l *lane) update(no uint64, pieces []piece, buffer []cell, do verdict) []cell {
	if l.full.has(no) {
		for _, p := range pieces {
			do(p, p.at, p.hi-p.lo, value{state: Closed})
		}
		return buffer
	}
	s := l.segments[no]
	if s == nil {
		s = &segment{closed: set{size: 1 << (segmentBits + l.shift)}}
		l.segments[no] = s
	}
	buffer = s.update(pieces, buffer[:0], do)
	switch {
	case s.closed.full():
		l.full.add(no, no+1)
		delete(l.segments, no)
	case s.closed.count == 0 && len(s.live) == 0:
		delete(l.segments, no)
	}
	return buffer
}

func (s *segment) update(pieces []piece, out []cell, do verdict) []cell {
	// A left neighbour that only touches comes along, in case it can be extended.
	from := sort.Search(len(s.live), func(i int) bool { return s.live[i].hi >= pieces[0].lo })
	k := from // the first cell not yet dealt with
	for _, p := range pieces {
		for ; k < len(s.live) && s.live[k].hi <= p.lo; k++ {
			out = push(out, s.live[k])
		}
		if k < len(s.live) && s.live[k].lo < p.lo {
			out = push(out, cell{s.live[k].lo, p.lo, s.live[k].value})
			s.live[k].lo = p.lo
		}
		for lo := p.lo; lo < p.hi; {
			hi, v := s.stretch(k, lo, p.hi)
			if k < len(s.live) && s.live[k].lo == lo {
				if s.live[k].lo = hi; hi == s.live[k].hi {
					k++
				}
			}
			next := do(p, p.at+lo-p.lo, hi-lo, v)
			switch {
			case v.state == Closed:
			case next.state == Closed:
				s.closed.add(lo, hi)
			case next != value{}:
				out = push(out, cell{lo, hi, next})
			}
			lo = hi
		}
	}
	if k < len(s.live) && len(out) > 0 && out[len(out)-1].hi == s.live[k].lo {
		out = push(out, s.live[k])
		k++
	}
	s.live = slices.Replace(s.live, from, k, out...)
	switch n := len(s.live); {
	case n == 0:
		s.live = nil
	case cap(s.live) > 4*n+64: // a wave of scattered messages has passed
		s.live = slices.Clone(s.live)
	}
	return out
}

// stretch finds how far from lo on, up to hi, one value reaches. Cell k is the
// first that does not end before lo.
func (s *segment) stretch(k int, lo, hi uint64) (uint64, value) {
	if k < len(s.live) {
		if c := s.live[k]; c.lo <= lo {
			return min(hi, c.hi), c.value
		}
		hi = min(hi, s.live[k].lo)
	}
	end, closed := s.closed.uniform(lo, hi)
	if closed {
		return end, value{state: Closed}
	}
	return end, value{}
}

// push appends a cell, as part of the last one if it continues it.
func push(cells []cell, c cell) []cell {
	if n := len(cells); n > 0 && cells[n-1].hi == c.lo && cells[n-1].value == c.value {
		cells[n-1].hi = c.hi
		return cells
	}
	return append(cells, c)
}

// get is the value of one message.
func (l *lane) get(no, at uint64) value {
	s := l.segments[no]
	if s == nil {
		if l.full.has(no) {
			return value{state: Closed}
		}
		return value{}
	}
	k := sort.Search(len(s.live), func(i int) bool { return s.live[i].hi > at })
	_, v := s.stretch(k, at, at+1)
	return v
}

// forget closes what is free of the submissions before a sequence, so that
// nothing is left of them but one range, and what is still open.
func (l *lane) forget(before uint64, buffer []cell) []cell {
	closing := func(_ piece, _, _ uint64, v value) value {
		if v.state == Free {
			v = value{state: Closed}
		}
		return v
	}
	last, off := locate(before)
	left := []uint64{last}
	for no, s := range l.segments {
		if no >= last {
			continue
		}
		buffer = l.update(no, []piece{{hi: s.closed.size}}, buffer, closing)
		if !l.full.has(no) {
			left = append(left, no)
		}
	}
	slices.Sort(left)
	next := uint64(0)
	for _, no := range left {
		l.full.complete(next, no)
		next = no + 1
	}
	if off > 0 {
		buffer = l.update(last, []piece{{hi: off << l.shift}}, buffer, closing)
	}
	return buffer
}
