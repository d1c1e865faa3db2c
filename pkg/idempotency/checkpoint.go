package idempotency

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
)

// A checkpoint begins with these bytes, the last of them its version, and ends
// with a CRC-32C of all before it.
const checkpointHeader = "tumafold\x01"

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// MarshalBinary writes the whole state, so that a start need not read the journal
// from its beginning. Equal states give equal bytes. It takes a few bytes for
// each range, and for each intent that holds messages its spans. The error is
// always nil.
func (f *Fold) MarshalBinary() ([]byte, error) {
	w := writer{out: []byte(checkpointHeader), known: map[string]uint64{}}
	w.uint(f.last, f.ignored)
	w.int(f.clock, f.swept)
	w.accounts(f.accounts)
	w.intents(f.intents)
	w.submissions(f.current)
	w.books(f.books)
	return binary.BigEndian.AppendUint32(w.out, checksum(w.out)), nil
}

type writer struct {
	out   []byte
	known map[string]uint64
}

func (w *writer) uint(values ...uint64) {
	for _, v := range values {
		w.out = binary.AppendUvarint(w.out, v)
	}
}

func (w *writer) int(values ...int64) {
	for _, v := range values {
		w.out = binary.AppendVarint(w.out, v)
	}
}

func (w *writer) bytes(s string) {
	w.uint(uint64(len(s)))
	w.out = append(w.out, s...)
}

// name writes a string that comes again and again: in full once, then its number.
func (w *writer) name(s string) {
	n, ok := w.known[s]
	w.uint(n)
	if !ok {
		w.known[s] = uint64(len(w.known)) + 1
		w.bytes(s)
	}
}

func (w *writer) spans(spans []Span) {
	w.uint(uint64(len(spans)))
	for _, s := range spans {
		w.name(s.Stream)
		w.int(s.Epoch)
		w.uint(s.Seq, uint64(s.Run), uint64(s.First), uint64(s.End), s.At)
	}
}

func (w *writer) accounts(accounts map[string]*account) {
	var special []string
	for name, a := range accounts {
		if a.paused || a.sender != "" {
			special = append(special, name)
		}
	}
	slices.Sort(special)
	w.uint(uint64(len(special)))
	for _, name := range special {
		a := accounts[name]
		w.name(name)
		w.name(a.sender)
		w.flag(a.paused)
	}
}

func (w *writer) flag(v bool) {
	if v {
		w.uint(1)
	} else {
		w.uint(0)
	}
}

func (w *writer) intents(intents map[uint64]*intent) {
	w.uint(uint64(len(intents)))
	for _, seq := range slices.Sorted(maps.Keys(intents)) {
		in := intents[seq]
		w.uint(seq)
		w.name(in.account.name)
		w.name(in.owner)
		w.int(int64(in.lease))
		w.spans(in.spans)
	}
}

func (w *writer) submissions(current map[string]submission) {
	w.uint(uint64(len(current)))
	for _, key := range slices.Sorted(maps.Keys(current)) {
		s := current[key]
		w.bytes(key)
		w.bytes(s.id)
		w.int(s.at, s.until)
		w.spans(s.spans)
	}
}

func (w *writer) books(books map[origin]*book) {
	origins := make([]origin, 0, len(books))
	for o, b := range books {
		if !b.narrow.empty() || !b.wide.empty() {
			origins = append(origins, o)
		}
	}
	slices.SortFunc(origins, func(a, b origin) int {
		if c := strings.Compare(a.stream, b.stream); c != 0 || a.epoch == b.epoch {
			return c
		} else if a.epoch < b.epoch {
			return -1
		}
		return 1
	})
	w.uint(uint64(len(origins)))
	for _, o := range origins {
		w.name(o.stream)
		w.int(o.epoch)
		w.lane(&books[o].narrow)
		w.lane(&books[o].wide)
	}
}

func (l *lane) empty() bool { return len(l.segments) == 0 && l.full.count == 0 }

func (w *writer) lane(l *lane) {
	w.set(&l.full)
	w.uint(uint64(len(l.segments)))
	for _, no := range slices.Sorted(maps.Keys(l.segments)) {
		s := l.segments[no]
		w.uint(no)
		w.set(&s.closed)
		w.uint(uint64(len(s.live)))
		for last, i := uint64(0), 0; i < len(s.live); i++ {
			last = w.cell(last, s.live[i])
		}
	}
}

// A cell's first byte: its state in the low two bits, and these.
const (
	cellReleased = 1 << 2
	cellReason   = 1 << 3
)

func (w *writer) cell(last uint64, c cell) uint64 {
	flags := uint64(c.state)
	if c.released {
		flags |= cellReleased
	}
	if c.reason != "" {
		flags |= cellReason
	}
	w.uint(flags, c.lo-last, c.hi-c.lo)
	if c.by != nil {
		w.uint(c.by.seq)
	}
	if c.reason != "" {
		w.name(c.reason)
	}
	return c.hi
}

// set writes intervals, or the bitmap if there are as many as make one, however
// the set is kept.
func (w *writer) set(s *set) {
	n := 0
	s.each(func(interval) { n++ })
	w.uint(uint64(n))
	if s.size <= denseSize && n > denseRuns {
		for _, word := range s.bits {
			w.out = binary.LittleEndian.AppendUint64(w.out, word)
		}
		return
	}
	last := uint64(0)
	s.each(func(r interval) {
		w.uint(r.lo-last, r.hi-r.lo)
		last = r.hi
	})
}
