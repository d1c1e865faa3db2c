package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// newLogger returns a logger of JSON lines. It adds trace_id and span_id where
// the context has a span, and masks what looks like a full number in any value,
// as the last guard: no call site logs one. A nil w discards, a nil level is info.
func newLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	if w == nil {
		return slog.New(slog.DiscardHandler)
	}
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: maskAttr})
	return slog.New(traceHandler{h})
}

type traceHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h traceHandler) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	r.Message = maskNumbers(r.Message)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h traceHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(a)}
}

// WithGroup implements slog.Handler.
func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}

func maskAttr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(maskNumbers(v))
	case []string:
		masked := make([]string, len(v))
		for i, s := range v {
			masked[i] = maskNumbers(s)
		}
		a.Value = slog.AnyValue(masked)
	case error:
		a.Value = slog.StringValue(maskNumbers(v.Error()))
	case fmt.Stringer:
		if a.Value.Kind() == slog.KindAny {
			a.Value = slog.StringValue(maskNumbers(v.String()))
		}
	}
	return a
}

var fullNumber = regexp.MustCompile(`\+[0-9]{8,15}`)

func maskNumbers(s string) string {
	if !strings.Contains(s, "+") {
		return s
	}
	return fullNumber.ReplaceAllStringFunc(s, func(n string) string { return "***" + n[len(n)-2:] })
}
