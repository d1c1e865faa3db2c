package dispatch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// batch is what one request will carry, and what was found on the way that must
// not leave any more.
type batch struct {
	items   []item
	expired []item
	search  *search // set when the batch is a step in the search for a bad message
	regime  uint64  // under which its slot was granted
}

// Of reserveOthers picks in a row that could go to a higher priority the last goes
// to a lower one that waits, so that a flood of urgent messages slows the rest and
// never stops it, and a few urgent ones are never passed over.
const reserveOthers = 10

// choose takes the most urgent request's worth out of the lanes, limit messages
// at most. The first
// message comes from the lane whose turn it is; what else fits into the same
// request is taken from that lane, then from the others, so that a request is
// never sent half empty while another tenant waits with the same text.
func (a *account) choose(now time.Time, limit int, highOnly bool) batch {
	a.mu.Lock()
	defer a.mu.Unlock()
	// A step that became due after the slot was asked for may be more than it is for.
	if s := a.search; s != nil && s.idle && !highOnly && len(s.next()) <= limit {
		s.idle = false
		a.inFlight++
		return batch{items: s.next(), search: s} // they have been flying since they were refused
	}
	limit = min(limit, a.limit()) // trouble may have come since it was asked for
	var b batch
	lanes := a.order(highOnly)
	p := picker{limit: limit, now: now, numbers: make(map[string]struct{}, min(limit, 1024))}
	for _, l := range lanes {
		if len(b.items) >= limit {
			break
		}
		p.pick(l, &b)
	}
	a.charge(b.items)
	a.fly(b.items)
	a.fly(b.expired)
	return b
}

func (a *account) fly(items []item) {
	if len(items) > 0 {
		a.inFlight++
		a.peak = max(a.peak, a.inFlight)
	}
	for _, it := range items {
		it.h.flying++
	}
}

// order lists the lanes that have something, most urgent first; of one priority,
// the tenant that had least. Where lower priorities were passed over for long, one
// of them comes first, each in its turn.
func (a *account) order(highOnly bool) []*lane {
	tenants := len(a.o.Tenants)
	out := make([]*lane, 0, len(a.lanes))
	var starts []int // of the priorities in out
	for i, p := range envelope.Priorities {
		if highOnly && p != envelope.High {
			continue
		}
		start := len(out)
		for _, l := range a.lanes[i*tenants : (i+1)*tenants] {
			if len(l.items) > 0 {
				l.used = max(l.used, a.used[i]) // whoever had nothing to send has saved nothing
				out = append(out, l)
			}
		}
		if len(out) == start {
			continue
		}
		slices.SortStableFunc(out[start:], func(x, y *lane) int { return cmp.Compare(x.used, y.used) })
		a.used[i] = out[start].used
		starts = append(starts, start)
	}
	others := len(starts) - 1
	if a.passed++; others <= 0 {
		a.passed = 0
	} else if a.passed == reserveOthers {
		first := starts[1+a.turn%others]
		out = append(slices.Clone(out[first:]), out[:first]...)
		a.passed, a.turn = 0, a.turn+1
	}
	return out
}

// charge notes what each lane had of a request, as its share of one: requests are
// what is scarce, so a tenant whose texts can share none pays for each in full.
func (a *account) charge(items []item) {
	for _, it := range items {
		it.h.l.used += 1 / float64(len(items))
	}
}

// picker collects messages that may share a request.
type picker struct {
	limit   int
	now     time.Time
	group   string
	started bool
	numbers map[string]struct{} // never one number twice in a request: reports could not be told apart
}

// pick moves what fits from the lane to the batch and keeps the rest in order.
func (p *picker) pick(l *lane, b *batch) {
	keep := l.items[:0]
	for i, it := range l.items {
		if len(b.items) >= p.limit {
			keep = append(keep, l.items[i:]...)
			break
		}
		if !it.h.p.ExpiresAt.After(p.now) {
			b.expired = append(b.expired, it)
			continue
		}
		group, to := it.group(), it.msg().To
		if _, twice := p.numbers[to]; twice || (p.started && group != p.group) {
			keep = append(keep, it)
			continue
		}
		p.group, p.started = group, true
		p.numbers[to] = struct{}{}
		b.items = append(b.items, it)
	}
	clear(l.items[len(keep):])
	l.items = keep
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// release closes what expired, tells it, and ends the batch's place in flight
// if there was nothing to send.
func (a *account) release(ctx context.Context, b batch) {
	a.closeExpired(ctx, b.expired)
}

// closeExpired writes close records for messages whose time ran out; only those
// that the record won are told.
func (a *account) closeExpired(ctx context.Context, items []item) {
	if len(items) == 0 {
		return
	}
	defer a.landed()
	items, released := a.parted(items)
	if a.holdReleased(ctx, released) != nil {
		a.abandon(released)
	} else {
		a.finished(released)
	}
	if len(items) == 0 {
		return
	}
	won, lost, err := a.expire(ctx, items)
	switch {
	case err == nil:
		a.finished(won)
		a.abandon(lost)
	case errors.Is(err, errNotTold):
		a.abandon(items)
	default:
		a.notWritten()
		a.back(items)
	}
}

// errNotTold says that what a record did is not told, and still owed.
var errNotTold = errors.New("dispatch: not told")

// expire writes one close record for messages whose time ran out, and tells those that
// it won.
func (a *account) expire(ctx context.Context, items []item) (won, others []item, err error) {
	placed := make([]idempotency.PlacedKey, len(items))
	for i, it := range items {
		placed[i] = it.placed()
	}
	seq, effect, err := a.j.Append(ctx, idempotency.Record{
		Kind: idempotency.Close, Account: a.o.Name, Owes: true, Reason: string(envelope.Expired), Spans: idempotency.Spans(placed),
	})
	if err != nil {
		return nil, nil, err
	}
	crash.At("dispatch.after-sweep")
	lost := positions(effect.Lost)
	byTenant := map[string][]envelope.EventMessage{}
	for i, it := range items {
		if _, ok := lost[uint32(i)]; ok {
			others = append(others, it)
			continue
		}
		byTenant[it.h.p.Tenant] = append(byTenant[it.h.p.Tenant], journal.EventMessage(&it.h.p, it.msg()))
		won = append(won, it)
	}
	var events []envelope.Event
	for tenant, msgs := range byTenant {
		events = append(events, journal.ClosedEvents(cause(seq), tenant, a.o.Name, envelope.Expired, "", a.d.Now(), msgs)...)
	}
	if !a.tell(ctx, events) {
		return nil, nil, errNotTold
	}
	a.j.Told(seq)
	return won, others, nil
}

// parted tells what expired from what is free for a second try only.
func (a *account) parted(items []item) (expired, released []item) {
	for _, it := range items {
		if a.j.State(it.key()).Released {
			released = append(released, it)
		} else {
			expired = append(expired, it)
		}
	}
	return expired, released
}

func positions(at []uint32) map[uint32]struct{} {
	if len(at) == 0 {
		return nil
	}
	out := make(map[uint32]struct{}, len(at))
	for _, p := range at {
		out[p] = struct{}{}
	}
	return out
}
