package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// gateway is a provider that remembers what it was asked to send.
type gateway struct {
	limits providers.Limits
	answer func(b *providers.Batch) ([]providers.Result, error) // nil: takes everything
	dial   func()                                               // before a request may start

	mu   sync.Mutex
	sent [][]providers.Message
	at   []time.Time
	came chan struct{}
}

func newGateway(maxBatch int) *gateway {
	return &gateway{limits: providers.Limits{MaxBatch: maxBatch}, came: make(chan struct{}, 10_000)}
}

func (g *gateway) Limits() providers.Limits             { return g.limits }
func (g *gateway) Check(*providers.Message) error       { return nil }
func (g *gateway) GroupKey(m *providers.Message) string { return m.From }
func (g *gateway) Send(_ context.Context, b *providers.Batch) ([]providers.Result, error) {
	if d := g.dial; d != nil {
		d()
	}
	if b.Start != nil {
		if err := b.Start(); err != nil {
			return nil, &providers.Error{Class: providers.Unavailable, Err: err}
		}
	}
	if b.Fence != nil {
		if err := b.Fence(); err != nil {
			return nil, &providers.Error{Class: providers.Unavailable, Err: err}
		}
	}
	g.mu.Lock()
	g.sent = append(g.sent, append([]providers.Message(nil), b.Messages...))
	g.at = append(g.at, time.Now())
	g.mu.Unlock()
	defer func() { g.came <- struct{}{} }()
	if g.answer != nil {
		return g.answer(b)
	}
	return accepted(b), nil
}

func accepted(b *providers.Batch) []providers.Result {
	out := make([]providers.Result, len(b.Messages))
	for i := range out {
		out[i] = providers.Result{Class: providers.Accepted, ProviderID: "p-" + b.Messages[i].ID}
	}
	return out
}

// times counts how often each number was sent.
func (g *gateway) times() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]int{}
	for _, batch := range g.sent {
		for _, m := range batch {
			out[m.To]++
		}
	}
	return out
}

func (g *gateway) requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sent)
}

type silent struct{}

func (silent) Request(string, providers.Class)                       {}
func (silent) Messages(string, envelope.Status, int)                 {}
func (silent) Mode(string, string, bool)                             {}
func (silent) SlotUse(string, float64)                               {}
func (silent) Uncertain(string, int, int)                            {}
func (silent) Backlog(string, envelope.Priority, int, time.Duration) {}
func (silent) Sendable(string, int)                                  {}
func (silent) Attempt(ctx context.Context, _ dispatch.Attempt) (context.Context, func(providers.Class, int)) {
	return ctx, func(providers.Class, int) {}
}

// rig is a bus with accounts, and what was told on it.
type rig struct {
	t      testing.TB
	server *embedded.Server
	bus    *bus.Bus
	log    *slog.Logger

	mu     sync.Mutex
	status map[string][]envelope.Status // by message id, in order, each event once
	seen   map[string]bool
	dead   []envelope.DeadLetter
	change chan struct{}
}

func newRig(t *testing.T, accounts ...string) *rig {
	t.Parallel()
	return newBareRig(t, accounts...).listening()
}

func (r *rig) listening() *rig {
	r.follow(bus.EventStream, func(m *bus.Msg) {
		var e envelope.Event
		if json.Unmarshal(m.Data, &e) != nil || r.seen[e.ID] {
			return
		}
		r.seen[e.ID] = true
		for _, msg := range e.Messages {
			r.status[msg.ID] = append(r.status[msg.ID], e.Status)
		}
	})
	r.follow(bus.DeadStream, func(m *bus.Msg) {
		var d envelope.DeadLetter
		if json.Unmarshal(m.Data, &d) == nil {
			r.dead = append(r.dead, d)
		}
	})
	return r
}

// newBareRig does not listen to what is told.
func newBareRig(t testing.TB, accounts ...string) *rig {
	return newRigOn(t, natstest.Server(t), accounts...)
}

func newRigOn(t testing.TB, s *embedded.Server, accounts ...string) *rig {
	r := &rig{t: t, server: s, status: map[string][]envelope.Status{}, seen: map[string]bool{}, change: make(chan struct{}, 1)}
	var w io.Writer = io.Discard
	if os.Getenv("TUMA_TEST_LOG") != "" {
		w = os.Stderr
	}
	r.log = slog.New(slog.NewTextHandler(w, nil))
	r.bus = natstest.Connect(t, r.server, []string{"acme", "other"}, accounts)
	return r
}

func (r *rig) follow(stream string, fn func(*bus.Msg)) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.bus.Tail(ctx, bus.Tail{Stream: stream}, func(m *bus.Msg) {
			r.mu.Lock()
			fn(m)
			r.mu.Unlock()
			select {
			case r.change <- struct{}{}:
			default:
			}
		}, nil)
	}()
	r.t.Cleanup(func() { stop(); <-ended })
}

// until waits for a condition over what was told.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		ok := cond()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.change:
		case <-time.After(50 * time.Millisecond): // conditions may look at a gateway, too
		case <-deadline:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("never happened: %s; told of %d messages, %d dead letters", what, len(r.status), len(r.dead))
		}
	}
}

func (r *rig) count(s envelope.Status) int {
	n := 0
	for _, list := range r.status {
		if len(list) > 0 && list[len(list)-1] == s {
			n++
		}
	}
	return n
}

// dispatcher starts one; stop ends it gracefully.
func (r *rig) dispatcher(owner string, accounts ...dispatch.Account) (stop func()) {
	return r.start(owner, dispatch.Options{Accounts: accounts, Observer: silent{}})
}

func (r *rig) start(owner string, o dispatch.Options) (stop func()) {
	if o.Bus == nil {
		o.Bus = natstest.Connect(r.t, r.server, nil, nil)
	}
	o.Log, o.SweepEvery, o.TellAfter = r.log, time.Second, 500*time.Millisecond
	if o.AckWait == 0 {
		o.AckWait = 2 * time.Second
	}
	j := journal.New(o.Bus, journal.Options{Owner: owner, Log: r.log, LookEvery: 50 * time.Millisecond})
	o.Journal = j
	d := dispatch.New(o)
	jctx, stopJournal := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	jEnded, ended := make(chan struct{}), make(chan struct{})
	go func() { defer close(jEnded); _ = j.Run(jctx) }()
	go func() {
		defer close(ended)
		if err := d.Run(ctx, jctx); err != nil {
			r.t.Errorf("dispatcher: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended; stopJournal(); <-jEnded })
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) account(name string, g *gateway, change ...func(*dispatch.Account)) dispatch.Account {
	slots, err := ratelimit.NewLocal(ratelimit.Options{Account: name, Limits: []ratelimit.Limit{{Requests: 500, Per: time.Second}}, MaxLate: 20 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	a := dispatch.Account{
		Name: name, Type: "fake", Provider: g, Slots: slots, Tenants: []string{"acme", "other"}, BatchSize: g.limits.MaxBatch,
		Linger: 20 * time.Millisecond, Concurrency: 16, Timeout: 2 * time.Second, Failures: 5, OpenFor: time.Second,
	}
	for _, c := range change {
		c(&a)
	}
	return a
}

func number(i int) string { return fmt.Sprintf("+2547%08d", i) }

func (r *rig) piece(id string, from, n int, change ...func(*envelope.Piece)) *envelope.Piece {
	p := &envelope.Piece{
		ID: id, Tenant: "acme", Priority: envelope.Normal, Account: "a", From: "ACME", Text: "hi",
		AcceptedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	}
	for i := range n {
		p.Messages = append(p.Messages, envelope.Message{Index: i, To: number(from + i), Segments: 1})
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func (r *rig) queue(p *envelope.Piece) {
	r.t.Helper()
	data, err := json.Marshal(p)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.bus.Publish(r.t.Context(), bus.Out{Subject: bus.QueueSubject(p.Account, string(p.Priority), p.Tenant), Data: data}); err != nil {
		r.t.Fatal(err)
	}
}

func eachOnce(t *testing.T, g *gateway, n int) {
	t.Helper()
	times := g.times()
	if len(times) != n {
		t.Errorf("%d numbers were sent, want %d", len(times), n)
	}
	for to, k := range times {
		if k != 1 {
			t.Errorf("%s was sent %d times", to, k)
		}
	}
}
