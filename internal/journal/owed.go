package journal

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// What follows from a record (events, dead letters) is stored after it. A process
// that dies in between owes that, and somebody else must do it, however much later:
// the journal itself keeps the account. A record that Owes is owed until another
// names it among what was Told. Doing it twice does no harm, so that a name that is
// lost, or comes late, costs little.

const (
	tellWithin  = time.Second // a name waits for a record of the same process to go with, for so long
	namesAtOnce = 1000
	owedFor     = 72 * time.Hour // statuses are forgotten after that: an account that is no more is not owed for ever
)

// Owing is a record whose consequences are not known to be stored.
type Owing struct {
	Seq     uint64             `json:"q"`
	Account string             `json:"a"`
	At      time.Time          `json:"t"` // when the bus stored it
	Effect  idempotency.Effect `json:"e"`

	read time.Time
}

// Owed returns what an account's processes owe, and was read that long ago or
// longer, in the order of the journal.
func (j *Journal) Owed(account string, after time.Duration) []Owing {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.o.Now()
	var out []Owing
	for _, o := range j.owed {
		if o.Account == account && now.Sub(o.read) >= after {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b Owing) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

// Told says that what follows from a record is stored. The journal hears of it with
// the next record of this process, or within a second or so.
func (j *Journal) Told(seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if o, ok := j.owed[seq]; ok {
		o.read = j.o.Now().Add(time.Minute) // ours to name by then
		j.owed[seq] = o
	}
	j.names = append(j.names, seq)
}

// owe keeps account of a record. Callers hold mu.
func (j *Journal) owe(seq uint64, at time.Time, r *idempotency.Record, e *idempotency.Effect) {
	if r.Owes && e.Acted > 0 {
		j.owed[seq] = Owing{Seq: seq, Account: r.Account, At: at, Effect: *e, read: j.o.Now()}
	}
	for _, told := range r.Told {
		delete(j.owed, told)
	}
	if len(j.owed) > 0 && at.Sub(j.swept) > time.Minute {
		j.swept = at
		maps.DeleteFunc(j.owed, func(_ uint64, o Owing) bool { return at.Sub(o.At) > owedFor })
	}
}

// take returns names for a record to carry.
func (j *Journal) take() []uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := min(len(j.names), namesAtOnce)
	if n == 0 {
		return nil
	}
	names := slices.Clone(j.names[:n])
	j.names = slices.Delete(j.names, 0, n)
	return names
}

// putBack returns names whose record may not have been stored.
func (j *Journal) putBack(names []uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.names = append(names, j.names...)
}

// nameTold writes names down that no other record takes along, until ctx is done.
func (j *Journal) nameTold(ctx context.Context) {
	tick := time.NewTicker(tellWithin)
	defer tick.Stop()
	waited := uint64(0) // the first name of the tick before
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		j.mu.Lock()
		first := uint64(0)
		if len(j.names) > 0 {
			first = j.names[0]
		}
		j.mu.Unlock()
		if first != 0 && first == waited {
			if _, _, err := j.Append(ctx, idempotency.Record{Kind: idempotency.Told}); err != nil && ctx.Err() == nil {
				j.o.Log.Warn("what was told is not named yet", "error", err)
			}
		}
		waited = first
	}
}
