package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// The Hop takes submissions from the bus: what clients publish, what was
// accepted over HTTP and needs cutting, and what waited for its send time. A
// submission is settled only once everything that follows from it is stored, so
// that it may come twice; ids that derive from its place on the bus make the
// second time harmless.

const (
	atOnce        = 32        // submissions under way in one lane of one process
	prefetch      = 64        // of one lane
	prefetchBytes = 4 << 20   // of one lane
	maxDelivered  = 3         // tries of a submission that makes us panic
	maxRaw        = 256 << 10 // that a dead letter keeps of what cannot be read
	hopAckWait    = 30 * time.Second
	hopRetry      = time.Second
	fullRetry     = 5 * time.Second  // while a queue is full
	maxGivenBack  = 20 * time.Second // that a submission over its tenant's rate waits before it is looked at again
)

// lane is one consumer of the Hop: a tenant's priority, or a priority of what
// waited. Each is read on its own, so that no lane waits behind another.
type lane struct {
	consumer bus.Consumer
	take     func(context.Context, *bus.Msg) error
}

// Run takes submissions from the bus until ctx is done, once it is known who has
// opted out; it tells what processes that died have closed, and fires schedules that
// are stuck. It returns once everything under way has ended.
func (in *Ingest) Run(ctx context.Context) error {
	if in.optOuts != nil {
		select {
		case <-in.optOuts:
		case <-ctx.Done():
			return nil
		}
	}
	var running sync.WaitGroup
	for _, l := range in.lanes() {
		running.Go(func() { in.runLane(ctx, l) })
	}
	running.Go(func() { in.tellOwed(ctx) })
	running.Go(func() { in.bus.FireStuck(ctx, bus.DelaySubmit, in.now) })
	running.Wait()
	return nil
}

func (in *Ingest) lanes() []lane {
	var lanes []lane
	for _, p := range envelope.Priorities {
		lanes = append(lanes, lane{
			bus.Consumer{Stream: bus.DelayStream, Name: "ingest-due-" + string(p), Filters: []string{bus.DueSubmitSubject("*", string(p))}},
			in.takeDue,
		})
		for _, t := range in.tenants {
			lanes = append(lanes, lane{
				bus.Consumer{Stream: bus.SubmitStream(t.Name), Name: "ingest-" + string(p), Filters: []string{
					bus.SubmitSubject(t.Name, string(p)), bus.AcceptedSubject(t.Name, string(p)),
				}},
				func(ctx context.Context, m *bus.Msg) error { return in.takeStored(ctx, t, p, m) },
			})
		}
	}
	for i := range lanes {
		c := &lanes[i].consumer
		c.AckWait, c.Prefetch, c.PrefetchBytes = hopAckWait, prefetch, prefetchBytes
	}
	return lanes
}

// runLane reads a lane until ctx is done; trouble with the bus is waited out.
func (in *Ingest) runLane(ctx context.Context, l lane) {
	var working sync.WaitGroup
	defer working.Wait()
	room := make(chan struct{}, atOnce)
	work := service.Work(ctx) // what is in hand is finished when the order to stop comes
	handle := func(ctx context.Context, m *bus.Msg) {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		working.Go(func() {
			defer func() { <-room }()
			in.settle(work, m, in.guarded(work, l, m))
		})
	}
	for {
		if err := in.bus.WaitConnected(ctx); err != nil {
			return
		}
		err := in.bus.Consume(ctx, l.consumer, handle)
		if ctx.Err() != nil {
			return
		}
		in.log.Warn("lane interrupted", "stream", l.consumer.Stream, "consumer", l.consumer.Name, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(hopRetry):
		}
	}
}

// errPoison marks what can never be processed.
var errPoison = errors.New("ingest: poison")

// guarded takes a message; a panic is a failure like another, and poison once it
// has happened several times.
func (in *Ingest) guarded(ctx context.Context, l lane, m *bus.Msg) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("ingest: panic of %T", v) // its words may quote the submission
			if m.Delivered >= maxDelivered {
				err = fmt.Errorf("%w: panic", errPoison)
			}
		}
	}()
	return l.take(ctx, m)
}

// settle acknowledges a message, buries it, or gives it back.
func (in *Ingest) settle(ctx context.Context, m *bus.Msg, err error) {
	if errors.Is(err, errPoison) {
		if err = in.bury(ctx, m, err); err == nil {
			err = m.Term("poison")
			if err != nil {
				in.log.Warn("poison not settled", "stream", m.Stream, "seq", m.Seq, "error", err)
			}
			return
		}
	}
	if err == nil {
		crash.At("ingest.before-ack")
		if err := m.Ack(); err != nil {
			in.log.Warn("submission not settled; it will come again", "stream", m.Stream, "seq", m.Seq, "error", err)
		}
		return
	}
	delay := hopRetry
	var later *laterError
	switch {
	case errors.As(err, &later):
		delay = later.wait
	case errors.Is(err, bus.ErrFull):
		delay = fullRetry
		fallthrough
	case ctx.Err() == nil:
		in.log.Warn("submission given back", "stream", m.Stream, "seq", m.Seq, "error", err)
	}
	// Best effort: without it the message comes again after the ack wait.
	_ = m.Nak(delay)
}

// bury puts what cannot be processed into the dead letters.
func (in *Ingest) bury(ctx context.Context, m *bus.Msg, cause error) error {
	why := rejected(0, "", cause)
	letter := envelope.DeadLetter{
		Time: in.now().UTC(), Account: "none", Reason: envelope.DeadPoison, Tenant: tenantOf(m.Subject),
		Error:   &envelope.EventError{Code: string(why.Code), Detail: strings.TrimPrefix(why.Detail, errPoison.Error()+": ")},
		Subject: m.Subject, Raw: m.Data[:min(len(m.Data), maxRaw)],
	}
	data, err := json.Marshal(&letter)
	if err != nil {
		return fmt.Errorf("ingest: dead letter: %w", err)
	}
	_, err = in.bus.Publish(ctx, bus.Out{
		Subject: bus.DeadSubject("none", string(envelope.DeadPoison)), Data: data, MsgID: "poison-" + m.Place(),
	})
	return err
}

// tenantOf returns the tenant of a subject that ends with tenant and priority.
func tenantOf(subject string) string {
	parts := strings.Split(subject, ".")
	if len(parts) < 2 {
		return ""
	}
	return parts[len(parts)-2]
}
