package dlr

import (
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// batch is one intent and its messages, read back from journal and queue.
type batch struct {
	seq      uint64
	account  string
	spans    []idempotency.Span
	members  []journal.Member
	byNumber map[string][]int
	byID     map[string]int
	whole    bool // every member's copy was found
}

func newBatch(seq uint64, intent *idempotency.Record, members []journal.Member) *batch {
	b := &batch{
		seq: seq, account: intent.Account, spans: intent.Spans, members: members, whole: true,
		byNumber: make(map[string][]int, len(members)), byID: make(map[string]int, len(members)),
	}
	for i := range members {
		if m := &members[i]; m.Found {
			b.byNumber[m.To] = append(b.byNumber[m.To], i)
			b.byID[m.ID] = i
		} else {
			b.whole = false
		}
	}
	return b
}

// placed is a member's identity in the journal, with where its copy lies.
func (b *batch) placed(pos int) idempotency.PlacedKey {
	for _, s := range b.spans {
		if n := s.Len(); pos >= n {
			pos -= n
			continue
		}
		return idempotency.PlacedKey{Key: s.Key(pos), At: s.Place(pos)}
	}
	return idempotency.PlacedKey{}
}

// cachedMessages bounds the batches kept at hand, by the number of their messages.
const cachedMessages = 100_000

// batches reads batches and keeps those used last: reports come in flocks.
type batches struct {
	bus      *bus.Bus
	capacity int

	mu    sync.Mutex
	bySeq map[uint64]*list.Element
	used  *list.List // of *batch, the one used last in front
	size  int
}

func newBatches(b *bus.Bus, capacity int) *batches {
	return &batches{bus: b, capacity: capacity, bySeq: map[uint64]*list.Element{}, used: list.New()}
}

// get returns the batch of an account's intent. It fails with bus.ErrNotFound
// if there is no such intent (any more, or yet).
func (c *batches) get(ctx context.Context, account string, seq uint64) (*batch, error) {
	c.mu.Lock()
	if e := c.bySeq[seq]; e != nil {
		c.used.MoveToFront(e)
		b := e.Value.(*batch)
		c.mu.Unlock()
		if b.account != account {
			return nil, fmt.Errorf("%w: intent %d is another account's", bus.ErrNotFound, seq)
		}
		return b, nil
	}
	c.mu.Unlock()
	b, err := c.load(ctx, account, seq)
	if err != nil {
		return nil, err
	}
	if b.whole { // what was not found may only not have reached the server asked
		c.keep(b)
	}
	return b, nil
}

func (c *batches) load(ctx context.Context, account string, seq uint64) (*batch, error) {
	m, err := c.bus.Get(ctx, bus.JournalStream, seq)
	if err != nil {
		return nil, err
	}
	var r idempotency.Record
	if err := json.Unmarshal(m.Data, &r); err != nil || r.Kind != idempotency.Intent || r.Account != account {
		return nil, fmt.Errorf("%w: record %d is no intent of the account", bus.ErrNotFound, seq)
	}
	members, err := journal.Members(ctx, c.bus, &r)
	if err != nil {
		return nil, err
	}
	return newBatch(seq, &r, members), nil
}

func (c *batches) keep(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySeq[b.seq] != nil {
		return
	}
	c.bySeq[b.seq] = c.used.PushFront(b)
	c.size += len(b.members)
	for c.size > c.capacity && c.used.Len() > 1 {
		last := c.used.Remove(c.used.Back()).(*batch)
		delete(c.bySeq, last.seq)
		c.size -= len(last.members)
	}
}
