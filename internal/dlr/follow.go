package dlr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

const (
	groupSize   = 1000   // callbacks looked at together: their events are grouped
	maxEarly    = 50_000 // reports whose message is on its way out
	maxWaiting  = 100_000
	retryBus    = time.Second
	longestNap  = 2 * time.Second // of an early report
	longestWait = 5 * time.Minute // of a parked one
	freshLooks  = 9               // at a parked one within four minutes: by then most have been looked up
	sweepEvery  = 10 * time.Minute
	sweepSize   = 10_000
)

// source is where an account's reports are read: as they came, or parked.
type source struct {
	kind   string
	parked bool
}

func (s source) consumer(account string) bus.Consumer {
	c := bus.Consumer{
		Stream: bus.CallbackStream, Name: s.kind + "-" + account, Filters: []string{bus.CallbackSubject(account, s.kind)},
		Prefetch: 2 * groupSize, MaxPending: maxEarly, AckWait: 12 * time.Second, // what a restart of the bus lost on its way comes again soon
	}
	if s.parked {
		c.MaxPending = maxWaiting
	}
	return c
}

// follow matches an account's reports until ctx is done, as many at a time as
// there are.
func (c *Collector) follow(ctx context.Context, a *account, s source) {
	p := c.pull(ctx, s.consumer(a.Name))
	if p == nil {
		return
	}
	defer p.Stop()
	feed := make(chan callback, groupSize) // parsed while the group before it is settled
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		defer close(feed)
		for {
			m, err := p.Next(ctx)
			if err != nil {
				return
			}
			select {
			case feed <- c.parse(a, m):
			case <-ctx.Done():
				return
			}
		}
	})
	group := make([]callback, 0, groupSize)
	var reads reads
	for first := range feed {
		group = append(group[:0], first)
		reads.begin(c)
		for more := reads.room(c, a, &first); more && len(group) < groupSize; {
			select {
			case cb, ok := <-feed:
				if more = ok; ok {
					group = append(group, cb)
					more = reads.room(c, a, &cb)
				}
			default:
				more = false
			}
		}
		began := time.Now()
		behind := time.Duration(0)
		if !s.parked { // what is parked is old, and none the more urgent for it
			behind = c.o.Now().Sub(group[len(group)-1].at)
		}
		c.handle(ctx, a, s, group)
		c.yield(ctx, time.Since(began), behind)
	}
}

// pull opens a consumer, however long that takes. It returns nil when ctx is done.
func (c *Collector) pull(ctx context.Context, spec bus.Consumer) *bus.Puller {
	for {
		p, err := c.o.Bus.Pull(ctx, spec)
		if err == nil {
			return p
		}
		if ctx.Err() == nil {
			c.o.Log.Warn("consumer waits", "consumer", spec.Name, "error", err)
		}
		if !service.Sleep(ctx, retryBus) {
			return nil
		}
	}
}

// callback is one stored callback and the reports in it.
type callback struct {
	msg    *bus.Msg
	at     time.Time
	items  []item
	other  []providers.Notice // what it tells beside reports
	poison error              // what of it could not be read
}

// handle settles a group of callbacks.
func (c *Collector) handle(ctx context.Context, a *account, s source, callbacks []callback) {
	all := make([]item, 0, len(callbacks))
	for i := range callbacks {
		all = append(all, callbacks[i].items...)
	}
	err := c.settle(ctx, a, all)
	for i := range callbacks {
		if err == nil && !s.parked {
			err = c.heed(ctx, a, &callbacks[i])
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			c.o.Log.Warn("reports wait for the bus", "account", a.Name, "callbacks", len(callbacks), "error", err)
		}
		for i := range callbacks {
			_ = callbacks[i].msg.Nak(retryBus) // a lost one comes again after AckWait
		}
		return
	}
	crash.At("dlr.before-ack")
	counts := map[Class]int{}
	var parking []parking
	for i := range callbacks {
		cb := &callbacks[i]
		n := len(cb.items)
		cb.items, all = all[:n], all[n:]
		if p, ok := c.release(ctx, a, s, cb, counts); ok {
			parking = append(parking, p)
		}
	}
	for _, p := range parking {
		p.finish(ctx)
	}
	for class, n := range counts {
		c.o.Observer.Callbacks(a.Name, class, n)
	}
}

func (c *Collector) parse(a *account, m *bus.Msg) callback {
	out := callback{msg: m, at: m.Time}
	cb, batch, err := readRaw(m.Data)
	if err != nil {
		out.poison = err
		return out
	}
	out.at = cb.Time
	reports, err := parseReports(a.reporter, cb)
	out.poison = err
	if a.noticer != nil {
		out.other, err = parseNotices(a.noticer, cb)
		out.poison = errors.Join(out.poison, err)
	}
	out.items = make([]item, len(reports))
	for i, r := range reports {
		out.items[i] = item{report: r, batch: batch, tries: int(m.Delivered)}
	}
	return out
}

// parseReports survives a parser that does not: one callback must not stop all.
func parseReports(r providers.Reporter, cb *providers.Callback) (reports []providers.Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			reports, err = nil, errPanic
		}
	}()
	return r.ParseReports(cb)
}

var errPanic = errors.New("the parser of what this gateway says failed on it")

// release acks a callback all of whose reports are done with, gives it back if
// one is early, and parks it if one fits no message yet.
func (c *Collector) release(ctx context.Context, a *account, s source, cb *callback, counts map[Class]int) (p parking, park bool) {
	waits, parks := false, false
	for i := range cb.items {
		waits = waits || cb.items[i].class == early
		parks = parks || cb.items[i].class == Parked
	}
	tries := int(cb.msg.Delivered)
	if waits {
		_ = cb.msg.Nak(grow(50*time.Millisecond, tries, longestNap))
		return p, false
	}
	if parks && s.parked && c.o.Now().Sub(cb.at) < Keep {
		switch {
		case s.kind == kindStale:
			_ = cb.msg.Nak(longestWait)
		case tries >= c.fresh:
			return c.park(a, cb.msg, kindStale), true
		default:
			_ = cb.msg.Nak(grow(time.Second, tries, longestWait))
		}
		return p, false
	}
	if cb.poison != nil {
		if err := c.bury(ctx, a, cb.msg, cb.poison); err != nil {
			_ = cb.msg.Nak(retryBus)
			return p, false
		}
		counts[Poison]++
	}
	for i := range cb.items {
		class := cb.items[i].class
		if class == Parked && s.parked {
			class = Unmatched
			c.o.Log.Warn("report given up: no message in three days", "account", a.Name, "seq", cb.msg.Seq)
		}
		if class == Quarantined {
			c.o.Log.Warn("report names no message of its batch", "account", a.Name, "seq", cb.msg.Seq)
		}
		counts[class]++
	}
	if parks && !s.parked {
		return c.park(a, cb.msg, kindParked), true
	}
	_ = cb.msg.Ack() // a lost one brings it again, which changes nothing
	return p, false
}

// grow doubles least with every try after the first, up to most.
func grow(least time.Duration, tries int, most time.Duration) time.Duration {
	return min(least<<min(max(tries-1, 0), 20), most)
}

// parking is a callback on its way to where it waits for its message. It waits
// apart from the others: what is given back counts as handed out, and a flood of
// reports on nothing would stop the flow of those on something. Where it has waited
// for long, it waits apart from those that have just come, for the same reason: an
// account that others send with too has reports on nothing without end.
type parking struct {
	msg     *bus.Msg
	pending bus.Pending
	err     error
}

func (c *Collector) park(a *account, m *bus.Msg, kind string) parking {
	p, err := c.o.Bus.PublishAsync(bus.Out{
		Subject: bus.CallbackSubject(a.Name, kind), Data: m.Data, MsgID: "park-" + m.Place(),
	})
	return parking{m, p, err}
}

func (p parking) finish(ctx context.Context) {
	err := p.err
	if err == nil {
		_, err = p.pending.Wait(ctx)
	}
	if err != nil {
		_ = p.msg.Nak(retryBus)
		return
	}
	_ = p.msg.Ack()
}

// bury makes a dead letter of what cannot be read.
func (c *Collector) bury(ctx context.Context, a *account, m *bus.Msg, cause error) error {
	data, err := json.Marshal(envelope.DeadLetter{
		Time: c.o.Now().UTC(), Account: a.Name, Reason: envelope.DeadPoison, Subject: m.Subject, Raw: m.Data,
		Error: &envelope.EventError{Code: string(envelope.DeadPoison), Detail: cause.Error()},
	})
	if err != nil {
		return fmt.Errorf("dlr: dead letter: %w", err)
	}
	_, err = c.o.Bus.Publish(ctx, bus.Out{
		Subject: bus.DeadSubject(a.Name, string(envelope.DeadPoison)), Data: data, MsgID: "poison-" + m.Place(),
	})
	if err == nil {
		c.o.Log.Warn("callback unreadable", "account", a.Name, "seq", m.Seq)
	}
	return err
}

// gauge tells how many reports wait for a message.
func (c *Collector) gauge(ctx context.Context) {
	for {
		n := 0
		for _, a := range c.accounts {
			if a.reporter == nil {
				continue
			}
			for _, kind := range []string{kindParked, kindStale} {
				waiting, unsettled, err := c.o.Bus.Backlog(ctx, bus.CallbackStream, source{kind: kind}.consumer(a.Name).Name)
				if err == nil {
					n += int(waiting) + unsettled
				}
			}
		}
		c.o.Observer.Unmatched(n)
		if !service.Sleep(ctx, 10*time.Second) {
			return
		}
	}
}

// sweep tells of messages that nobody has reported on for three days. Several
// collectors find the same; ids and statuses keep that harmless.
func (c *Collector) sweep(ctx context.Context) {
	for {
		events := c.o.Statuses.Unreported(Keep, sweepSize, func(first string) string { return journal.EventID("none", first) })
		if err := c.tell(ctx, events); err != nil {
			c.o.Log.Warn("missing reports not told", "error", err)
		}
		if len(events) == 0 && !service.Sleep(ctx, sweepEvery) || !service.Sleep(ctx, retryBus) {
			return
		}
	}
}
