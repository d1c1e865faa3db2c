package idempotency

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrCheckpoint is wrapped by the errors of UnmarshalBinary: the bytes are not a
// checkpoint, one of another version, or a damaged one. The journal is to be read
// from its beginning instead.
var ErrCheckpoint = errors.New("idempotency: not a usable checkpoint")

// UnmarshalBinary takes on the state that MarshalBinary wrote, as if it had
// applied the same records itself. On an error, which wraps ErrCheckpoint, the
// fold is as it was.
func (f *Fold) UnmarshalBinary(data []byte) error {
	n := len(data) - 4
	switch {
	case n < len(checkpointHeader):
		return fmt.Errorf("%w: %d bytes", ErrCheckpoint, len(data))
	case string(data[:len(checkpointHeader)]) != checkpointHeader:
		return fmt.Errorf("%w: unknown format or version", ErrCheckpoint)
	case binary.BigEndian.Uint32(data[n:]) != checksum(data[:n]):
		return fmt.Errorf("%w: checksum does not fit", ErrCheckpoint)
	}
	r := reader{in: data[len(checkpointHeader):n], fold: NewFold()}
	r.read()
	if r.err == nil && len(r.in) > 0 {
		r.fail("bytes left over")
	}
	if r.err != nil {
		return r.err
	}
	*f = *r.fold
	return nil
}

// reader reads until something does not fit. From then on it reads zeros, which
// end every loop.
type reader struct {
	in    []byte
	fold  *Fold
	names []string
	err   error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCheckpoint, what)
	}
	r.in = nil
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.in)
	if n <= 0 {
		r.fail("cut short")
		return 0
	}
	r.in = r.in[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.in)
	if n <= 0 {
		r.fail("cut short")
		return 0
	}
	r.in = r.in[n:]
	return v
}

// below reads a number that must not exceed most.
func (r *reader) below(most uint64, what string) uint64 {
	v := r.uint()
	if v > most {
		r.fail(what)
		return 0
	}
	return v
}

// len reads how many follow, of what takes at least a byte each.
func (r *reader) len() int { return int(r.below(uint64(len(r.in)), "more than there is")) }

func (r *reader) bytes() string {
	n := r.len()
	if n > len(r.in) {
		r.fail("cut short")
		return ""
	}
	s := string(r.in[:n])
	r.in = r.in[n:]
	return s
}

func (r *reader) name() string {
	n := r.below(uint64(len(r.names)), "unknown name")
	if n > 0 {
		return r.names[n-1]
	}
	s := r.bytes()
	if r.err == nil {
		r.names = append(r.names, s)
	}
	return s
}

func (r *reader) spans() []Span {
	var spans []Span
	for range r.len() {
		s := Span{Stream: r.name(), Epoch: r.int(), Seq: r.uint()}
		s.Run, s.First, s.End, s.At = r.uint32(), r.uint32(), r.uint32(), r.uint()
		spans = append(spans, s)
		if s.Len() == 0 {
			r.fail("malformed span")
		}
		if r.err != nil {
			return nil
		}
	}
	return spans
}

func (r *reader) uint32() uint32 { return uint32(r.below(1<<32-1, "number too large")) }

func (r *reader) read() {
	f := r.fold
	f.last, f.ignored = r.uint(), r.uint()
	f.clock, f.swept = r.int(), r.int()
	for range r.len() {
		a := f.account(r.name())
		a.sender = r.name()
		a.paused = r.below(1, "neither true nor false") == 1
	}
	r.intents()
	for range r.len() {
		key := r.bytes()
		f.current[key] = submission{id: r.bytes(), at: r.int(), until: r.int(), spans: r.spans()}
	}
	for range r.len() {
		b := f.book(r.name(), r.int())
		r.lane(&b.narrow)
		r.lane(&b.wide)
		if r.err != nil {
			return
		}
	}
	for _, in := range f.intents {
		if in.held == (tally{}) {
			r.fail("an intent that holds nothing")
		}
		f.settle(in)
	}
}

func (r *reader) intents() {
	f := r.fold
	for range r.len() {
		in := &intent{seq: r.uint(), account: f.account(r.name()), owner: r.name(), lease: time.Duration(r.int()), spans: r.spans()}
		if in.seq > f.last || f.newest != nil && in.seq <= f.newest.seq {
			r.fail("intents out of order")
		}
		if r.err != nil {
			return
		}
		f.keep(in)
	}
}

func (r *reader) lane(l *lane) {
	r.set(&l.full)
	for range r.len() {
		no := r.below(maxSegment-1, "segment out of range")
		s := &segment{closed: set{size: 1 << (segmentBits + l.shift)}}
		r.set(&s.closed)
		for range r.len() {
			r.cell(s)
		}
		if l.segments[no] != nil || l.full.has(no) || s.closed.full() || s.closed.count == 0 && len(s.live) == 0 {
			r.fail("segment that cannot be")
		}
		if r.err != nil {
			return
		}
		l.segments[no] = s
	}
}

func (r *reader) cell(s *segment) {
	flags := r.below(uint64(Closed)|cellReleased|cellReason, "unknown flags")
	c := r.interval(s.end(), s.closed.size)
	v := value{state: State(flags & 3), released: flags&cellReleased != 0}
	if v.state == Taken || v.state == Unsettled {
		if v.by = r.fold.intents[r.uint()]; v.by == nil {
			r.fail("unknown intent")
		}
		if flags&cellReason != 0 {
			if v.reason = r.name(); v.reason == "" {
				r.fail("empty reason")
			}
		}
	} else if v.state == Closed || !v.released || flags&cellReason != 0 {
		r.fail("state that cannot be")
	}
	if r.err != nil {
		return
	}
	if end, in := s.closed.uniform(c.lo, c.hi); in || end < c.hi {
		r.fail("closed and alive")
		return
	}
	s.live = push(s.live, cell{c.lo, c.hi, v})
	r.fold.count(v, int(c.hi-c.lo))
}

func (s *segment) end() uint64 {
	if n := len(s.live); n > 0 {
		return s.live[n-1].hi
	}
	return 0
}

// interval reads one that lies between two positions.
func (r *reader) interval(from, to uint64) interval {
	lo := from + r.below(to-from, "interval out of range")
	n := r.below(to-lo, "interval out of range")
	if n == 0 {
		r.fail("empty interval")
	}
	return interval{lo, lo + n}
}

func (r *reader) set(s *set) {
	n := r.uint()
	if s.size <= denseSize && n > denseRuns {
		r.bits(s, n)
		return
	}
	if n > uint64(len(r.in)) {
		r.fail("more than there is")
	}
	for range n {
		last := uint64(0)
		if k := len(s.runs); k > 0 {
			last = s.runs[k-1].hi
		}
		x := r.interval(last, s.size)
		if x.lo == last && last > 0 {
			r.fail("intervals that touch")
		}
		if r.err != nil {
			return
		}
		s.add(x.lo, x.hi)
	}
}

func (r *reader) bits(s *set, n uint64) {
	if len(r.in) < denseSize/8 {
		r.fail("cut short")
		return
	}
	dense := set{size: denseSize, bits: new(bitmap)}
	for i := range dense.bits {
		dense.bits[i] = binary.LittleEndian.Uint64(r.in[8*i:])
	}
	r.in = r.in[denseSize/8:]
	dense.each(func(x interval) { n--; dense.count += x.hi - x.lo })
	if n != 0 {
		r.fail("bits that do not add up")
	}
	*s = dense
}
