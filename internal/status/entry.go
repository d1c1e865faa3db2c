package status

import (
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// entry is an envelope. Its id is the key of the map it lies in.
type entry struct {
	accepted int64 // Unix nanoseconds; 0: known from events alone
	seq      uint64
	trace    [16]byte
	records  []record // by index
	extra    *extra
	changed  uint32 // Unix seconds of the last change
	tenant   uint16
	origin   uint16
}

// newEntry makes an envelope with room for one message beside it: most have no
// more.
func newEntry(tenant uint16) *entry {
	e := &struct {
		entry
		first [1]record
	}{}
	e.tenant, e.records = tenant, e.first[:0]
	return &e.entry
}

// extra is what few envelopes have.
type extra struct {
	ref      string
	refs     map[int]string // of single messages
	replayOf string
	sendAt   int64 // Unix nanoseconds
	held     bool  // it lies where it waits for that
}

// record is a message. Its steps are shared with others of the same past; none
// means accepted.
type record struct {
	head       *step
	providerID string
	number     uint64
	account    uint16 // of the piece; a step's provider wins
	index      uint16
	segments   uint8
	attempts   uint8
	billed     bool // segments are what the provider's answer said of them
}

// step is one entry of a history, newest first. Steps are never changed.
type step struct {
	prev     *step
	at       int64 // Unix nanoseconds
	note     *note
	provider uint16
	status   code
}

// note is what an event said beside the status.
type note struct {
	detail         string
	err            *envelope.EventError
	cost, operator string
}

// describe notes what a piece says of its envelope.
func (e *entry) describe(s *Store, p *envelope.Piece, origin envelope.Origin) {
	e.accepted = p.AcceptedAt.UnixNano()
	e.touch(p.AcceptedAt)
	e.setTrace(p.Traceparent)
	if origin.Stream != "" && e.seq == 0 {
		e.origin, e.seq = s.names.originIndex(origin), origin.Seq
	}
	if p.Ref != "" {
		e.rare().ref = strings.Clone(p.Ref) // the piece's strings share its bytes
	}
	if p.ReplayOf != "" {
		e.rare().replayOf = strings.Clone(p.ReplayOf)
	}
	if p.SendAt != nil {
		e.rare().sendAt = p.SendAt.UnixNano()
		e.touch(*p.SendAt) // what waits is not forgotten before it was sent
	}
}

func (e *entry) touch(at time.Time) {
	e.changed = max(e.changed, uint32(min(max(at.Unix(), 0), math.MaxUint32)))
}

func (e *entry) rare() *extra {
	if e.extra == nil {
		e.extra = &extra{}
	}
	return e.extra
}

func (x *extra) setRef(index int, ref string) {
	if x.refs == nil {
		x.refs = map[int]string{}
	}
	x.refs[index] = ref
}

// ref returns a message's own reference, or the envelope's.
func (e *entry) ref(index uint16) string {
	if e.extra == nil {
		return ""
	}
	if ref, ok := e.extra.refs[int(index)]; ok {
		return ref
	}
	return e.extra.ref
}

// setTrace keeps the trace id of a W3C traceparent.
func (e *entry) setTrace(traceparent string) {
	if e.trace == [16]byte{} && len(traceparent) >= 35 {
		_, _ = hex.Decode(e.trace[:], []byte(traceparent[3:35])) // best effort: it is only shown
	}
}

// find returns the record with an index, or nil.
func (e *entry) find(index int) *record {
	if at, ok := e.place(index); ok {
		return &e.records[at]
	}
	return nil
}

// record returns the record with an index, made if it is not there.
func (e *entry) record(index int) *record {
	at, ok := e.place(index)
	if !ok {
		if at == len(e.records) && at == cap(e.records) {
			e.records = slices.Grow(e.records, max(8, at/4))
		}
		e.records = slices.Insert(e.records, at, record{index: uint16(index)})
	}
	return &e.records[at]
}

// place finds an index; in most envelopes it is where it says.
func (e *entry) place(index int) (int, bool) {
	if index < len(e.records) && int(e.records[index].index) == index {
		return index, true
	}
	if n := len(e.records); n == 0 || int(e.records[n-1].index) < index {
		return n, false
	}
	return slices.BinarySearchFunc(e.records, index, func(r record, i int) int { return int(r.index) - i })
}

// status is a message's. The event that says that it waits for its send time may be
// forgotten before that comes.
func (e *entry) status(r *record) envelope.Status {
	if r.head == nil && e.extra != nil && e.extra.held {
		return envelope.Scheduled
	}
	return r.status()
}

func (r *record) status() envelope.Status {
	if r.head == nil {
		return envelope.Accepted
	}
	return statuses[r.head.status]
}

// code is a status in a byte.
type code uint8

var statuses = [...]envelope.Status{
	envelope.Accepted, envelope.Scheduled, envelope.Submitted, envelope.Uncertain, envelope.Delivered,
	envelope.Undelivered, envelope.Rejected, envelope.Failed, envelope.Expired, envelope.Canceled,
}

func codeOf(s envelope.Status) (code, bool) {
	i := slices.Index(statuses[:], s)
	return code(i), i >= 0
}

// packNumber keeps the at most 15 digits of an E.164 number in a word.
func packNumber(to string) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(to, "+"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func unpackNumber(n uint64) string {
	if n == 0 {
		return ""
	}
	return "+" + strconv.FormatUint(n, 10)
}

func clamp8(n int) uint8 { return uint8(min(max(n, 0), math.MaxUint8)) }
