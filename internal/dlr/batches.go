package dlr

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

const (
	cachedBytes = 64 << 20 // of batches kept at hand: some 300,000 single messages
	loadAtOnce  = 8        // batches
)

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
	if b := c.kept(seq); b != nil {
		if b.account != account {
			return nil, fmt.Errorf("%w: intent %d is another account's", bus.ErrNotFound, seq)
		}
		return b, nil
	}
	b, err := c.load(ctx, account, seq)
	if err != nil {
		return nil, err
	}
	if b.whole { // what was not found may only not have reached the server asked
		c.keep(b)
	}
	return b, nil
}

// all returns the batches of some intents, by intent; those that there are not
// are left out. They are read several at a time, as most of the time one by one
// would be waiting, and each once, however many it is.
func (c *batches) all(ctx context.Context, account string, seqs []uint64) (map[uint64]*batch, error) {
	var (
		mu      sync.Mutex
		loading sync.WaitGroup
		failure error
		out     = make(map[uint64]*batch, len(seqs))
		room    = make(chan struct{}, loadAtOnce)
	)
	read := func(seq uint64) {
		b, err := c.get(ctx, account, seq)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			out[seq] = b
		case !errors.Is(err, bus.ErrNotFound):
			failure = err
		}
	}
	for _, seq := range seqs {
		if c.kept(seq) != nil {
			read(seq)
			continue
		}
		room <- struct{}{}
		loading.Go(func() {
			defer func() { <-room }()
			read(seq)
		})
	}
	loading.Wait()
	return out, failure
}

// kept returns a batch that is at hand, or nil.
func (c *batches) kept(seq uint64) *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.bySeq[seq]
	if e == nil {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(*batch)
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
	return newBatch(seq, m.Time, &r, members), nil
}

func (c *batches) keep(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySeq[b.seq] != nil {
		return
	}
	c.bySeq[b.seq] = c.used.PushFront(b)
	c.size += b.bytes
	for c.size > c.capacity && c.used.Len() > 1 {
		last := c.used.Remove(c.used.Back()).(*batch)
		delete(c.bySeq, last.seq)
		c.size -= last.bytes
	}
}
