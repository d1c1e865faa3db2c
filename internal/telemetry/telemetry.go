// Package telemetry sets up logs, traces and metrics, and knows what must never
// be in them: secrets, texts and full numbers.
package telemetry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Options say what a program tells of itself, and to whom.
type Options struct {
	Service  string // ingest, dispatcher, ...
	Version  string
	Instance string  // tells replicas apart; empty: not told
	OTLP     string  // base URL of an OTLP/HTTP receiver; empty: traces are made but go nowhere
	Sample   float64 // share of traces that are kept, 0 to 1
	Log      io.Writer
	Level    slog.Leveler // nil: info
}

// Telemetry is one program's logs, traces and metrics. Nothing of it is global,
// so that a process may hold several.
type Telemetry struct {
	Log     *slog.Logger
	Tracer  *Tracer
	Metrics *Metrics
	Handler http.Handler // of /metrics

	traces *sdktrace.TracerProvider
	meters *sdkmetric.MeterProvider
}

// New sets everything up. It does not wait for the OTLP receiver: traces that
// cannot be delivered are dropped, and nothing else suffers.
func New(ctx context.Context, o Options) (*Telemetry, error) {
	t := &Telemetry{Log: newLogger(o.Log, o.Level).With("service", o.Service)}
	res := resource.NewSchemaless(
		attribute.String("service.name", o.Service),
		attribute.String("service.version", o.Version),
		attribute.String("service.instance.id", o.Instance),
	)
	exporters := []sdktrace.TracerProviderOption{}
	if o.OTLP != "" {
		exp, err := newExporter(ctx, o.OTLP)
		if err != nil {
			return nil, fmt.Errorf("traces: %w", err)
		}
		exporters = append(exporters, sdktrace.WithBatcher(&loudExporter{SpanExporter: exp, log: t.Log}))
	}
	t.traces = newTracerProvider(res, o.Sample, exporters...)
	t.Tracer = &Tracer{t.traces.Tracer("github.com/tuma-sms/tuma"), sampler(o.Sample)}
	if err := t.newMeters(ctx, res); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return t, nil
}

// Shutdown delivers the spans that wait, until ctx ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	return errors.Join(t.traces.Shutdown(ctx), t.meters.Shutdown(ctx))
}

// newMeters uses a registry of its own. The exporter appends unit and _total where
// they are missing, which gives the runtime's metrics the names that dashboards
// know; ours are written with their suffix and without a unit, so that they come
// out as they are.
func (t *Telemetry) newMeters(ctx context.Context, res *resource.Resource) error {
	reg := prometheus.NewRegistry()
	exp, err := promexporter.New(
		promexporter.WithRegisterer(reg),
		promexporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		promexporter.WithoutScopeInfo(),
	)
	if err != nil {
		return err
	}
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(exp), sdkmetric.WithResource(res))
	if err := runtime.Start(runtime.WithMeterProvider(t.meters)); err != nil {
		return err
	}
	if t.Metrics, err = newMetrics(ctx, t.meters.Meter("github.com/tuma-sms/tuma")); err != nil {
		return err
	}
	t.Handler = promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
	return nil
}

// sampler decides by trace id alone. A parent's sampled flag comes from a tenant,
// who must not decide what we store; and every process of ours decides the same
// for one trace.
func sampler(share float64) sdktrace.Sampler { return sdktrace.TraceIDRatioBased(share) }

func newTracerProvider(res *resource.Resource, sample float64, o ...sdktrace.TracerProviderOption) *sdktrace.TracerProvider {
	limits := sdktrace.NewSpanLimits()
	limits.LinkCountLimit = maxLinks
	return sdktrace.NewTracerProvider(append(o,
		sdktrace.WithResource(res),
		sdktrace.WithSampler(sampler(sample)),
		sdktrace.WithRawSpanLimits(limits),
	)...)
}

// newExporter takes the user and password of the URL as basic authentication.
func newExporter(ctx context.Context, base string) (sdktrace.SpanExporter, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, errors.New("the OTLP address is not a URL")
	}
	opts := []otlptracehttp.Option{otlptracehttp.WithTimeout(5 * time.Second)}
	if u.User != nil {
		pass, _ := u.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + pass))
		opts = append(opts, otlptracehttp.WithHeaders(map[string]string{"Authorization": "Basic " + basic}))
		u.User = nil
	}
	if !strings.HasSuffix(u.Path, "/v1/traces") {
		u = u.JoinPath("v1/traces")
	}
	return otlptracehttp.New(ctx, append(opts, otlptracehttp.WithEndpointURL(u.String()))...)
}

// loudExporter logs failures to our log: the SDK would print them to a global
// handler of its own.
type loudExporter struct {
	sdktrace.SpanExporter
	log *slog.Logger
}

// ExportSpans never fails: the failure is told here.
func (e *loudExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.log.LogAttrs(ctx, slog.LevelWarn, "spans dropped", slog.Int("count", len(spans)), slog.Any("error", err))
	}
	return nil
}
