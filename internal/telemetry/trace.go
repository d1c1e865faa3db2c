package telemetry

import (
	"context"
	"encoding/hex"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// maxLinks is the most links of one span; the SDK would drop what is beyond.
const maxLinks = 128

// Tracer makes spans. A nil Tracer makes none.
type Tracer struct {
	t       trace.Tracer
	sampler sdktrace.Sampler
}

// Keeps reports whether spans of a submission's trace are kept. Making one that
// is not costs as much as reading its message, so who makes one for each of many
// messages asks first.
func (t *Tracer) Keeps(traceparent string) bool {
	if t == nil || t.sampler == nil {
		return false
	}
	sc := parse(traceparent)
	return sc.IsValid() && t.sampler.ShouldSample(sdktrace.SamplingParameters{TraceID: sc.TraceID()}).Decision == sdktrace.RecordAndSample
}

func (t *Tracer) tracer() trace.Tracer {
	if t == nil {
		return noop.Tracer{}
	}
	return t.t
}

// Start begins a span that continues the trace of ctx. The caller ends it, with End.
func (t *Tracer) Start(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	return t.tracer().Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
}

// StartBatch begins the span of one request to a provider. It has a trace of its
// own, since its messages come from many, and links to up to maxLinks different
// ones of the given traceparents; what is not a traceparent is passed over.
func (t *Tracer) StartBatch(ctx context.Context, name string, size int, traceparents []string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	attrs = append(attrs, attribute.Int("messaging.batch.message_count", size))
	return t.tracer().Start(ctx, name, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithLinks(links(traceparents)...), trace.WithAttributes(attrs...))
}

func links(traceparents []string) []trace.Link {
	var out []trace.Link
	seen := make(map[string]bool, min(len(traceparents), maxLinks))
	for _, tp := range traceparents {
		if tp == "" || seen[tp] {
			continue
		}
		seen[tp] = true
		if sc := parse(tp); sc.IsValid() {
			out = append(out, trace.Link{SpanContext: sc})
		}
		if len(out) == maxLinks {
			break
		}
	}
	return out
}

// StartMessage begins the short span of one message: it continues the trace of
// its submission and links to the span in ctx (its batch, its callback). Without
// a traceparent it belongs to ctx's own trace.
func (t *Tracer) StartMessage(ctx context.Context, name, traceparent string, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	batch := trace.SpanContextFromContext(ctx)
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attrs...)}
	if sc := parse(traceparent); sc.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
		if batch.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: batch}))
		}
	}
	return t.tracer().Start(ctx, name, opts...)
}

// End ends a span; a reason other than empty marks it as failed. The reason is
// one of our own words: errors may quote what must not be stored.
func End(s trace.Span, reason string) {
	if reason != "" {
		s.SetStatus(codes.Error, reason)
	}
	s.End()
}

// Traceparent returns the W3C traceparent of the span in ctx; empty without one.
func Traceparent(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ""
	}
	id, span, flags := sc.TraceID(), sc.SpanID(), [1]byte{byte(sc.TraceFlags() & (trace.FlagsSampled | trace.FlagsRandom))}
	var b [55]byte // as propagation.TraceContext writes it, which makes a map of headers first
	copy(b[:], "00-")
	hex.Encode(b[3:], id[:])
	b[35] = '-'
	hex.Encode(b[36:], span[:])
	b[52] = '-'
	hex.Encode(b[53:], flags[:])
	return string(b[:])
}

// WithTraceparent returns ctx as a continuation of tp; ctx itself if tp is not a
// traceparent.
func WithTraceparent(ctx context.Context, tp string) context.Context {
	if sc := parse(tp); sc.IsValid() {
		return trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	return ctx
}

// parse reads a W3C traceparent, version-traceid-spanid-flags; the zero
// SpanContext stands for anything else.
func parse(tp string) trace.SpanContext {
	var at [5]string // no slice to allocate; what is beyond the flags is of later versions
	parts := at[:0]
	for rest, more := tp, true; more && len(parts) < len(at); {
		var part string
		part, rest, more = strings.Cut(rest, "-")
		parts = append(parts, part)
	}
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || (parts[0] == "00" && len(parts) != 4) || len(parts[3]) != 2 {
		return trace.SpanContext{}
	}
	id, err := trace.TraceIDFromHex(parts[1])
	if err != nil {
		return trace.SpanContext{}
	}
	span, err := trace.SpanIDFromHex(parts[2])
	if err != nil {
		return trace.SpanContext{}
	}
	flags := trace.TraceFlags(0)
	if strings.ContainsAny(parts[3][1:], "13579bdf") {
		flags = trace.FlagsSampled
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: flags, Remote: true})
}
