package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A checkpoint is the fold as it was at a place in the journal, so that a start
// reads on from there and what the journal has forgotten by age is still known.
// It is only ever a shortcut: one that is missing, damaged, of another version
// or of another journal is passed over.

const (
	checkpointEvery = 5 * time.Minute
	// lookBack is how much of the journal before a checkpoint is read again for
	// the watchers: they remember what is recent, and are not in the checkpoint.
	lookBack = 15 * time.Minute

	headerEpoch = "Tuma-Epoch"
	headerBack  = "Tuma-Back"
)

// ErrShort says that the journal ends before a place that a checkpoint knows, or this
// process has read: it was restored from an old copy, or lost its end. What was sent
// since is forgotten, so nothing may be sent until an operator decides.
var ErrShort = errors.New("journal: it ends before what is known of it; messages sent since may be forgotten")

// mark is a place in the journal.
type mark struct {
	seq uint64
	at  time.Time
}

// restore starts from the newest usable checkpoint, if the fold is still empty.
func (j *Journal) restore(ctx context.Context, epoch int64) error {
	m, err := j.bus.Last(ctx, bus.CheckpointStream, bus.CheckpointSubject)
	if errors.Is(err, bus.ErrNotFound) || err == nil && m.Get(headerEpoch) != strconv.FormatInt(epoch, 10) {
		return nil
	}
	if err != nil {
		return err
	}
	back, err := strconv.ParseUint(m.Get(headerBack), 10, 64)
	fold, kept := idempotency.NewFold(), beside{}
	if err == nil {
		var data []byte
		if data, err = j.readParts(ctx, m); err == nil {
			kept, err = unframe(data, fold)
		}
	}
	if err != nil {
		j.o.Log.Warn("checkpoint passed over", "seq", m.Seq, "error", err)
		return nil
	}
	state, err := j.bus.State(ctx, bus.JournalStream)
	if err != nil {
		return err
	}
	if state.LastSeq < fold.Last() {
		return fmt.Errorf("%w (journal at %d, checkpoint at %d)", ErrShort, state.LastSeq, fold.Last())
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fold.Last() > 0 {
		return nil
	}
	if j.o.Whole {
		back = 1
	}
	j.fold, j.next = fold, back
	now := j.o.Now()
	fold.Open(func(o idempotency.OpenIntent) bool {
		j.readAt[o.Seq] = now // their leases count from here
		return true
	})
	for _, o := range kept.Owed {
		o.read = now
		j.owed[o.Seq] = o
	}
	for _, e := range kept.Ends {
		j.ends[incarnation{e.Stream, e.Epoch}] = e.Seq
	}
	j.o.Log.Info("journal begins at a checkpoint", "seq", fold.Last(), "look_back", back)
	return nil
}

// last is the place up to which this process has read.
func (j *Journal) last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fold.Last()
}

// fellBack notes that the journal ends before a place that this process has read. Its
// tail will never bring what is written there now, by itself or others.
func (j *Journal) fellBack(why error) error {
	if !j.short.Swap(true) {
		j.o.Log.Error("the journal has lost its end: nothing is sent", "error", why)
	}
	return fmt.Errorf("%w (%w)", ErrShort, why)
}

// Checkpoint writes checkpoints until ctx is done. Several processes may do so:
// one that finds a fresh one leaves it at that.
func (j *Journal) Checkpoint(ctx context.Context) error {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := j.WriteCheckpoint(ctx); err != nil && ctx.Err() == nil {
				j.o.Log.Warn("no checkpoint written", "error", err)
			}
		}
	}
}

// WriteCheckpoint writes one now, unless the last is fresh.
func (j *Journal) WriteCheckpoint(ctx context.Context) error {
	before, err := j.bus.State(ctx, bus.CheckpointStream)
	if err != nil {
		return err
	}
	m, err := j.bus.Last(ctx, bus.CheckpointStream, bus.CheckpointSubject)
	if err == nil && j.o.Now().Sub(m.Time).Abs() < checkpointEvery/2 { // its time is the bus's
		return nil
	}
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	if j.short.Load() { // it would hide what was lost
		return ErrShort
	}
	j.mu.Lock()
	data, err := j.frame()
	last, back := j.fold.Last(), uint64(1)
	now := j.o.Now()
	for len(j.marks) > 1 && now.Sub(j.marks[1].at) >= lookBack {
		j.marks = j.marks[1:]
	}
	if len(j.marks) > 0 {
		back = j.marks[0].seq
	}
	j.mu.Unlock()
	if err != nil || last == 0 {
		return err
	}
	o := bus.Out{Subject: bus.CheckpointSubject, Header: bus.Header{
		headerEpoch: {strconv.FormatInt(j.Epoch(), 10)}, headerBack: {strconv.FormatUint(back, 10)},
	}}
	err = j.writeParts(ctx, &o, data, before.LastSeq)
	if errors.Is(err, bus.ErrOvertaken) {
		return nil // by one that another is writing
	}
	return err
}

// remember keeps a mark a minute. Callers hold mu.
func (j *Journal) remember(seq uint64, at time.Time) {
	if n := len(j.marks); n == 0 || at.Sub(j.marks[n-1].at) >= time.Minute {
		j.marks = append(j.marks, mark{seq, at})
	}
}
