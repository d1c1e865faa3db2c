// Package journal puts the fold of pkg/idempotency onto the bus: one stream of
// records, one order, and for every process a tail that folds it. Whoever wants
// to act appends a record, waits until its own tail brings it back, and keeps
// what it won. It also knows how to read back what an intent's messages were
// and how outcomes become events, because several stages need that.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Options of a Journal.
type Options struct {
	Owner string // this process, unique among all that ever lived
	Now   func() time.Time
	Log   *slog.Logger
	// Whole shows the watchers the journal from its beginning, checkpoint or not.
	Whole bool
	// Leads are the streams to be led past what the journal knows of them.
	Leads []Lead
	// PartSize is the most bytes of a checkpoint's part; 0: what one message holds.
	PartSize int
	// LookEvery is how often the journal's room is looked at; 0: every five seconds,
	// and every one where it is tight.
	LookEvery time.Duration
}

// Watcher sees records after they were folded, in order, on the tail's
// goroutine; at is when the bus stored it. The effect of a record that a
// checkpoint knew already is not known: it is zero. It must be quick and must not call
// the Journal.
type Watcher func(seq uint64, at time.Time, r *idempotency.Record, e *idempotency.Effect)

// Journal is a process's view of the journal. Safe for concurrent use.
type Journal struct {
	bus   *bus.Bus
	o     Options
	watch []Watcher // set before Run
	epoch atomic.Int64
	ready chan struct{}
	count atomic.Uint64 // records of this process, for their ids
	known atomic.Uint64 // proofs
	used  atomic.Pointer[float64]
	full  atomic.Bool
	short atomic.Bool   // the journal has lost what was read of it
	stray chan struct{} // there is something in strays

	mu      sync.Mutex
	fold    *idempotency.Fold
	next    uint64               // the first sequence that the watchers have not seen
	marks   []mark               // places in the journal, a minute apart, for checkpoints
	readAt  map[uint64]time.Time // when this tail read the intents that are still open: leases count from here
	waiters map[string]chan<- applied
	owed    map[uint64]Owing
	ends    map[incarnation]uint64
	names   []uint64             // told, and to be named in a record
	swept   time.Time            // when owed was last looked through
	orphans map[string]time.Time // ids of intents that nobody waits for any more and that have not come, and since when
	strays  map[uint64]struct{}  // those that came: nobody sends for them, and they are to be declared not sent
}

type applied struct {
	seq    uint64
	effect idempotency.Effect
}

// New returns a Journal that knows nothing until Run has caught up.
func New(b *bus.Bus, o Options) *Journal {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Journal{
		bus: b, o: o, fold: idempotency.NewFold(), ready: make(chan struct{}),
		readAt: map[uint64]time.Time{}, waiters: map[string]chan<- applied{}, orphans: map[string]time.Time{},
		owed: map[uint64]Owing{}, ends: map[incarnation]uint64{}, strays: map[uint64]struct{}{}, stray: make(chan struct{}, 1),
	}
}

// Watch adds a watcher. It must be called before Run.
func (j *Journal) Watch(w Watcher) { j.watch = append(j.watch, w) }

// Ready is closed once the tail has folded everything there was at the start.
func (j *Journal) Ready() <-chan struct{} { return j.ready }

// Owner names this process in its records.
func (j *Journal) Owner() string { return j.o.Owner }

// Epoch tells incarnations of the journal apart; it is known once Ready.
func (j *Journal) Epoch() int64 { return j.epoch.Load() }

// Run tails the journal until ctx is done; trouble with the bus is waited out.
func (j *Journal) Run(ctx context.Context) error {
	read := make(chan struct{})
	caught := sync.OnceFunc(func() { close(read) })
	var settling sync.WaitGroup
	defer settling.Wait()
	settling.Go(func() { j.settleStrays(ctx) })
	settling.Go(func() { j.nameTold(ctx) })
	settling.Go(func() { j.watchRoom(ctx) })
	settling.Go(func() { j.lead(ctx, read, sync.OnceFunc(func() { close(j.ready) })) })
	for {
		err := j.tail(ctx, caught)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, bus.ErrFellBack) {
			_ = j.fellBack(err)
		}
		j.o.Log.Warn("journal tail interrupted", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (j *Journal) tail(ctx context.Context, caught func()) error {
	epoch, err := j.bus.Epoch(ctx, bus.JournalStream)
	if err != nil {
		return err
	}
	j.epoch.Store(epoch)
	if err := j.restore(ctx, epoch); err != nil {
		return err
	}
	j.mu.Lock()
	from := max(1, j.next)
	j.mu.Unlock()
	return j.bus.Tail(ctx, bus.Tail{Stream: bus.JournalStream, From: from}, j.apply, caught)
}

// apply folds one record and wakes whoever waits for it.
func (j *Journal) apply(m *bus.Msg) {
	var r idempotency.Record
	if err := idempotency.DecodeRecord(m.Data, &r); err != nil {
		// Not ours or damaged: the fold skips it for every process alike.
		j.o.Log.Error("journal record unreadable", "seq", m.Seq, "error", err)
		r = idempotency.Record{}
	}
	id := m.Get("Nats-Msg-Id")
	j.mu.Lock()
	if m.Seq < j.next {
		j.mu.Unlock()
		return
	}
	j.next = m.Seq + 1
	j.remember(m.Seq, m.Time)
	e := j.fold.Apply(m.Seq, r) // nothing, for what a checkpoint knew already
	j.note(m.Seq, &r)
	j.owe(m.Seq, m.Time, &r, &e)
	j.reach(&r)
	if w := j.waiters[id]; w != nil {
		w <- applied{m.Seq, e} // has room; told under mu, so that whoever gives up knows that it came
		delete(j.waiters, id)
	} else if _, orphan := j.orphans[id]; orphan {
		delete(j.orphans, id)
		if _, open := j.fold.Intent(m.Seq); open {
			j.strays[m.Seq] = struct{}{}
			j.astray()
		}
	}
	j.mu.Unlock()
	for _, w := range j.watch {
		w(m.Seq, m.Time, &r, &e)
	}
}

// note keeps readAt to the open intents. Callers hold mu.
func (j *Journal) note(seq uint64, r *idempotency.Record) {
	switch r.Kind {
	case idempotency.Intent:
		if _, open := j.fold.Intent(seq); open {
			j.readAt[seq] = j.o.Now()
		}
	case idempotency.Close:
		if r.Reason == Reported {
			j.known.Add(1)
		}
	case idempotency.Outcome:
		if o, open := j.fold.Intent(r.Intent); !open || o.Taken == 0 {
			delete(j.readAt, r.Intent)
			delete(j.strays, r.Intent)
		}
	}
}

// Append stores a record and waits until the own tail has folded it. The effect
// is then the truth for every process. An error leaves it open whether the
// record will appear; an intent that appears after that is declared not sent
// by this Journal, so the caller must not act on it.
func (j *Journal) Append(ctx context.Context, r idempotency.Record) (uint64, idempotency.Effect, error) {
	r.Owner, r.Told = j.o.Owner, j.take()
	seq, effect, err := j.append(ctx, r)
	if err != nil {
		j.putBack(r.Told)
	}
	return seq, effect, err
}

func (j *Journal) append(ctx context.Context, r idempotency.Record) (uint64, idempotency.Effect, error) {
	if j.short.Load() {
		return 0, idempotency.Effect{}, ErrShort
	}
	data, err := r.Append(nil)
	if err != nil {
		return 0, idempotency.Effect{}, fmt.Errorf("journal: %w", err)
	}
	id := j.o.Owner + "." + strconv.FormatUint(j.count.Add(1), 36)
	back := make(chan applied, 1)
	j.mu.Lock()
	j.waiters[id] = back
	j.mu.Unlock()
	out := bus.Out{Subject: bus.JournalSubject(string(r.Kind), r.Account), Data: data, MsgID: id}
	out.Pack() // ten thousand scattered messages take half a megabyte to name
	for {
		read := j.last()
		var ack bus.Ack
		ack, err = j.bus.Publish(ctx, out)
		if err == nil && !ack.Duplicate && ack.Seq <= read {
			err = j.fellBack(fmt.Errorf("a record was stored at %d, and %d was read", ack.Seq, read))
		}
		if err == nil || !errors.Is(err, bus.ErrUnavailable) {
			break
		}
		select { // the same id again: stored once
		case a := <-back:
			return a.seq, a.effect, nil
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
			continue
		}
		break
	}
	if err == nil {
		select {
		case a := <-back:
			return a.seq, a.effect, nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return j.abandon(r.Kind, id, back, err)
}

// AppendOutcome settles a whole intent in one way.
func (j *Journal) AppendOutcome(ctx context.Context, o idempotency.OpenIntent, to idempotency.State, class string, d *OutcomeDetail) (uint64, idempotency.Effect, error) {
	return j.Append(ctx, idempotency.Record{
		Kind: idempotency.Outcome, Account: o.Account, Intent: o.Seq, Class: class, Detail: d.Append(nil), Owes: true,
		Runs: []idempotency.Run{{N: uint32(o.Messages), To: to}},
	})
}

// Reported is the reason of a close record that says that a gateway took messages
// although their attempt's outcome does not say so.
const Reported = "reported"

// Proofs counts the records with the reason Reported. It changes whenever one of
// them may have come to stand for a message.
func (j *Journal) Proofs() uint64 { return j.known.Load() }

// State is what the journal knows of a message.
func (j *Journal) State(k idempotency.Key) idempotency.MessageState {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fold.State(k)
}

// States asks for several messages at once.
func (j *Journal) States(keys []idempotency.Key, visit func(i int, s idempotency.MessageState)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range keys {
		visit(i, j.fold.State(keys[i]))
	}
}

// Intent returns an intent that is not settled yet.
func (j *Journal) Intent(seq uint64) (idempotency.OpenIntent, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fold.Intent(seq)
}

// Paused reports whether an account is paused for the whole cluster.
func (j *Journal) Paused(account string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fold.Paused(account)
}

// Sender is the only process that may send for an account; empty: all.
func (j *Journal) Sender(account string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fold.Sender(account)
}

// Unsettled counts the messages of an account that are uncertain.
func (j *Journal) Unsettled(account string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fold.UnsettledBy(account)
}

// Abandoned returns the intents of an account whose owner had its whole lease,
// counted from when this process read them, and is not this process.
func (j *Journal) Abandoned(account string) []idempotency.OpenIntent {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.o.Now()
	var out []idempotency.OpenIntent
	j.fold.Open(func(o idempotency.OpenIntent) bool {
		at, known := j.readAt[o.Seq]
		if o.Account == account && known && Overdue(o, at, now, j.o.Owner) {
			out = append(out, o)
		}
		return true
	})
	return out
}

// Overdue reports whether others may declare an intent uncertain that they read
// at a time: its owner had its whole lease since. A process leaves its own alone.
func Overdue(o idempotency.OpenIntent, readAt, now time.Time, self string) bool {
	return o.Taken > 0 && o.Owner != self && now.Sub(readAt) > o.Lease
}
