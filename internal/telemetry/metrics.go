package telemetry

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Metrics counts what operators watch. Its methods are safe for concurrent use,
// never block, and do nothing on a nil *Metrics.
type Metrics struct {
	ctx context.Context // without an end: a number counts even while its cause is cancelled

	messages, requests, callbacks        metric.Int64Counter
	uncertain, uncertainBound, unmatched metric.Int64Gauge
	backlog, sendable, mode              metric.Int64Gauge
	oldest, slotUse                      metric.Float64Gauge

	known sync.Map // labels as [4]string to metric.MeasurementOption
}

func newMetrics(ctx context.Context, m metric.Meter) (*Metrics, error) {
	var errs []error
	counter := func(name, what string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithDescription(what))
		errs = append(errs, err)
		return c
	}
	gauge := func(name, what string) metric.Int64Gauge {
		g, err := m.Int64Gauge(name, metric.WithDescription(what))
		errs = append(errs, err)
		return g
	}
	float := func(name, what string) metric.Float64Gauge {
		g, err := m.Float64Gauge(name, metric.WithDescription(what))
		errs = append(errs, err)
		return g
	}
	return &Metrics{
		ctx:            context.WithoutCancel(ctx),
		messages:       counter("tuma_messages_total", "Messages that reached a status."),
		requests:       counter("tuma_requests_total", "Requests to a provider, by class of the answer."),
		callbacks:      counter("tuma_callbacks_total", "Callbacks and reports, by what became of them."),
		uncertain:      gauge("tuma_uncertain", "Messages that may or may not have been sent, right now."),
		uncertainBound: gauge("tuma_uncertain_bound", "The most messages that a crash right now could leave uncertain."),
		backlog:        gauge("tuma_backlog", "Messages that wait in an account's queue, as estimated from some pieces of it."),
		sendable:       gauge("tuma_sendable", "Messages that wait and that the account could send within a minute if there were dispatchers enough."),
		oldest:         float("tuma_oldest_seconds", "For how long the oldest message that may be sent has been in the queue."),
		slotUse:        float("tuma_slot_use", "Share of an account's rate in use, 0 to 1."),
		mode:           gauge("tuma_mode", "1 for the mode that an account is in."),
		unmatched:      gauge("tuma_reports_unmatched", "Delivery reports kept that match no message yet."),
	}, errors.Join(errs...)
}

// MessageStatus counts n messages of an account that reached a status.
func (m *Metrics) MessageStatus(account, status string, n int) {
	if m != nil {
		m.messages.Add(m.ctx, int64(n), m.labels("account", account, "status", status))
	}
}

// Requests counts n requests to a provider by the class of their answers. With 0 it
// shows a counter that has counted nothing: one that begins at 1 is no rise to
// Prometheus, and an alert would miss the first.
func (m *Metrics) Requests(account, class string, n int) {
	if m != nil {
		m.requests.Add(m.ctx, int64(n), m.labels("account", account, "class", class))
	}
}

// Callbacks counts n callbacks or reports of an account by what became of them; as
// with Requests, 0 shows the counter.
func (m *Metrics) Callbacks(account, class string, n int) {
	if m != nil {
		m.callbacks.Add(m.ctx, int64(n), m.labels("account", account, "class", class))
	}
}

// Uncertain tells how many messages are uncertain right now, and how many could
// become so if everything died now.
func (m *Metrics) Uncertain(now, bound int) {
	if m != nil {
		m.uncertain.Record(m.ctx, int64(now))
		m.uncertainBound.Record(m.ctx, int64(bound))
	}
}

// Backlog tells how many messages of a priority wait for an account, and the age
// of the oldest; 0 when none does.
func (m *Metrics) Backlog(account, priority string, n int, oldest time.Duration) {
	if m != nil {
		l := m.labels("account", account, "priority", priority)
		m.backlog.Record(m.ctx, int64(n), l)
		m.oldest.Record(m.ctx, oldest.Seconds(), l)
	}
}

// Sendable tells how many messages an account could send within the next minute.
func (m *Metrics) Sendable(account string, n int) {
	if m != nil {
		m.sendable.Record(m.ctx, int64(n), m.labels("account", account))
	}
}

// SlotUse tells the share of an account's rate in use, 0 to 1.
func (m *Metrics) SlotUse(account string, share float64) {
	if m != nil {
		m.slotUse.Record(m.ctx, share, m.labels("account", account))
	}
}

// Mode tells whether an account is in a mode: breaker (open), account (refused for
// its credentials, balance or quota), paused, degraded (one dispatcher sends alone),
// journal (no room for more intents).
func (m *Metrics) Mode(account, mode string, on bool) {
	if m == nil {
		return
	}
	n := int64(0)
	if on {
		n = 1
	}
	m.mode.Record(m.ctx, n, m.labels("account", account, "mode", mode))
}

// ReportsUnmatched tells how many reports wait for a message to match.
func (m *Metrics) ReportsUnmatched(n int) {
	if m != nil {
		m.unmatched.Record(m.ctx, int64(n))
	}
}

// labels are few and bounded by the config: accounts, statuses, classes. Never a
// tenant's words, an id or a number.
//
// They are remembered: making one costs more than counting a message does.
func (m *Metrics) labels(kv ...string) metric.MeasurementOption {
	var key [4]string // two labels at most
	copy(key[:], kv)
	if known, ok := m.known.Load(key); ok {
		return known.(metric.MeasurementOption)
	}
	attrs := make([]attribute.KeyValue, 0, len(kv)/2)
	for i := 0; i < len(kv); i += 2 {
		attrs = append(attrs, attribute.String(kv[i], kv[i+1]))
	}
	made := metric.WithAttributeSet(attribute.NewSet(attrs...))
	m.known.Store(key, made)
	return made
}
