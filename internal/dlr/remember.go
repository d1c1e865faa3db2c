package dlr

import (
	"context"
	"errors"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/service"
)

// webhooksBack is how long ago a webhook may have been taken that proves itself a
// second time: by its own time it is good for twice what its account tolerates,
// which is 15 minutes unless it says otherwise.
const webhooksBack = 30 * time.Minute

// memory is what was stored already, by any collector, and is not to be taken again.
type memory struct {
	tail bus.Tail
	add  func(id string)
}

// memories are of messages from handsets that were published, in the week that the
// stream keeps them, and of callbacks whose id alone tells them apart.
func (c *Collector) memories() []memory {
	out := []memory{{bus.Tail{Stream: bus.InboundStream, HeadersOnly: true}, c.inbound.add}}
	hooks := bus.Tail{Stream: bus.CallbackStream, HeadersOnly: true, Since: c.o.Now().Add(-webhooksBack)}
	for _, a := range c.accounts {
		if a.reporter != nil && a.reporter.SelfVerifying() {
			hooks.Filters = append(hooks.Filters, bus.CallbackSubject(a.Name, kindReport), bus.CallbackSubject(a.Name, kindInbound))
		}
	}
	if len(hooks.Filters) > 0 {
		out = append(out, memory{hooks, c.seen.add})
	}
	return out
}

// remember learns what a memory is of until ctx is done. caught is called once when
// it knows all that was stored before.
func (c *Collector) remember(ctx context.Context, m memory, caught func()) {
	for {
		err := c.o.Bus.Tail(ctx, m.tail, func(stored *bus.Msg) {
			m.add(stored.Get("Nats-Msg-Id"))
			m.tail.From = stored.Seq + 1
		}, caught)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bus.ErrFellBack) {
			m.tail.From = 0
		}
		c.o.Log.Warn("what was taken before is not followed", "stream", m.tail.Stream, "error", err)
		if !service.Sleep(ctx, retryBus) {
			return
		}
	}
}
