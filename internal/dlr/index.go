package dlr

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// index finds the batches of an account whose reports do not say which batch
// they are of: by the gateway's id, some 20 bytes for each id it gave; and, from
// the first report on that has nothing but a number, by number, for some 20
// bytes a message. Both look back over Keep.
//
// It is fed by the journal's tail and is as complete as that.
type index struct {
	account string
	seed    maphash.Seed

	mu      sync.Mutex
	byID    aged
	intents []intentAt // oldest first

	numbering sync.Mutex // held while batches are read back
	numbered  uint64     // the newest intent in newest
	newest    aged       // number -> the last intent that has it
	before    aged       // number and intent -> the one before
}

// intentAt is small, as an account may have millions of them.
type intentAt struct {
	seq uint64
	at  int64 // Unix nanoseconds
}

func newIndex(account string) *index {
	return &index{account: account, seed: maphash.MakeSeed()}
}

// watch is a journal.Watcher.
func (x *index) watch(seq uint64, at time.Time, r *idempotency.Record, _ *idempotency.Effect) {
	if r.Account != x.account {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch r.Kind {
	case idempotency.Intent:
		x.intents = append(x.intents, intentAt{seq, at.UnixNano()})
		for at.UnixNano()-x.intents[0].at > int64(Keep) {
			x.intents = x.intents[1:]
		}
	case idempotency.Outcome:
		d, err := journal.Outcome(r)
		if err != nil {
			return
		}
		for id, pos := range given(r, &d) {
			x.byID.put(maphash.String(x.seed, id), place{r.Intent, pos}.pack(), at)
		}
	}
}

// withID returns where the gateway's id was given out.
func (x *index) withID(id string) (place, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v, ok := x.byID.get(maphash.String(x.seed, id))
	return unpack(v), ok
}

// maxFits bounds how many batches one number is looked for in.
const maxFits = 64

// settling is how long a server may lag behind the one that stored a message.
const settling = time.Minute

// withNumber returns the intents that have a message to number, newest first.
// numbers reads back those of an intent and says whether it found them all; the
// first call may take long.
func (x *index) withNumber(ctx context.Context, number string, now time.Time, numbers func(context.Context, uint64) (list []string, whole bool, err error)) ([]uint64, error) {
	x.numbering.Lock()
	defer x.numbering.Unlock()
	for _, in := range x.unnumbered() {
		list, whole, err := numbers(ctx, in.seq)
		if err != nil {
			return nil, err
		}
		at := time.Unix(0, in.at)
		if !whole && now.Sub(at) < settling {
			break // the next call finds it, or by then it is gone for good
		}
		for _, n := range list {
			h := maphash.String(x.seed, n)
			if last, ok := x.newest.get(h); ok && last != in.seq {
				x.before.put(x.link(h, in.seq), last, at)
			}
			x.newest.put(h, in.seq, at)
		}
		x.numbered = in.seq
	}
	h := maphash.String(x.seed, number)
	var found []uint64
	for seq, ok := x.newest.get(h); ok && len(found) < maxFits; seq, ok = x.before.get(x.link(h, seq)) {
		found = append(found, seq)
	}
	return found, nil
}

func (x *index) unnumbered() []intentAt {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, _ := slices.BinarySearchFunc(x.intents, x.numbered+1, func(in intentAt, seq uint64) int { return cmp.Compare(in.seq, seq) })
	return x.intents[i:]
}

func (x *index) link(number, seq uint64) uint64 {
	return maphash.Comparable(x.seed, [2]uint64{number, seq})
}

// place is an intent and a position in it; -1: the whole batch has the id.
type place struct {
	intent uint64
	pos    int
}

const posBits = 14 // 10,000 messages, and one value for all of them

func (p place) pack() uint64 { return p.intent<<posBits | uint64(p.pos+1) }

func unpack(v uint64) place { return place{v >> posBits, int(v&(1<<posBits-1)) - 1} }

// aged is a map that forgets: entries live for Keep, and a third of it longer
// at most.
type aged struct {
	parts [4]map[uint64]uint64 // newest first
	since time.Time            // when parts[0] was begun
}

func (a *aged) put(k, v uint64, at time.Time) {
	if a.parts[0] == nil || at.Sub(a.since) > Keep/3 {
		copy(a.parts[1:], a.parts[:3])
		a.parts[0], a.since = map[uint64]uint64{}, at
	}
	a.parts[0][k] = v
}

func (a *aged) get(k uint64) (uint64, bool) {
	for _, p := range a.parts {
		if v, ok := p[k]; ok {
			return v, true
		}
	}
	return 0, false
}
