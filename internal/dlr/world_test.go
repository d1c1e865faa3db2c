package dlr_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// world is one account's way from queue to report, with a collector at its end.
type world struct {
	testing.TB
	bus      *bus.Bus
	journal  *journal.Journal // the collector's
	statuses *status.Store
	url      string
	counts   *counts
	logs     *buffer
	owners   int
	server   *embedded.Server
	stop     func() // ends the server

	mu     sync.Mutex
	events []envelope.Event
}

type setup struct {
	provider   providers.Provider
	inbound    map[string]string
	poll       dlr.Poll
	limiter    dlr.Limiter
	collectors int          // default 1; the first one serves
	deaf       bool         // the statuses learn from the collector alone
	before     func(*world) // runs before the collector does
	watch      journal.Watcher
	stale      int // looks at a parked report before it is; default: as always
}

func start(t testing.TB, s setup) *world {
	t.Helper()
	server := natstest.Server(t)
	w := &world{TB: t, bus: natstest.Connect(t, server, []string{tenant}, []string{account}), server: server, stop: server.Stop, counts: &counts{classes: map[dlr.Class]int{}}, logs: &buffer{}}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	running.Go(func() { _ = w.bus.Tail(ctx, bus.Tail{Stream: bus.EventStream}, w.event, nil) })
	var collectors []*dlr.Collector
	for range max(s.collectors, 1) {
		collectors = append(collectors, w.collector(ctx, &running, s))
	}
	if s.before != nil {
		s.before(w)
	}
	for _, c := range collectors {
		running.Go(func() {
			if err := c.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	front := httptest.NewServer(collectors[0].Handler())
	t.Cleanup(front.Close)
	w.url = front.URL
	for _, c := range collectors {
		w.until(c.Ready)
	}
	return w
}

// collector makes a collector with a journal and statuses of its own, which run.
func (w *world) collector(ctx context.Context, running *sync.WaitGroup, s setup) *dlr.Collector {
	w.Helper()
	w.owners++
	w.journal = journal.New(w.bus, journal.Options{Owner: fmt.Sprintf("collector-%d", w.owners), Log: slog.New(slog.DiscardHandler)})
	if s.watch != nil {
		w.journal.Watch(s.watch)
	}
	w.statuses = status.New(status.Options{})
	var statuses dlr.Statuses = w.statuses
	if s.deaf {
		statuses = deaf{status.New(status.Options{})}
	}
	c, err := dlr.New(dlr.Options{
		Bus: w.bus, Journal: w.journal, Statuses: statuses, Observer: w.counts, Log: slog.New(slog.NewJSONHandler(w.logs, nil)),
		Accounts: []dlr.Account{{
			Name: account, Provider: s.provider, Secrets: []string{secret, "older"}, Inbound: s.inbound, Poll: s.poll, Limiter: s.limiter,
		}},
	})
	if err != nil {
		w.Fatal(err)
	}
	if s.stale > 0 {
		c.Stale(s.stale)
	}
	j, st := w.journal, w.statuses
	running.Go(func() { _ = j.Run(ctx) })
	running.Go(func() { _ = st.Run(ctx, w.bus, nil, []string{account}) })
	select {
	case <-j.Ready():
	case <-time.After(10 * time.Second):
		w.Fatal("journal not ready")
	}
	return c
}

func (w *world) event(m *bus.Msg) {
	var e envelope.Event
	if err := json.Unmarshal(m.Data, &e); err != nil {
		w.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// told lists "status message" of all events, in the stream's order.
func (w *world) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, e := range w.events {
		for _, m := range e.Messages {
			out = append(out, string(e.Status)+" "+m.ID)
		}
	}
	return out
}

func (w *world) until(ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("never happened; told %v, counted %v", w.told(), w.counts.classes)
		}
	}
}

func (w *world) wantTold(want ...string) {
	w.Helper()
	w.until(func() bool { return len(w.told()) >= len(want) })
	if got := fmt.Sprint(w.told()); got != fmt.Sprint(want) {
		w.Errorf("told %v, want %v", got, want)
	}
}

func number(i int) string { return fmt.Sprintf("+2547%08d", i) }

// queue puts an envelope with one message to each number into the account's
// queue and returns its span.
func (w *world) queue(id string, numbers ...string) idempotency.Span {
	w.Helper()
	return w.queuePiece(&envelope.Piece{ID: id, Tenant: tenant, Account: account, AcceptedAt: time.Now(), From: "ACME", Text: "x"}, numbers...)
}

func (w *world) queuePiece(p *envelope.Piece, numbers ...string) idempotency.Span {
	w.Helper()
	for i, n := range numbers {
		p.Messages = append(p.Messages, envelope.Message{Index: i, To: n, Segments: 1})
	}
	data, err := json.Marshal(p)
	if err != nil {
		w.Fatal(err)
	}
	ack, err := w.bus.Publish(context.Background(), bus.Out{Subject: bus.QueueSubject(account, "normal", tenant), Data: data})
	if err != nil {
		w.Fatal(err)
	}
	epoch, err := w.bus.Epoch(context.Background(), ack.Stream)
	if err != nil {
		w.Fatal(err)
	}
	return idempotency.Span{Stream: ack.Stream, Epoch: epoch, Seq: ack.Seq, End: uint32(len(numbers))}
}

func (w *world) append(r idempotency.Record) uint64 {
	w.Helper()
	r.Account = account
	seq, _, err := w.journal.Append(context.Background(), r)
	if err != nil {
		w.Fatal(err)
	}
	return seq
}

// publish writes a record without waiting for the collector's journal to read it.
func (w *world) publish(r idempotency.Record) {
	w.Helper()
	r.Account = account
	data, err := json.Marshal(r)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.bus.Publish(context.Background(), bus.Out{Subject: bus.JournalSubject(string(r.Kind), account), Data: data}); err != nil {
		w.Fatal(err)
	}
}

// intend takes messages for sending.
func (w *world) intend(spans ...idempotency.Span) uint64 {
	w.Helper()
	return w.append(idempotency.Record{Kind: idempotency.Intent, Spans: spans, LeaseMillis: 60_000})
}

// outcome records the same for n messages of an intent and tells it.
func (w *world) outcome(intent uint64, n int, to idempotency.State, r journal.MessageResult) {
	w.Helper()
	w.tellOutcome(intent, n, to, &journal.OutcomeDetail{Time: time.Now().UTC(), Default: r})
}

func (w *world) tellOutcome(intent uint64, n int, to idempotency.State, d *journal.OutcomeDetail) {
	w.Helper()
	seq := w.append(w.record(intent, n, to, d))
	m, err := w.bus.Get(context.Background(), bus.JournalStream, intent)
	if err != nil {
		w.Fatal(err)
	}
	var rec idempotency.Record
	if err := json.Unmarshal(m.Data, &rec); err != nil {
		w.Fatal(err)
	}
	members, err := journal.Members(context.Background(), w.bus, &rec)
	if err != nil {
		w.Fatal(err)
	}
	if err := journal.Tell(context.Background(), w.bus, journal.Events(account, seq, members, d)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) record(intent uint64, n int, to idempotency.State, d *journal.OutcomeDetail) idempotency.Record {
	detail, err := json.Marshal(d)
	if err != nil {
		w.Fatal(err)
	}
	return idempotency.Record{Kind: idempotency.Outcome, Intent: intent, Runs: []idempotency.Run{{N: uint32(n), To: to}}, Detail: detail}
}

func submitted(providerID string) journal.MessageResult {
	return journal.MessageResult{Status: envelope.Submitted, ProviderID: providerID}
}

// path is where reports on a batch go.
func (w *world) path(intent uint64) string {
	return "/dlr/" + account + "/" + dlr.Token(secret, account, journal.BatchID(w.journal.Epoch(), intent))
}

// report posts reports and returns the status of the answer.
func (w *world) report(path string, reports ...providers.Report) int {
	w.Helper()
	body, err := json.Marshal(reports)
	if err != nil {
		w.Fatal(err)
	}
	status, _ := w.send(http.MethodPost, path, string(body), nil)
	return status
}

func (w *world) send(method, path, body string, header http.Header) (int, string) {
	w.Helper()
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (w *world) stored(stream string) uint64 {
	w.Helper()
	s, err := w.bus.State(context.Background(), stream)
	if err != nil {
		w.Fatal(err)
	}
	return s.Messages
}
