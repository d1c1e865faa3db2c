package idempotency

import "time"

// Fold is the state of every message as the journal tells it: a pure function of
// the records applied so far, in their order. Whoever applied the same records
// has the same state, whenever and in however many portions, with checkpoints
// (MarshalBinary) in between or without.
//
// What it promises, whatever the records are and whoever wrote them:
//   - At any time at most one intent holds a message.
//   - A message is won by at most one intent, and by one more each time it was
//     freed: by an outcome that says it was surely not sent, or by a release,
//     which happens once in a message's life.
//   - Nothing leaves Closed. An outcome never frees an unsettled message, and
//     never touches one that another intent has taken since.
//
// It does not know whether an intent's owner lives, nor what time it is: leases
// are counted by those who read the journal, who then say what they conclude in
// a record. Kinds of records that it does not know, and spans and runs that make
// no sense, are counted (Ignored) and otherwise passed over.
//
// A closed message costs next to nothing: a bit at worst where submissions have
// one recipient, 16 bytes at worst where they have many, usually a share of a
// range. A message that is taken, unsettled or released costs some 50 bytes and
// its span, and nothing beside its neighbour if both are in the same state.
//
// A Fold is not safe for concurrent use. It keeps the spans of the records that
// it is given: leave them unchanged.
type Fold struct {
	last    uint64
	ignored uint64

	books    map[origin]*book
	accounts map[string]*account
	intents  map[uint64]*intent // those that hold something
	oldest   *intent            // of those with taken messages, in journal order
	newest   *intent
	held     tally

	current map[string]submission // by supersede key
	clock   int64                 // the newest acceptance seen
	swept   int64                 // the clock when current was last swept

	pieces   []piece // buffers
	cells    []cell
	settling []*intent // those of which a close record took something
	lately   origin    // the book looked up last
	open     *book
}

type origin struct {
	stream string
	epoch  int64
}

type account struct {
	name   string
	paused bool
	sender string // the only owner whose intents count; empty: all
	held   tally
}

// shuts tells whether an owner's intents win nothing.
func (a *account) shuts(owner string) bool {
	return a.paused || a.sender != "" && a.sender != owner
}

// tally counts the messages that somebody holds.
type tally struct{ taken, unsettled int }

// intent is an intent that holds at least one message.
type intent struct {
	seq        uint64
	account    *account
	owner      string
	lease      time.Duration
	spans      []Span
	held       tally
	prev, next *intent // in the list of those with taken messages
}

// MessageState is what the journal knows of one message.
type MessageState struct {
	State State
	// Intent is the journal sequence of the intent that holds the message. Zero
	// unless Taken or Unsettled.
	Intent uint64
	// Released tells that the message has had its one release. Not kept once it
	// is Closed.
	Released bool
	// CloseStands is the reason of the close record that waits for the message to
	// be freed. Empty if there is none.
	CloseStands string
}

// OpenIntent is an intent that still holds messages.
type OpenIntent struct {
	Seq     uint64 // in the journal
	Account string
	Owner   string
	// Lease is how long others leave it alone after they have read it.
	Lease time.Duration
	Spans []Span // all of its messages, won or not; read only
	// Messages counts those that Spans names, Taken and Unsettled those that the
	// intent holds now. It is settled once Taken is 0, and forgotten once
	// Unsettled is too.
	Messages, Taken, Unsettled int
}

// NewFold is the state before the journal's first record.
func NewFold() *Fold {
	return &Fold{
		books:    map[origin]*book{},
		accounts: map[string]*account{},
		intents:  map[uint64]*intent{},
		current:  map[string]submission{},
	}
}

// Last is the journal sequence of the record applied last.
func (f *Fold) Last() uint64 { return f.last }

// Ignored counts the records of unknown kind and the malformed spans and runs.
func (f *Fold) Ignored() uint64 { return f.ignored }

// State is what is known of a message. One that no record named is Free.
func (f *Fold) State(k Key) MessageState {
	b := f.books[origin{k.Stream, k.Epoch}]
	if b == nil {
		return MessageState{}
	}
	l, no, at := b.position(k)
	v := l.get(no, at)
	s := MessageState{State: v.state, Released: v.released, CloseStands: v.reason}
	if v.by != nil {
		s.Intent = v.by.seq
	}
	return s
}

// Intent finds an intent that holds messages. One that is settled is still known
// while some of its messages are Unsettled, so that they can be looked up and
// reports matched.
func (f *Fold) Intent(seq uint64) (OpenIntent, bool) {
	in, ok := f.intents[seq]
	if !ok {
		return OpenIntent{}, false
	}
	return in.open(), true
}

// Open visits the intents that are not settled in journal order, until visit
// says false. It must not apply records meanwhile.
func (f *Fold) Open(visit func(OpenIntent) bool) {
	for in := f.oldest; in != nil; in = in.next {
		if !visit(in.open()) {
			return
		}
	}
}

// Taken is the number of messages that may be on their way right now: what
// would become uncertain if every owner died.
func (f *Fold) Taken() int { return f.held.taken }

// TakenBy is Taken for one account.
func (f *Fold) TakenBy(name string) int { return f.tally(name).taken }

// Unsettled is the number of messages of which nobody can tell if they were sent.
func (f *Fold) Unsettled() int { return f.held.unsettled }

// UnsettledBy is Unsettled for one account.
func (f *Fold) UnsettledBy(name string) int { return f.tally(name).unsettled }

// Paused tells whether an account's intents win nothing at present.
func (f *Fold) Paused(name string) bool {
	a := f.accounts[name]
	return a != nil && a.paused
}

// Sender is the only owner whose intents win anything for an account; empty if
// everybody's do.
func (f *Fold) Sender(name string) string {
	if a := f.accounts[name]; a != nil {
		return a.sender
	}
	return ""
}

// Forget says that the messages of a stream before a sequence are gone for good,
// and every copy of them too (in queues, in schedules). What is known of those
// that are free or closed is dropped: all count as closed from now on, and cost
// nothing together. The taken and the unsettled stay known.
//
// This is the one change that no record makes. As nothing asks for these messages
// any more, it makes no difference who has called it and who has not. Called too
// early, messages that wait elsewhere are taken for sent.
func (f *Fold) Forget(stream string, epoch int64, before uint64) {
	b := f.book(stream, epoch)
	f.cells = b.narrow.forget(before, f.cells)
	f.cells = b.wide.forget(before, f.cells)
}

func (in *intent) open() OpenIntent {
	o := OpenIntent{
		Seq: in.seq, Account: in.account.name, Owner: in.owner, Lease: in.lease, Spans: in.spans,
		Taken: in.held.taken, Unsettled: in.held.unsettled,
	}
	for _, s := range in.spans {
		o.Messages += s.Len()
	}
	return o
}

func (f *Fold) tally(name string) tally {
	if a := f.accounts[name]; a != nil {
		return a.held
	}
	return tally{}
}

func (f *Fold) account(name string) *account {
	a := f.accounts[name]
	if a == nil {
		a = &account{name: name}
		f.accounts[name] = a
	}
	return a
}

func (f *Fold) book(stream string, epoch int64) *book {
	o := origin{stream, epoch}
	if f.open != nil && f.lately == o {
		return f.open
	}
	b := f.books[o]
	if b == nil {
		b = newBook()
		f.books[o] = b
	}
	f.lately, f.open = o, b
	return b
}

// count moves n messages into or (n < 0) out of what their intent holds.
func (f *Fold) count(v value, n int) {
	if v.by == nil {
		return
	}
	for _, t := range []*tally{&f.held, &v.by.held, &v.by.account.held} {
		switch v.state {
		case Taken:
			t.taken += n
		case Unsettled:
			t.unsettled += n
		}
	}
}

// keep remembers an intent that won something.
func (f *Fold) keep(in *intent) {
	f.intents[in.seq] = in
	if in.prev = f.newest; in.prev == nil {
		f.oldest = in
	} else {
		in.prev.next = in
	}
	f.newest = in
}

// settleAll settles what a close record took something from.
func (f *Fold) settleAll() {
	for _, in := range f.settling {
		f.settle(in)
	}
	clear(f.settling)
	f.settling = f.settling[:0]
}

// settle drops an intent from what it no longer belongs to. Its messages never
// become taken again, so each step happens once.
func (f *Fold) settle(in *intent) {
	if in.held.taken == 0 && (in == f.oldest || in.prev != nil) {
		if in.prev == nil {
			f.oldest = in.next
		} else {
			in.prev.next = in.next
		}
		if in.next == nil {
			f.newest = in.prev
		} else {
			in.next.prev = in.prev
		}
		in.prev, in.next = nil, nil
	}
	if in.held == (tally{}) {
		delete(f.intents, in.seq)
	}
}
