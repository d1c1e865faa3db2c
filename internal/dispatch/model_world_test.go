package dispatch

import (
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// The model plays dispatchers, an ingest, a collector, the queues of two accounts,
// the delay stream, Redis's slots, a gateway and the journal, step by step on one
// thread in virtual time. The fold, the verdict table, the policy and the rules of
// the lease are the real ones; the rest is what the code around them does, without
// goroutines. A schedule is a list of steps; one that cannot be taken does nothing,
// so that any part of a schedule is a schedule (see model_shrink_test.go).
//
// The fold is pure, so one is enough: a process knows what it had said at the
// place that the process's tail has reached.

// ms is virtual time, in milliseconds.
type ms = int64

const (
	mostMessages    = 4
	mostDispatchers = 3
	atOnce          = 2 // requests in flight of one dispatcher

	reqTimeout = ms(3000)
	window     = ms(1000) // the limit: one request in it, for each account
	spacing    = ms(1020) // slots: window and jitter
	maxLate    = ms(10)
	ahead      = ms(100) // how far slots are leased ahead
	hold       = ms(2000) + window + ahead
	leaseMs    = reqTimeout + ms(graceAfter/time.Millisecond)
	ackWait    = ms(15_000)
	nakFor     = ms(1000)
	retelling  = ms(10_000) // what is not told by then is told by others
)

// breaks takes protections out, one at a time, to see that the judge sees.
type breaks struct {
	noFence      bool // the last byte leaves whenever it comes to it
	ackFirst     bool // the piece is acked once the request has left
	noOwnTail    bool // the intent's own coming back is not waited for
	noQuarantine bool // slots are handed out at once by a Redis that lost its memory, or in a new mode
	resendOnEOF  bool // a request that ended without an answer is made again
	noLease      bool // others' messages are called uncertain at once
	noRegime     bool // a slot of a mode that has ended since is used
	noProof      bool // a report on the first attempt does not stop the second
	forgetTold   bool // what a process closed and did not tell, nobody tells
}

// message is one of the world's messages, and what the judge knows of it.
type message struct {
	piece   envelope.Piece // its policy, for retries
	key     idempotency.PlacedKey
	expires ms
	stored  bool // acknowledged to its client

	sent     int // whole requests with it that the gateway took
	releases int
	unsure   bool // was uncertain once
	canceled bool // a DELETE counted it
	told     map[envelope.Status]bool
	letters  int
}

// state is what the fold says of everything at one place of the journal.
type state struct {
	of     [mostMessages]idempotency.MessageState
	sender [2]string
}

// entry is one record of the journal, from the attempt to append it on.
type entry struct {
	idempotency.Record
	seq      int // 0: not stored
	at       ms  // when it was stored
	owner    string
	from     int // the process that wrote it
	dropped  bool
	orphan   bool
	effect   idempotency.Effect
	toldOut  bool
	messages []int // in the order of the spans
}

// copyOf a piece in an account's queue.
type queued struct {
	account int
	msgs    uint8
	retryOf uint64
	held    bool // handed out
	until   ms   // handed out: when it comes again; else: not before
	acked   bool
}

type due struct {
	at ms
	queued
}

type report struct {
	msg     int
	account int
	intent  uint64
}

type world struct {
	broken breaks
	shape  shape
	now    ms
	fold   *idempotency.Fold
	log    []*entry // stored, in order; log[i] has sequence i+1
	after  []state  // after[i]: with i records folded
	open   []*entry // appended, on their way

	msgs    []message
	queue   []queued
	delayed []due
	procs   []process // dispatchers, then the ingest, then the collector

	redisUp   bool
	redisNext [2]ms
	redisFrom ms
	lastPost  [2]ms
	reports   []report

	fault string // what the judge found
	trace []string
	trail bool // keep the trace
	names [2]string
}

// shape is what a world begins with.
type shape struct {
	seed        uint64
	dispatchers int
	messages    int
	together    bool  // one submission with several recipients
	retry       uint8 // messages whose policy is retry
	short       uint8 // messages that expire soon
	supersede   bool  // the second message supersedes the first
	alone       bool  // Redis is away, and the first dispatcher sends alone
	tried       bool  // the first message was sent, by a process that died, and comes for its second try
}

func newWorld(s shape, b breaks) *world {
	w := &world{
		broken: b, shape: s, fold: idempotency.NewFold(), redisUp: true, lastPost: [2]ms{-1e9, -1e9}, names: [2]string{"a", "b"},
		log: make([]*entry, 0, 32), after: make([]state, 1, 33), now: 1_000_000,
	}
	w.msgs = make([]message, s.messages)
	for i := range w.msgs {
		m := &w.msgs[i]
		m.told = make(map[envelope.Status]bool, 4)
		m.key = idempotency.PlacedKey{Key: idempotency.Key{Stream: "Q", Epoch: 1, Seq: uint64(i + 1)}}
		if s.together {
			m.key.Seq, m.key.Index = 1, uint32(i)
		}
		m.piece.OnUncertain = envelope.Hold
		if s.retry>>i&1 == 1 {
			m.piece.OnUncertain = envelope.Retry
		}
		m.expires = w.now + 3_600_000
		if s.short>>i&1 == 1 {
			m.expires = w.now + 7000
		}
	}
	w.procs = make([]process, s.dispatchers+2)
	for i := range w.procs {
		w.procs[i] = process{w: w, no: i, others: -1e9}
		w.procs[i].start()
	}
	if s.alone {
		w.redisUp = false
		first := &w.procs[0]
		first.append(idempotency.Record{Kind: idempotency.Sender, Account: "a", Sender: first.owner}, nil, 0)
		for i := range w.procs {
			w.procs[i].read()
		}
		w.now += 2 * hold
	}
	return w
}

func (w *world) ingest() *process    { return &w.procs[w.shape.dispatchers] }
func (w *world) collector() *process { return &w.procs[w.shape.dispatchers+1] }

func (w *world) fail(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
		w.note("FAULT: " + w.fault)
	}
}

func (w *world) note(line string) {
	if w.trail {
		w.trace = append(w.trace, fmt.Sprintf("%8.3fs  %s", float64(w.now-1_000_000)/1000, line))
	}
}

func (w *world) notef(format string, args ...any) {
	if w.trail {
		w.note(fmt.Sprintf(format, args...))
	}
}

// head is the truth: the state after all that is stored.
func (w *world) head() *state { return &w.after[len(w.log)] }

// store puts a record at the journal's end.
func (w *world) store(r *entry) {
	w.log = append(w.log, r)
	r.seq, r.at = len(w.log), w.now
	r.Owner = r.owner
	r.effect = w.fold.Apply(uint64(r.seq), r.Record)
	var s state
	for i := range w.msgs {
		s.of[i] = w.fold.State(w.msgs[i].key.Key)
		if s.of[i].State == idempotency.Unsettled {
			w.msgs[i].unsure = true
		}
	}
	s.sender = [2]string{w.fold.Sender("a"), w.fold.Sender("b")}
	w.after = append(w.after, s)
	switch r.Kind {
	case idempotency.Release:
		for i, m := range r.messages {
			if !lostAt(r, i) {
				w.msgs[m].releases++
			}
		}
	case idempotency.Close:
		if r.Reason == "canceled" {
			for i, m := range r.messages {
				w.msgs[m].canceled = w.msgs[m].canceled || !lostAt(r, i)
			}
		}
	}
	if w.trail {
		w.notef("    journal %d: %s by %s of %v%s", r.seq, r.Kind, r.owner, r.messages, describe(r))
	}
}

func describe(r *entry) string {
	s := ""
	if r.Intent > 0 {
		s += fmt.Sprintf(" intent %d", r.Intent)
	}
	if len(r.Runs) > 0 {
		s += fmt.Sprintf(" as %v", r.Runs)
	}
	if r.Reason+r.Sender+r.Was != "" {
		s += fmt.Sprintf(" %q", r.Reason+r.Was+">"+r.Sender)
	}
	if len(r.effect.Lost) > 0 {
		s += fmt.Sprintf(", lost %v", r.effect.Lost)
	}
	return s
}

// lostAt reports whether a record did not act on its message i.
func lostAt(r *entry, i int) bool {
	for _, l := range r.effect.Lost {
		if int(l) == i {
			return true
		}
	}
	return r.Kind == idempotency.Outcome && r.effect.Acted == 0
}

// spans names messages as the code does.
func (w *world) spans(msgs []int) []idempotency.Span {
	var keys [mostMessages]idempotency.PlacedKey
	for i, m := range msgs {
		keys[i] = w.msgs[m].key
	}
	return idempotency.Spans(keys[:len(msgs)])
}

// post is the instant in which the last byte of a request leaves: here the judge
// looks whether it may.
func (w *world) post(account int, msgs []int, intent uint64, takes bool) {
	for _, m := range msgs {
		x := &w.msgs[m]
		if s := w.head().of[m]; s.State != idempotency.Taken || s.Intent != intent {
			w.fail("message %d left in attempt %d, and the journal does not say that this attempt has it", m, intent)
		}
		if x.canceled {
			w.fail("message %d left after a DELETE had counted it", m)
		}
		if !takes {
			continue
		}
		if x.sent++; x.sent > 1+x.releases {
			w.fail("message %d was sent %d times, with %d releases", m, x.sent, x.releases)
		}
		if x.sent > 1 && x.piece.OnUncertain == envelope.Hold {
			w.fail("message %d was sent twice, and its policy is hold", m)
		}
		w.reports = append(w.reports, report{m, account, intent})
	}
}

// first is the instant in which the first byte of a request leaves.
func (w *world) first(account int, owner string) {
	if gap := w.now - w.lastPost[account]; gap < window {
		w.fail("two requests of account %s within %d ms, the second by %s", w.names[account], gap, owner)
	}
	w.lastPost[account] = w.now
}

// tell publishes what became of a message.
func (w *world) tell(m int, s envelope.Status) {
	x := &w.msgs[m]
	switch {
	case s == envelope.Submitted && x.sent == 0:
		w.fail("message %d was called submitted and never sent", m)
	case s == envelope.Expired && x.unsure:
		w.fail("message %d was called expired, and may have been sent", m)
	case (s == envelope.Expired || s == envelope.Failed) && x.sent > 0 && !x.unsure:
		w.fail("message %d was called %s, and was sent", m, s)
	}
	if w.trail && !x.told[s] {
		w.notef("    told: message %d %s", m, s)
	}
	x.told[s] = true
}
