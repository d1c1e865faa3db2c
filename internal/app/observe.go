package app

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/telemetry"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// observer turns what the dispatcher tells into metrics and spans.
type observer struct {
	tel *telemetry.Telemetry

	mu        sync.Mutex
	uncertain map[string][2]int // by account: now, bound
}

func newObserver(tel *telemetry.Telemetry) *observer {
	return &observer{tel: tel, uncertain: map[string][2]int{}}
}

var _ dispatch.Observer = (*observer)(nil)

// Request implements dispatch.Observer.
func (o *observer) Request(account string, c providers.Class) {
	o.tel.Metrics.Requests(account, c.String(), 1)
}

// Messages implements dispatch.Observer.
func (o *observer) Messages(account string, s envelope.Status, n int) {
	o.tel.Metrics.MessageStatus(account, string(s), n)
}

// Mode implements dispatch.Observer.
func (o *observer) Mode(account, mode string, on bool) { o.tel.Metrics.Mode(account, mode, on) }

// Uncertain implements dispatch.Observer.
func (o *observer) Uncertain(account string, n, bound int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.uncertain[account] = [2]int{n, bound}
	now, most := 0, 0
	for _, u := range o.uncertain {
		now, most = now+u[0], most+u[1]
	}
	o.tel.Metrics.Uncertain(now, most)
}

// SlotUse implements dispatch.Observer.
func (o *observer) SlotUse(account string, share float64) { o.tel.Metrics.SlotUse(account, share) }

// Backlog implements dispatch.Observer.
func (o *observer) Backlog(account string, p envelope.Priority, n int, oldest time.Duration) {
	o.tel.Metrics.Backlog(account, string(p), n, oldest)
}

// Sendable implements dispatch.Observer.
func (o *observer) Sendable(account string, n int) { o.tel.Metrics.Sendable(account, n) }

// Attempt implements dispatch.Observer: one span for the request, and one short
// span in the trace of each submission it carries, linked to it. Messages of one
// envelope share a trace and so a span: what matters of them is counted on it.
// Of traces that are not kept there is neither span nor link.
func (o *observer) Attempt(ctx context.Context, a dispatch.Attempt) (context.Context, func(providers.Class, int)) {
	traces := map[string]int{}
	last, kept := "", false // messages of one envelope lie beside one another
	for i := range a.Messages {
		tp := a.Messages[i].Traceparent
		if tp != last {
			last, kept = tp, o.tel.Tracer.Keeps(tp)
		}
		if kept {
			traces[tp]++
		}
	}
	parents := make([]string, 0, len(traces))
	for tp := range traces {
		parents = append(parents, tp)
	}
	attrs := []attribute.KeyValue{
		attribute.String("sms.account", a.Account), attribute.String("sms.provider", a.Type), attribute.String("sms.batch", a.Batch),
	}
	ctx, span := o.tel.Tracer.StartBatch(ctx, "send "+a.Type, len(a.Messages), parents, attrs...)
	single := make([]trace.Span, 0, len(parents))
	for _, tp := range parents {
		_, s := o.tel.Tracer.StartMessage(ctx, "deliver "+a.Account, tp, append(attrs, attribute.Int("messaging.batch.message_count", traces[tp]))...)
		single = append(single, s)
	}
	return ctx, func(c providers.Class, accepted int) {
		reason := ""
		if c != providers.Accepted {
			reason = c.String()
		}
		span.SetAttributes(attribute.String("sms.class", c.String()), attribute.Int("sms.accepted", accepted))
		for _, s := range single {
			s.SetAttributes(attribute.String("sms.class", c.String()))
			telemetry.End(s, reason)
		}
		telemetry.End(span, reason)
	}
}
