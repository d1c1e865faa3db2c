package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTest(t *testing.T, o Options) *Telemetry {
	t.Helper()
	tel, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tel
}

func scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	return w.Body.String()
}

// The names are a contract: dashboards and alerts quote them.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	tel := newTest(t, Options{Service: "dispatcher", Version: "1"})
	m := tel.Metrics
	m.MessageStatus("cr", "submitted", 3)
	m.MessageStatus("cr", "submitted", 4)
	m.Requests("cr", "accepted", 1)
	m.Requests("cr", "uncertain", 0)
	m.Uncertain(2, 300)
	m.Backlog("cr", "high", 7, 1500*time.Millisecond)
	m.Sendable("cr", 7)
	m.SlotUse("cr", 0.97)
	m.Mode("cr", "slots", true)
	m.Mode("cr", "slots", false)
	m.Mode("cr", "paused", true)
	m.ReportsUnmatched(5)

	out := scrape(t, tel.Handler)
	for _, want := range []string{
		`tuma_messages_total{account="cr",status="submitted"} 7`,
		`tuma_requests_total{account="cr",class="accepted"} 1`,
		`tuma_requests_total{account="cr",class="uncertain"} 0`,
		"tuma_uncertain 2",
		"tuma_uncertain_bound 300",
		`tuma_backlog{account="cr",priority="high"} 7`,
		`tuma_oldest_seconds{account="cr",priority="high"} 1.5`,
		`tuma_sendable{account="cr"} 7`,
		`tuma_slot_use{account="cr"} 0.97`,
		`tuma_mode{account="cr",mode="slots"} 0`,
		`tuma_mode{account="cr",mode="paused"} 1`,
		"tuma_reports_unmatched 5",
	} {
		if !strings.Contains(out, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	known := regexp.MustCompile(`(?m)^tuma_[a-z_]+`)
	names := map[string]bool{}
	for _, n := range known.FindAllString(out, -1) {
		names[n] = true
	}
	if len(names) != 10 {
		t.Errorf("metrics %v", names)
	}
	if !strings.Contains(out, "go_goroutine_count") || !strings.Contains(out, "# TYPE tuma_messages_total counter") {
		t.Errorf("no runtime metrics or wrong type:\n%s", out)
	}
}

func TestNilIsSafe(t *testing.T) {
	t.Parallel()
	var m *Metrics
	m.MessageStatus("a", "b", 1)
	m.Requests("a", "b", 1)
	m.Uncertain(1, 1)
	m.Backlog("a", "b", 1, 1)
	m.Sendable("a", 1)
	m.SlotUse("a", 1)
	m.Mode("a", "b", true)
	m.ReportsUnmatched(1)
	var tr *Tracer
	_, s := tr.StartBatch(t.Context(), "x", 1, []string{parent(1)})
	End(s, "")
	_, s = tr.StartMessage(t.Context(), "x", parent(1))
	End(s, "broken")
}

func parent(i int) string { return fmt.Sprintf("00-%032x-%016x-01", i, i) }

// recorded returns a Tracer and what it recorded.
func recorded(t *testing.T, sample float64) (*Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	rec := tracetest.NewSpanRecorder()
	p := newTracerProvider(resource.Empty(), sample, sdktrace.WithSpanProcessor(rec))
	t.Cleanup(func() { p.Shutdown(context.Background()) })
	return &Tracer{t: p.Tracer("test")}, rec
}

func TestOneTraceFromSubmissionToSending(t *testing.T) {
	t.Parallel()
	tr, rec := recorded(t, 1)
	ctx, submit := tr.Start(t.Context(), "submit", trace.SpanKindServer)
	tp := Traceparent(ctx)
	h := propagation.MapCarrier{}
	if (propagation.TraceContext{}).Inject(ctx, h); h["traceparent"] != tp {
		t.Errorf("%q, but others write %q", tp, h)
	}
	End(submit, "")

	batchCtx, batch := tr.StartBatch(t.Context(), "send", 2, []string{tp, tp, "nonsense", parent(7)})
	_, msg := tr.StartMessage(batchCtx, "deliver", tp)
	End(msg, "")
	End(batch, "uncertain")

	spans := rec.Ended()
	if spans[1].SpanContext().TraceID() != submit.SpanContext().TraceID() || spans[1].Parent().SpanID() != submit.SpanContext().SpanID() {
		t.Error("the message's span does not continue the submission's trace")
	}
	if l := spans[1].Links(); len(l) != 1 || l[0].SpanContext.SpanID() != batch.SpanContext().SpanID() {
		t.Errorf("links of the message: %v", l)
	}
	if b := spans[2]; len(b.Links()) != 2 || b.SpanContext().TraceID() == submit.SpanContext().TraceID() || b.Parent().IsValid() {
		t.Errorf("links of the batch: %v, parent %v", b.Links(), b.Parent())
	}
}

func TestAtMost128Links(t *testing.T) {
	t.Parallel()
	tr, rec := recorded(t, 1)
	var tps []string
	for i := range 1000 {
		tps = append(tps, parent(i+1))
	}
	_, s := tr.StartBatch(t.Context(), "send", 1000, tps)
	End(s, "")
	if got := rec.Ended()[0]; len(got.Links()) != maxLinks || got.DroppedLinks() != 0 {
		t.Errorf("%d links, %d dropped", len(got.Links()), got.DroppedLinks())
	}
}

func TestTenantDoesNotDecideSampling(t *testing.T) {
	t.Parallel()
	for _, flags := range []string{"00", "01"} {
		tp := "00-ffffffffffffffffffffffffffffffff-00000000000000aa-" + flags // an id at the far end of any ratio
		all, rec := recorded(t, 1)
		_, s := all.StartMessage(t.Context(), "x", tp)
		End(s, "")
		if len(rec.Ended()) != 1 {
			t.Errorf("flags %s: not kept though all are", flags)
		}
		none, rec := recorded(t, 0)
		_, s = none.StartMessage(t.Context(), "x", tp)
		End(s, "")
		if len(rec.Ended()) != 0 {
			t.Errorf("flags %s: kept though none is", flags)
		}
	}
}

func TestPropagation(t *testing.T) {
	t.Parallel()
	read := func(tp string) string { return Traceparent(WithTraceparent(t.Context(), tp)) }
	if got := read(parent(9)); got != parent(9) {
		t.Errorf("got %q", got)
	}
	if read(strings.Replace(parent(9), "00-", "cc-", 1)+"-more") == "" {
		t.Error("a later version is to be read as far as it is known")
	}
	for _, bad := range []string{"", "x", parent(0), "00-1-2-01", parent(9) + "-more", "ff" + parent(9)[2:], strings.ToUpper(parent(10))} {
		if got := read(bad); got != "" {
			t.Errorf("%q gave %q", bad, got)
		}
	}
}

// collector is an OTLP/HTTP receiver that keeps what it got.
type collector struct {
	bodies chan []byte
	auth   chan string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/traces" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	b, _ := io.ReadAll(r.Body)
	c.auth <- r.Header.Get("Authorization")
	c.bodies <- b
}

// What a program says to its log and its collector must hold no secret, text or
// full number, however careless the call.
func TestNothingSecretPasses(t *testing.T) {
	t.Parallel()
	const number, pass = "+254712345678", "c4n4ry-pass"
	got := &collector{make(chan []byte, 1), make(chan string, 1)}
	srv := httptest.NewServer(got)
	defer srv.Close()
	var log bytes.Buffer
	tel, err := New(t.Context(), Options{
		Service: "test", OTLP: strings.Replace(srv.URL, "://", "://user:"+pass+"@", 1), Sample: 1, Log: &log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := tel.Tracer.Start(t.Context(), "submit", trace.SpanKindServer)
	l := tel.Log
	l.InfoContext(ctx, "sent "+number, "to", number, "error", fmt.Errorf("refused: %w", errors.New("number "+number)),
		"many", []string{number}, slog.Group("g", "to", number))
	l.With("to", number).WithGroup("x").Info("again", "to", number)
	End(span, "refused")
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	out := log.String() + string(<-got.bodies)
	for _, secret := range []string{number, number[1:], pass} {
		if strings.Contains(out, secret) {
			t.Errorf("%q came out in:\n%s", secret, log.String())
		}
	}
	if !strings.Contains(log.String(), `"to":"***78"`) || !strings.Contains(log.String(), `"trace_id":"`+span.SpanContext().TraceID().String()) {
		t.Errorf("log:\n%s", log.String())
	}
	if auth := <-got.auth; !strings.HasPrefix(auth, "Basic ") {
		t.Errorf("authorization %q", auth)
	}
	srv.CloseClientConnections()
}

func TestDeadCollectorIsLoggedOnly(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer srv.Close()
	var log bytes.Buffer
	tel, err := New(t.Context(), Options{Service: "test", OTLP: srv.URL, Sample: 1, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	_, span := tel.Tracer.Start(t.Context(), "x", trace.SpanKindServer)
	End(span, "")
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Errorf("a collector's trouble became ours: %v", err)
	}
	var line struct {
		Msg     string `json:"msg"`
		Count   int    `json:"count"`
		Service string `json:"service"`
	}
	if err := json.Unmarshal(log.Bytes(), &line); err != nil || line.Msg != "spans dropped" || line.Count != 1 || line.Service != "test" {
		t.Errorf("%v: %s", err, log.String())
	}
}

func TestKeepsSaysWhatTheTracerWouldDo(t *testing.T) {
	t.Parallel()
	rec := tracetest.NewSpanRecorder()
	p := newTracerProvider(resource.Empty(), 0.3, sdktrace.WithSpanProcessor(rec))
	tr := &Tracer{p.Tracer("test"), sampler(0.3)}
	kept := 0
	for i := range 1000 {
		tp := fmt.Sprintf("00-%016x%016x-%016x-00", i+1, uint64(i)*0x9e3779b97f4a7c15, i+1)
		_, s := tr.StartMessage(t.Context(), "m", tp)
		if got := tr.Keeps(tp); got != s.IsRecording() {
			t.Fatalf("Keeps(%q) = %v", tp, got)
		} else if got {
			kept++
		}
	}
	if kept < 200 || kept > 400 || tr.Keeps("") || tr.Keeps("nonsense") || (*Tracer)(nil).Keeps("") {
		t.Errorf("%d of 1000 kept", kept)
	}
}
