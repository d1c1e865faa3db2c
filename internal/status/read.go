package status

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Message is the answer to GET /v1/messages/{id}.
type Message struct {
	ID                string               `json:"id"`
	EnvelopeID        string               `json:"envelope_id"`
	To                string               `json:"to"`
	Status            envelope.Status      `json:"status"`
	Provider          string               `json:"provider"`
	ProviderMessageID string               `json:"provider_message_id"`
	Segments          int                  `json:"segments"`
	Attempts          int                  `json:"attempts"`
	Cost              string               `json:"cost,omitempty"`     // as the provider tells it, with its unit
	Operator          string               `json:"operator,omitempty"` // as the provider names it
	Error             *envelope.EventError `json:"error"`
	Ref               string               `json:"ref"`
	History           []Step               `json:"history"` // oldest first
	Waiting           *Waiting             `json:"waiting"`
	TraceID           string               `json:"trace_id"`
	ReplayOf          string               `json:"replay_of,omitempty"`
}

// Step is one entry of a message's history.
type Step struct {
	Status   envelope.Status `json:"status"`
	Time     time.Time       `json:"time"`
	Provider string          `json:"provider"`
	Detail   string          `json:"detail"`
}

// Waiting says why a message is not sent yet. The Store knows "schedule" and
// "queue"; who knows better (paused, breaker, rate, balance) writes it over.
type Waiting struct {
	Reason string     `json:"reason"`
	Until  *time.Time `json:"until"`
}

// Envelope is the answer to GET /v1/envelopes/{id}.
type Envelope struct {
	ID         string                  `json:"id"`
	AcceptedAt time.Time               `json:"accepted_at"`
	Ref        string                  `json:"ref,omitempty"`
	Messages   int                     `json:"messages"`
	Counts     map[envelope.Status]int `json:"counts"` // only statuses that occur
	TraceID    string                  `json:"trace_id"`
}

// MaxPage is the most messages of one page, and the size of one if none is asked.
const (
	MaxPage     = 1000
	defaultPage = 100
)

// Message returns a message of a tenant; another's is not found.
func (s *Store) Message(tenant, id string) (Message, bool) {
	envelopeID, index, ok := envelope.SplitMessageID(id)
	if !ok {
		return Message{}, false
	}
	var m Message
	found := false
	s.read(tenant, envelopeID, func(e *entry) {
		if r := e.find(index); r != nil {
			m, found = s.message(envelopeID, e, r), true
		}
	})
	return m, found
}

// Envelope returns an envelope of a tenant; another's is not found.
func (s *Store) Envelope(tenant, id string) (Envelope, bool) {
	out := Envelope{ID: id, Counts: map[envelope.Status]int{}}
	found := s.read(tenant, id, func(e *entry) {
		out.AcceptedAt, out.TraceID, out.Messages = nanos(e.accepted), e.traceID(), len(e.records)
		if e.extra != nil {
			out.Ref = e.extra.ref
		}
		var n [len(statuses)]int
		for i := range e.records {
			at, _ := codeOf(e.status(&e.records[i]))
			n[at]++
		}
		for i, count := range n {
			if count > 0 {
				out.Counts[statuses[i]] = count
			}
		}
	})
	return out, found
}

// IsCursor reports whether c can be a cursor of Messages.
func IsCursor(c string) bool {
	n, err := strconv.Atoi(c)
	return err == nil && n >= 0
}

// Messages returns a page of an envelope's messages in their order, all or
// those of one status, and the cursor of the next page, empty after the last.
// ok is false if the tenant has no such envelope or the cursor is none of ours.
func (s *Store) Messages(tenant, envelopeID string, filter envelope.Status, cursor string, limit int) (page []Message, next string, ok bool) {
	from := 0
	if cursor != "" {
		if !IsCursor(cursor) {
			return nil, "", false
		}
		from, _ = strconv.Atoi(cursor)
	}
	if limit <= 0 {
		limit = defaultPage
	}
	limit = min(limit, MaxPage)
	page = []Message{}
	ok = s.read(tenant, envelopeID, func(e *entry) {
		at, _ := e.place(from)
		for ; at < len(e.records); at++ {
			r := &e.records[at]
			if filter != "" && e.status(r) != filter {
				continue
			}
			if len(page) == limit {
				next = strconv.Itoa(int(r.index))
				return
			}
			page = append(page, s.message(envelopeID, e, r))
		}
	})
	return page, next, ok
}

// Origin returns where an envelope was first stored and the indices of its
// messages, which together are their identity in the journal. ok is false as
// long as none of its pieces was read.
func (s *Store) Origin(tenant, envelopeID string) (o envelope.Origin, indices []int, ok bool) {
	s.read(tenant, envelopeID, func(e *entry) {
		if e.seq == 0 {
			return
		}
		o, ok = s.names.originAt(e.origin, e.seq), true
		for i := range e.records {
			indices = append(indices, int(e.records[i].index))
		}
	})
	return o, indices, ok
}

// StoredAt returns the envelope of a tenant that was first stored at a place, and
// when it was accepted. It looks at every envelope: it is for what is rare.
func (s *Store) StoredAt(tenant string, o envelope.Origin) (id string, acceptedAt time.Time, ok bool) {
	origin, owner := s.names.originIndex(o), s.names.index(tenant)
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.each(func(name func() string, e *entry) {
			if e.seq == o.Seq && e.origin == origin && e.tenant == owner {
				id, acceptedAt, ok = name(), time.Unix(0, e.accepted), true
			}
		})
		sh.mu.Unlock()
		if ok {
			break
		}
	}
	return id, acceptedAt, ok
}

// read calls fn with a tenant's envelope while it is locked.
func (s *Store) read(tenant, id string, fn func(*entry)) bool {
	sh := s.shard(id)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(id)
	if e == nil || s.names.name(e.tenant) != tenant || e.old(s.o.Now(), s.o.Keep+grace) {
		return false
	}
	fn(e)
	return true
}

func (s *Store) message(envelopeID string, e *entry, r *record) Message {
	m := Message{
		ID: envelope.MessageID(envelopeID, int(r.index)), EnvelopeID: envelopeID, To: unpackNumber(r.number),
		Status: e.status(r), Provider: s.names.name(r.account), ProviderMessageID: r.providerID,
		Segments: int(r.segments), Attempts: int(r.attempts), Ref: e.ref(r.index), TraceID: e.traceID(),
		History: s.history(e, r),
	}
	if h := r.head; h != nil {
		if h.provider != 0 {
			m.Provider = s.names.name(h.provider)
		}
		m.Error = h.why()
		m.Cost, m.Operator = h.bill()
	}
	if x := e.extra; x != nil {
		m.ReplayOf = x.replayOf
	}
	m.Waiting = e.waiting(m.Status)
	return m
}

func (s *Store) history(e *entry, r *record) []Step {
	var out []Step
	for h := r.head; h != nil; h = h.prev {
		step := Step{Status: statuses[h.status], Time: nanos(h.at), Provider: s.names.name(h.provider)}
		if h.note != nil {
			step.Detail = h.note.text()
		}
		out = append(out, step)
	}
	if r.head == nil && e.status(r) == envelope.Scheduled {
		out = append(out, Step{Status: envelope.Scheduled, Time: nanos(e.accepted)})
	}
	if e.accepted != 0 {
		out = append(out, Step{Status: envelope.Accepted, Time: nanos(e.accepted)})
	}
	slices.Reverse(out)
	return out
}

// why is the error that came with the status, below the remarks on it.
func (s *step) why() *envelope.EventError {
	for ; s.note != nil; s = s.prev {
		if s.note.err != nil || !strings.HasPrefix(s.note.detail, envelope.Remark) || s.prev == nil || s.prev.status != s.status {
			return s.note.err
		}
	}
	return nil
}

// bill is what the newest step that knows says of price and network.
func (s *step) bill() (cost, operator string) {
	for ; s != nil; s = s.prev {
		if s.note != nil && (s.note.cost != "" || s.note.operator != "") {
			return s.note.cost, s.note.operator
		}
	}
	return "", ""
}

// text is the one line of a note: what we say, else what the provider said.
func (n *note) text() string {
	switch {
	case n.detail != "" || n.err == nil:
		return n.detail
	case n.err.Detail != "":
		return n.err.Detail
	case n.err.ProviderCode != "":
		return n.err.ProviderCode
	}
	return n.err.Code
}

func (e *entry) waiting(s envelope.Status) *Waiting {
	switch s {
	case envelope.Scheduled:
		w := &Waiting{Reason: "schedule"}
		if e.extra != nil && e.extra.sendAt != 0 {
			at := nanos(e.extra.sendAt)
			w.Until = &at
		}
		return w
	case envelope.Accepted:
		return &Waiting{Reason: "queue"}
	}
	return nil
}

func (e *entry) traceID() string {
	if e.trace == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(e.trace[:])
}

func nanos(n int64) time.Time { return time.Unix(0, n).UTC() }
