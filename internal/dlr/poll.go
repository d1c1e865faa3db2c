package dlr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

const (
	pollWait = 2 * time.Minute // after which another collector takes a look-up over
	maxPolls = 200_000         // batches of an account that wait for a look-up
)

// errNoSlot says that the account's limit gave no leave to ask: nothing was sent.
var errNoSlot = errors.New("dlr: no slot for a look-up")

// slotRetry is when a look-up without a slot is tried again. The others that are
// due would get none either: rest keeps them from going round as fast as the bus
// gives them back, for as long as there are no slots (Redis may be gone).
const (
	slotRetry = 2 * time.Second
	rest      = 100 * time.Millisecond
)

// doubt is when an attempt of which nobody knows whether it was taken is first
// looked up: before a message of high priority is tried again.
const doubt = 3 * time.Second

// followOutcomes looks up the batches of an account that nothing is reported on,
// and the attempts of which nobody knows what became.
//
// The schedule is a durable consumer of the account's outcomes in the journal:
// an outcome is given back with the time until its next look-up, and acked when
// there is nothing left to learn. That needs no state of ours, so a killed
// collector loses nothing, and an outcome is handed to one collector at a time,
// so several do not ask twice. The price: after a restart of the server, which
// forgets delays, waiting batches are asked once too early.
func (c *Collector) followOutcomes(ctx context.Context, a *account) {
	p := c.pull(ctx, bus.Consumer{
		Stream: bus.JournalStream, Name: "poll-" + a.Name, Filters: []string{bus.JournalSubject(string(idempotency.Outcome), a.Name)},
		AckWait: pollWait, MaxPending: maxPolls, Prefetch: 32,
	})
	if p == nil {
		return
	}
	defer p.Stop()
	for {
		m, err := p.Next(ctx)
		if err != nil {
			return
		}
		again, err := c.lookUp(ctx, a, m)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errNoSlot) { // a limiter that has just begun, or Redis is gone: told elsewhere
			again = slotRetry
		} else if err != nil {
			level := slog.LevelWarn
			if e := (*providers.Error)(nil); errors.As(err, &e) && e.Class == providers.Rejected {
				level = slog.LevelInfo // it knows nothing of the attempt, perhaps yet
			}
			c.o.Log.Log(ctx, level, "look-up failed", "account", a.Name, "journal", m.Seq, "error", err)
		}
		if again > 0 {
			_ = m.Nak(again) // a lost one comes again after AckWait
			if errors.Is(err, errNoSlot) && !service.Sleep(ctx, rest) {
				return
			}
			continue
		}
		_ = m.Ack()
	}
}

// lookUp asks for the state of one outcome's messages. It returns when to do so
// again; 0: never.
func (c *Collector) lookUp(ctx context.Context, a *account, m *bus.Msg) (again time.Duration, err error) {
	age := c.o.Now().Sub(m.Time)
	var r idempotency.Record
	if json.Unmarshal(m.Data, &r) != nil || age > Keep {
		return 0, nil
	}
	d, err := journal.Outcome(&r)
	if err != nil {
		return 0, nil // an outcome that tells nothing has nothing to look up
	}
	said := read(&d)
	first, every := a.Poll.After, max(a.Poll.Every, time.Second)
	switch {
	case said.doubtful:
		first, every = min(first, doubt), min(every, 2*doubt)
	case !said.taken:
		return 0, nil
	}
	q := &providers.Query{BatchID: journal.BatchID(c.o.Journal.Epoch(), r.Intent), ProviderIDs: said.ids, Accepted: said.count}
	if !a.finder.Finds(q) {
		return 0, nil
	}
	if wait := first - age; wait > 0 {
		return wait, nil
	}
	again = max(every, age/2)
	b, err := c.batches.get(ctx, a.Name, r.Intent)
	if errors.Is(err, bus.ErrNotFound) { // a server that lags may have it yet
		return again, nil
	}
	if err != nil {
		return again, err
	}
	if q.Messages, q.Size, q.Sent = c.open(b), len(b.members), b.at; len(q.Messages) == 0 {
		if !b.whole {
			return again, nil
		}
		return 0, nil
	}
	for all := true; ; {
		_ = m.InProgress() // a slot may be long in coming; without it another collector asks too
		found, err := a.ask(ctx, q)
		if err != nil {
			var e *providers.Error
			if errors.As(err, &e) {
				again = max(again, e.RetryAfter)
			}
			return again, err
		}
		done, err := c.learn(ctx, a, b, found.Reports)
		if err != nil {
			return again, err
		}
		all = all && done && found.Done
		if q.Cursor = found.Cursor; q.Cursor == "" {
			if all {
				again = 0
			}
			return again, nil
		}
	}
}

// ask asks once, when the account's limit lets it. A slot that passes before the
// request can leave is given up for the next, a few times.
func (a *account) ask(ctx context.Context, q *providers.Query) (found providers.Found, err error) {
	if a.Limiter == nil {
		return a.find(ctx, q, nil)
	}
	for range 5 {
		start, serr := a.Limiter.Slot(ctx)
		if serr != nil {
			return found, fmt.Errorf("%w: %w", errNoSlot, serr)
		}
		missed := false
		found, err = a.find(ctx, q, func() error {
			err := start()
			missed = err != nil
			return err
		})
		if !missed {
			return found, err
		}
	}
	return found, fmt.Errorf("%w: %w", errNoSlot, err)
}

// find survives an adapter that does not: the outcome comes again, and would end
// one collector after the other.
func (a *account) find(ctx context.Context, q *providers.Query, start func() error) (found providers.Found, err error) {
	defer func() {
		if p := recover(); p != nil {
			found, err = providers.Found{}, errPanic
		}
	}()
	return a.finder.Find(ctx, q, start)
}

// learn settles what a page tells. It reports whether all of it is done with.
func (c *Collector) learn(ctx context.Context, a *account, b *batch, reports []providers.Report) (done bool, err error) {
	items := make([]item, len(reports))
	for i, r := range reports {
		items[i] = item{report: r, batch: journal.BatchID(c.o.Journal.Epoch(), b.seq), tries: patience, asked: true}
	}
	if err := c.settle(ctx, a, items); err != nil {
		return false, err
	}
	done = true
	counts := map[Class]int{}
	for i := range items {
		if counts[items[i].class]++; items[i].class == early {
			done = false
		}
	}
	for class, n := range counts {
		c.o.Observer.Callbacks(a.Name, class, n)
	}
	return done, nil
}

// open are the messages of a batch that wait for a report.
func (c *Collector) open(b *batch) []providers.Message {
	var out []providers.Message
	for pos := range b.members {
		if !b.found(pos) {
			continue
		}
		id := b.id(pos)
		if current, ok := c.o.Statuses.Current(id); !ok || !current.Final() {
			out = append(out, providers.Message{ID: id, To: b.to(pos), Channel: providers.Channel(b.channel)})
		}
	}
	return out
}

// said is what an answer told of a batch.
type said struct {
	ids      []string // the gateway's, of what it took or may have taken
	taken    bool     // it took some
	doubtful bool     // of some nobody knows
	count    int      // how many it took of all, where it named nobody
}

func read(d *journal.OutcomeDetail) said {
	var out said
	seen := map[string]bool{}
	add := func(r journal.MessageResult) {
		switch r.Status {
		case envelope.Failed, "":
			return
		case envelope.Uncertain:
			out.doubtful, out.count = true, max(out.count, r.Taken)
		default:
			out.taken = true
		}
		if r.ProviderID != "" && !seen[r.ProviderID] {
			seen[r.ProviderID] = true
			out.ids = append(out.ids, r.ProviderID)
		}
	}
	add(d.Default)
	for _, r := range d.Each {
		add(r)
	}
	slices.Sort(out.ids)
	return out
}
