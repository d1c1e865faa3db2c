package simulator

import (
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Entry is one request, as the ledger tells it.
type Entry struct {
	Seq        uint64      `json:"seq"`     // order of arrival, from 1
	MonoNS     int64       `json:"mono_ns"` // header read, on the simulator's monotonic clock
	Time       time.Time   `json:"time"`    // the same instant by the wall clock
	Type       string      `json:"type"`
	Method     string      `json:"method"`
	Path       string      `json:"path"`
	Whole      bool        `json:"whole"`      // the whole body was read
	Accepted   bool        `json:"accepted"`   // messages were taken, whatever the client got to see
	Taken      time.Time   `json:"taken"`      // when they were, by the wall clock; zero: they were not
	Sandbox    bool        `json:"sandbox"`    // taken for show: nothing is sent
	Status     int         `json:"status"`     // answered; 0: none (reset, hang, or not answered yet)
	Cut        bool        `json:"cut"`        // the answer's body was cut
	Reason     string      `json:"reason"`     // why the API refused the request
	Faults     []string    `json:"faults"`     // kinds of the faults that struck it
	Batch      string      `json:"batch"`      // the gateway's id of the request, where it has one
	Size       int         `json:"size"`       // recipients of an accepted request, refused ones included
	Recipients []Recipient `json:"recipients"` // of an accepted request
}

// Recipient is one recipient of an accepted request.
type Recipient struct {
	To       string `json:"to"` // E.164 with its plus
	From     string `json:"from"`
	Text     string `json:"text"` // final, variables filled in
	Ref      string `json:"ref"`  // correlator or client_ref
	Callback string `json:"callback"`
	Channel  string `json:"channel,omitempty"` // empty: SMS
	ID       string `json:"id"`                // the gateway's id
	Refused  string `json:"refused"`           // why this one alone was refused; empty: taken
}

type entry struct {
	seq                      uint64
	at, taken                time.Duration
	typ, method, path        string
	whole, done, sandbox     bool
	cut                      bool
	status                   int
	reason                   string
	faults                   []string
	batch                    *batch
	acceptedCount, refusedCt int
}

// Ledger is the record of all requests since the start or the last reset. All
// methods may be called from many goroutines, at any time. An empty type stands
// for all types.
type Ledger struct {
	start time.Time
	now   func() time.Time
	gates map[string]gateway // for ids; set before the first request

	mu      sync.Mutex
	seq     uint64
	entries []*entry
	windows map[string]*window
	rates   map[string]int
	reports map[string]*ReportCounts
	counted chan struct{} // tests: told of each change of reports, when not nil

	outMu sync.Mutex
	out   io.Writer
}

func newLedger(o Options, start time.Time) *Ledger {
	l := &Ledger{start: start, now: o.Now, rates: o.Rates, out: o.Ledger}
	l.reset()
	return l
}

func (l *Ledger) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
	l.windows, l.reports = map[string]*window{}, map[string]*ReportCounts{}
	for _, t := range Types() {
		l.windows[t] = newWindow(l.rates[t])
		l.reports[t] = &ReportCounts{Answered: map[string]int{}}
	}
}

// arrive notes a request and judges its pace. The clock is read under the lock,
// so that the ledger's order is the clock's.
func (l *Ledger) arrive(typ string, r *http.Request) (*entry, time.Duration, rateView) {
	e := &entry{typ: typ, method: r.Method, path: strings.Clone(r.URL.Path)}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.seq++
	e.seq, e.at = l.seq, now.Sub(l.start)
	l.entries = append(l.entries, e)
	return e, e.at, l.windows[typ].arrive(e.at, now)
}

func (l *Ledger) accepted(e *entry, b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.batch, e.taken = b, l.now().Sub(l.start)
	for i := range b.recipients {
		if b.recipients[i].refused == "" {
			e.acceptedCount++
		} else {
			e.refusedCt++
		}
	}
}

// shows notes the request that e is a command about, as it is now.
func (l *Ledger) shows(e *entry, b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.batch = b
}

// conclude notes the answer, before it is given, and writes the line.
func (l *Ledger) conclude(c *call, r reply, whole bool) {
	l.mu.Lock()
	e := c.entry
	e.whole, e.done, e.reason, e.faults = whole, true, r.reason, c.faults.names
	if r.act != faultReset && r.act != faultHang {
		e.status, e.cut = r.status, r.act == faultCut
	}
	var line Entry
	if l.out != nil {
		line = l.view(e)
	}
	l.mu.Unlock()
	if l.out == nil {
		return
	}
	b, err := json.Marshal(line)
	if err != nil {
		return // cannot happen: plain strings and numbers
	}
	l.outMu.Lock()
	defer l.outMu.Unlock()
	_, _ = l.out.Write(append(b, '\n'))
}

// view is the public form of e; the caller holds the lock.
func (l *Ledger) view(e *entry) Entry {
	v := Entry{Seq: e.seq, MonoNS: int64(e.at), Time: l.start.Add(e.at).UTC(), Type: e.typ, Method: e.method, Path: e.path,
		Whole: e.whole, Accepted: e.batch != nil && e.acceptedCount > 0, Sandbox: e.sandbox, Status: e.status, Cut: e.cut,
		Reason: e.reason, Faults: e.faults}
	if v.Accepted {
		v.Taken = l.start.Add(e.taken).UTC()
	}
	if b := e.batch; b != nil {
		v.Batch, v.Size = l.gates[e.typ].batchID(b), len(b.recipients)
		v.Recipients = make([]Recipient, len(b.recipients))
		for i := range b.recipients {
			v.Recipients[i] = l.recipient(e.typ, message{b, i})
		}
	}
	return v
}

func (l *Ledger) recipient(typ string, m message) Recipient {
	r := m.r()
	v := Recipient{From: r.from, Text: r.text, Ref: strings.Trim(r.ref, `"`), Callback: r.callback, Channel: m.b.channel, Refused: r.refused}
	if r.number != 0 {
		v.To = e164(r.number)
	}
	if v.Ref == "" {
		v.Ref = m.b.ref
	}
	if r.refused == "" {
		v.ID = l.gates[typ].id(m)
	}
	return v
}

func (l *Ledger) snapshot(typ string) []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if typ == "" {
		return slices.Clone(l.entries)
	}
	var out []*entry
	for _, e := range l.entries {
		if e.typ == typ {
			out = append(out, e)
		}
	}
	return out
}

// Each yields the entries of typ in order of arrival, those not answered yet
// included.
func (l *Ledger) Each(typ string) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, e := range l.snapshot(typ) {
			l.mu.Lock()
			v := l.view(e)
			l.mu.Unlock()
			if !yield(v) {
				return
			}
		}
	}
}

// Entries returns all entries in order of arrival. It copies: for hundreds of
// thousands of messages prefer Each.
func (l *Ledger) Entries() []Entry { return slices.Collect(l.Each("")) }

// Taken yields every message that was taken, of typ, in order of arrival.
func (l *Ledger) Taken(typ string) iter.Seq[Recipient] {
	return func(yield func(Recipient) bool) {
		for _, e := range l.snapshot(typ) {
			l.mu.Lock()
			b := e.batch
			l.mu.Unlock()
			if b == nil {
				continue
			}
			for i := range b.recipients {
				if b.recipients[i].refused == "" && !yield(l.recipient(e.typ, message{b, i})) {
					return
				}
			}
		}
	}
}

// Requests counts the requests of typ, refused ones and look-ups included.
func (l *Ledger) Requests(typ string) int { return len(l.snapshot(typ)) }

// Messages counts the messages of typ that were taken.
func (l *Ledger) Messages(typ string) int {
	entries := l.snapshot(typ)
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range entries {
		n += e.acceptedCount
	}
	return n
}

// CountByNumber counts the messages taken by number (E.164 with its plus).
func (l *Ledger) CountByNumber(typ string) map[string]int {
	out := map[string]int{}
	for r := range l.Taken(typ) {
		out[r.To]++
	}
	return out
}

// MaxInWindow returns the most requests of typ in any half-open window of d.
func (l *Ledger) MaxInWindow(typ string, d time.Duration) int {
	entries := l.snapshot(typ)
	most, from := 0, 0
	for i, e := range entries {
		for e.at-entries[from].at >= d {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

func (l *Ledger) sandbox(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.sandbox = true
}
