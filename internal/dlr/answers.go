package dlr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// given are the ids that a gateway gave in its answer, each with the position of
// its message, or -1 if several have it.
func given(r *idempotency.Record, d *journal.OutcomeDetail) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		if id := d.Default.ProviderID; id != "" && !yield(id, alone(r, d)) {
			return
		}
		for pos, res := range d.Each {
			if res.ProviderID != "" && !yield(res.ProviderID, int(pos)) {
				return
			}
		}
	}
}

// alone is the position of the only message that an outcome's default is for, or
// -1: the default is the first message's result, and those that differ have their
// own, as all the others do if each has an id of its own.
func alone(r *idempotency.Record, d *journal.OutcomeDetail) int {
	n := 0
	for _, run := range r.Runs {
		n += int(run.N)
	}
	if len(d.Each) != n-1 {
		return -1
	}
	for pos := range n {
		if _, ok := d.Each[uint32(pos)]; !ok {
			return pos
		}
	}
	return -1
}

// answers finds the outcome that has the ids of an account's batch, for 20 bytes a
// batch: it is read back for a report that names its message by nothing else.
type answers struct {
	account string

	mu   sync.Mutex
	last aged // intent -> its last outcome with ids
}

// watch is a journal.Watcher.
func (x *answers) watch(seq uint64, at time.Time, r *idempotency.Record, _ *idempotency.Effect) {
	if r.Account == x.account && r.Kind == idempotency.Outcome && bytes.Contains(r.Detail, []byte(`"id":`)) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.last.put(r.Intent, seq, at)
	}
}

func (x *answers) of(intent uint64) (seq uint64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last.get(intent)
}

// positions are those that the ids of a batch's answer stand for; nil if there is
// no answer with ids.
func (c *Collector) positions(ctx context.Context, a *account, intent uint64) (map[string]int, error) {
	seq, ok := a.answers.of(intent)
	if !ok {
		return nil, nil
	}
	m, err := c.o.Bus.Get(ctx, bus.JournalStream, seq)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r idempotency.Record
	if json.Unmarshal(m.Data, &r) != nil {
		return nil, nil // the journal says so where it folds it
	}
	d, err := journal.Outcome(&r)
	if err != nil {
		return nil, nil
	}
	out := map[string]int{}
	for id, pos := range given(&r, &d) {
		out[id] = pos
	}
	return out, nil
}
