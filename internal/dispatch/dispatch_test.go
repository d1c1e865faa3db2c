package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
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
	r := newBareRig(t, accounts...)
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
	r := &rig{t: t, server: natstest.Server(t), status: map[string][]envelope.Status{}, seen: map[string]bool{}, change: make(chan struct{}, 1)}
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

func TestBacklogLeavesInFullBatchesOnce(t *testing.T) {
	r := newRig(t, "a")
	for i := range 500 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i, 1))
	}
	g := newGateway(100)
	r.dispatcher("d1", r.account("a", g))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 500 })
	eachOnce(t, g, 500)
	if n := g.requests(); n > 7 {
		t.Errorf("%d requests for 500 messages in batches of 100", n)
	}
}

func TestThreeDispatchersShareWithoutOverlap(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	for i := range 3 {
		r.dispatcher(fmt.Sprintf("d%d", i), r.account("a", g))
	}
	for i := range 60 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i*10, 10))
	}
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 600 })
	eachOnce(t, g, 600)
}

func TestNeverOneNumberTwiceInARequest(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(100)
	for i := range 10 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), 7, 1))
	}
	r.dispatcher("d1", r.account("a", g))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 10 })
	if n := g.requests(); n != 10 {
		t.Errorf("%d requests for ten messages to one number", n)
	}
}

func TestFullReplaySendsNothing(t *testing.T) {
	r := newRig(t, "a")
	for i := range 30 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i*5, 5))
	}
	g := newGateway(20)
	stop := r.dispatcher("d1", r.account("a", g))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 150 })
	stop()
	// The consumer's state is lost: everything comes again as if for the first time.
	if err := r.bus.DeleteConsumer(t.Context(), bus.QueueStream("a"), "normal-acme"); err != nil {
		t.Fatal(err)
	}
	again := newGateway(20)
	r.dispatcher("d2", r.account("a", again))
	r.queue(r.piece("last", 900, 1))
	r.until("the new one submitted", func() bool { return r.count(envelope.Submitted) == 151 })
	eachOnce(t, again, 1)
}

func TestNotSentIsTriedAgain(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	failures := 2
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		if failures--; failures >= 0 {
			return nil, &providers.Error{Class: providers.Unavailable, Err: errors.New("refused")}
		}
		return accepted(b), nil
	}
	r.queue(r.piece("e", 0, 3))
	r.dispatcher("d1", r.account("a", g))
	r.until("submitted", func() bool { return r.count(envelope.Submitted) == 3 })
}

func TestUncertainIsHeldForAnOperator(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	g.answer = func(*providers.Batch) ([]providers.Result, error) {
		return nil, &providers.Error{Class: providers.Uncertain, Err: errors.New("reset")}
	}
	r.queue(r.piece("e", 0, 3))
	r.dispatcher("d1", r.account("a", g))
	r.until("uncertain and dead", func() bool { return r.count(envelope.Uncertain) == 3 && len(r.dead) == 1 })
	if d := r.dead[0]; d.Reason != envelope.DeadUncertain || len(d.Piece.Messages) != 3 {
		t.Errorf("dead letter = %+v", d)
	}
	eachOnce(t, g, 3)
}

func TestUncertainHighPriorityIsRetriedOnce(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	g.answer = func(*providers.Batch) ([]providers.Result, error) {
		return nil, &providers.Error{Class: providers.Uncertain, Err: errors.New("reset")}
	}
	r.queue(r.piece("e", 0, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	r.dispatcher("d1", r.account("a", g))
	r.until("held after the second try", func() bool { return len(r.dead) == 1 })
	if n := g.times()[number(0)]; n != 2 {
		t.Errorf("sent %d times, want 2", n)
	}
}

func TestRefusedHereGoesToTheNextAccount(t *testing.T) {
	r := newRig(t, "a", "b")
	first, second := newGateway(10), newGateway(10)
	first.answer = func(b *providers.Batch) ([]providers.Result, error) {
		out := accepted(b)
		out[1] = providers.Result{Class: providers.RejectedHere, Code: "111"}
		return out, nil
	}
	second.answer = func(b *providers.Batch) ([]providers.Result, error) {
		return []providers.Result{{Class: providers.Rejected, Code: "BLACKLISTED"}}, nil
	}
	r.queue(r.piece("e", 0, 3, func(p *envelope.Piece) { p.Route = []string{"b"} }))
	r.dispatcher("d1", r.account("a", first), r.account("b", second))
	r.until("two submitted, one failed", func() bool {
		return r.count(envelope.Submitted) == 2 && r.count(envelope.Failed) == 1 && len(r.dead) == 1
	})
	if got := r.status["e-1"]; len(got) != 1 || got[0] != envelope.Failed {
		t.Errorf("message 1 told %v", got)
	}
	if d := r.dead[0]; d.Account != "b" || d.Error.ProviderCode != "BLACKLISTED" {
		t.Errorf("dead letter = %+v", d)
	}
}

func TestOneBadMessageFailsNobodyElse(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1000)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		for _, m := range b.Messages {
			if m.To == number(617) {
				return nil, &providers.Error{Class: providers.Rejected, Status: 400, Bisect: true}
			}
		}
		return accepted(b), nil
	}
	r.queue(r.piece("e", 0, 1000))
	r.dispatcher("d1", r.account("a", g))
	r.until("all but one submitted", func() bool { return r.count(envelope.Submitted) == 999 && r.count(envelope.Failed) == 1 })
	if got := r.status["e-617"]; len(got) != 1 || got[0] != envelope.Failed {
		t.Errorf("the bad one told %v", got)
	}
	if n := g.requests(); n > 12 {
		t.Errorf("%d requests to find one in 1000, want at most 12", n)
	}
}

func TestDeadOwnersMessagesBecomeUncertain(t *testing.T) {
	r := newRig(t, "a")
	p := r.piece("e", 0, 4)
	r.queue(p)
	epoch, err := r.bus.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	rec := idempotency.Record{
		Kind: idempotency.Intent, Account: "a", Owner: "dead", LeaseMillis: 300,
		Spans: []idempotency.Span{{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 1, First: 1, End: 3}},
	}
	data, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: bus.JournalSubject("intent", "a"), Data: data}); err != nil {
		t.Fatal(err)
	}
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("two sent, two uncertain", func() bool {
		return r.count(envelope.Submitted) == 2 && r.count(envelope.Uncertain) == 2 && len(r.dead) > 0
	})
	eachOnce(t, g, 2)
	if g.times()[number(1)]+g.times()[number(2)] != 0 {
		t.Error("a message that a dead process may have sent was sent again")
	}
}

func TestExpiredNeverLeaves(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("old", 0, 2, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(-time.Second) }))
	r.queue(r.piece("new", 5, 1))
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("one sent, two expired", func() bool { return r.count(envelope.Submitted) == 1 && r.count(envelope.Expired) == 2 })
	eachOnce(t, g, 1)
}

// What expires while an account is paused is told soon, not when the account
// moves again, and does not leave then.
func TestExpiredInAPausedLaneIsTold(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	j := journal.New(r.bus, journal.Options{Owner: "operator", Log: r.log})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	defer func() { stop(); <-ended }()
	pause := func(on bool) {
		if _, _, err := j.Append(t.Context(), idempotency.Record{Kind: idempotency.Mode, Account: "a", Paused: on}); err != nil {
			t.Fatal(err)
		}
	}
	pause(true)
	r.dispatcher("d1", r.account("a", g))
	r.queue(r.piece("stays", 0, 2))
	r.queue(r.piece("goes", 5, 3, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(100 * time.Millisecond) }))
	r.until("three expired", func() bool { return r.count(envelope.Expired) == 3 })
	if g.requests() != 0 {
		t.Error("something was sent while paused")
	}
	pause(false)
	r.until("the others submitted", func() bool { return r.count(envelope.Submitted) == 2 })
	eachOnce(t, g, 2)
}

func TestClosedIsNeverSent(t *testing.T) {
	r := newRig(t, "a")
	j := journal.New(r.bus, journal.Options{Owner: "ingest", Log: r.log})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	defer func() { stop(); <-ended }()
	r.queue(r.piece("e", 0, 3))
	epoch, err := r.bus.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	_, effect, err := j.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Close, Account: "a", Reason: "canceled",
		Spans: []idempotency.Span{{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 1, First: 0, End: 2}},
	})
	if err != nil || effect.Acted != 2 {
		t.Fatalf("effect = %+v, %v", effect, err)
	}
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("one sent", func() bool { return r.count(envelope.Submitted) == 1 })
	eachOnce(t, g, 1)
}

func TestUrgentOvertakesBulk(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1)
	for i := range 400 {
		r.queue(r.piece(fmt.Sprintf("b%d", i), i, 1, func(p *envelope.Piece) { p.Priority = envelope.Bulk }))
	}
	slow := func(a *dispatch.Account) {
		s, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", Limits: []ratelimit.Limit{{Requests: 50, Per: time.Second}}, MaxLate: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		a.Slots = s
	}
	r.dispatcher("d1", r.account("a", g, slow))
	r.until("bulk is on its way", func() bool { return g.requests() >= 5 })
	before := g.requests()
	r.queue(r.piece("otp", 900, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	r.until("the urgent one left", func() bool { return g.times()[number(900)] == 1 })
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, b := range g.sent {
		if b[0].To == number(900) && i > before+8 {
			t.Errorf("left as request %d, submitted after %d", i, before)
		}
	}
}

// gate is a limiter that grants nothing until it is opened.
type gate struct {
	dispatch.Slots
	open  chan struct{}
	asked chan struct{}
	most  atomic.Int64 // backlog that was told
}

func (r *rig) gated(a *dispatch.Account) *gate {
	g := &gate{Slots: a.Slots, open: make(chan struct{}), asked: make(chan struct{}, 1000)}
	a.Slots = g
	return g
}

func (g *gate) Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error) {
	g.asked <- struct{}{}
	g.most.Store(max(g.most.Load(), int64(backlog)))
	select {
	case <-g.open:
	case <-ctx.Done():
		return ratelimit.Slot{}, ctx.Err()
	}
	return g.Slots.Next(ctx, messages, backlog)
}

// A backlog in the queue, not only what is held here, decides how many slots are
// leased in one call: a pool holds two requests' worth at most.
func TestBacklogInTheQueueLeasesSlotsAhead(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	for i := range 400 {
		r.queue(r.piece(fmt.Sprintf("e%d", i), i, 1))
	}
	acct := r.account("a", g)
	closed := r.gated(&acct)
	r.dispatcher("d1", acct)
	<-closed.asked
	r.until("the pool is full", func() bool {
		_, unsettled, err := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-acme")
		return err == nil && unsettled >= 20
	})
	close(closed.open)
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 400 })
	if most := closed.most.Load(); most < 10 {
		t.Errorf("asked for %d slots at once with a backlog of 40 requests", most)
	}
}

// giving counts what is given back to a limiter.
type giving struct {
	dispatch.Slots
	unused, left atomic.Int32
}

func (g *giving) Unused(ctx context.Context, sl ratelimit.Slot) {
	g.unused.Add(1)
	g.Slots.Unused(ctx, sl)
}

func (g *giving) Leave(ctx context.Context) error {
	g.left.Add(1)
	return g.Slots.Leave(ctx)
}

// A connection that takes its time makes the request miss its slot: nothing
// leaves in it, it is given up for others, and the next slot is used for the
// request as it is, at once and without blame. A dispatcher that ends gives up
// what it leased ahead.
func TestSlotMissedAtTheSocketIsGivenUp(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	var dials atomic.Int32
	g.dial = func() {
		if dials.Add(1) == 1 {
			late := time.After(60 * time.Millisecond) // three times as late as a slot may be used
			<-late
		}
	}
	r.queue(r.piece("e", 0, 5))
	acct := r.account("a", g)
	slots := &giving{Slots: acct.Slots}
	acct.Slots = slots
	stop := r.dispatcher("d1", acct)
	r.until("submitted", func() bool { return r.count(envelope.Submitted) == 5 })
	eachOnce(t, g, 5)
	if n := dials.Load(); n != 1 {
		t.Errorf("%d tries, want one that waits for another slot", n)
	}
	stop()
	if unused, left := slots.unused.Load(), slots.left.Load(); unused != 1 || left != 1 {
		t.Errorf("%d slots given up, left %d times, want one each", unused, left)
	}
	if got := r.reasons(); len(got) != 0 {
		t.Errorf("the gateway was blamed: %q", got)
	}
}

// A message that is cancelled while a dispatcher holds it, ready to go, must not
// leave: only the intent can know.
func TestCancelledInTheLastMomentIsNeverSent(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 3))
	g := newGateway(10)
	acct := r.account("a", g)
	closed := r.gated(&acct)
	r.dispatcher("d1", acct)
	<-closed.asked // the first is asked for before any message is there
	r.until("the piece is held", func() bool {
		_, unsettled, err := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-acme")
		return err == nil && unsettled == 1
	})
	j := journal.New(r.bus, journal.Options{Owner: "ingest", Log: r.log})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	defer func() { stop(); <-ended }()
	epoch, err := r.bus.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, effect, err := j.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Close, Reason: "canceled", Spans: []idempotency.Span{{Stream: bus.QueueStream("a"), Epoch: epoch, Seq: 1, First: 1, End: 2}},
	}); err != nil || effect.Acted != 1 {
		t.Fatalf("effect = %+v, %v", effect, err)
	}
	close(closed.open)
	r.until("the others submitted", func() bool { return r.count(envelope.Submitted) == 2 })
	eachOnce(t, g, 2)
	if g.times()[number(1)] != 0 {
		t.Error("a cancelled message was sent")
	}
}

func TestOneTenantDoesNotWaitBehindAnother(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1)
	for i := range 200 {
		r.queue(r.piece(fmt.Sprintf("a%d", i), i, 1))
	}
	for i := range 10 {
		r.queue(r.piece(fmt.Sprintf("o%d", i), 500+i, 1, func(p *envelope.Piece) { p.Tenant = "other" }))
	}
	acct := r.account("a", g, func(a *dispatch.Account) { // those without messages must not take turns
		a.Tenants = []string{"acme", "other", "idle-1", "idle-2", "idle-3", "idle-4"}
	})
	closed := r.gated(&acct)
	r.dispatcher("d1", acct)
	r.until("both tenants' messages are held", func() bool {
		_, a, _ := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-acme")
		_, o, err := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-other")
		return err == nil && a >= 2 && o >= 2
	})
	close(closed.open)
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 210 })
	g.mu.Lock()
	defer g.mu.Unlock()
	last := 0
	for i, b := range g.sent {
		if b[0].To >= number(500) {
			last = i
		}
	}
	if last > 30 {
		t.Errorf("the other tenant's ten left only by request %d of 210", last)
	}
}

// selfish is a limiter whose next slots belong to others for as long as somebody
// asks with a backlog.
type selfish struct {
	dispatch.Slots
	asked chan int
}

func (s *selfish) Next(ctx context.Context, messages, backlog int) (ratelimit.Slot, error) {
	s.asked <- backlog
	if backlog > 1 {
		<-ctx.Done()
		return ratelimit.Slot{}, context.Cause(ctx)
	}
	return s.Slots.Next(ctx, messages, backlog)
}

// With several dispatchers each leases slots for its backlog in turn. Who waits for
// its turn when something urgent comes asks anew, for one slot, and gets it at once.
func TestUrgentDoesNotWaitForATurn(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(1)
	for i := range 20 {
		r.queue(r.piece(fmt.Sprintf("b%d", i), i, 1, func(p *envelope.Piece) { p.Priority = envelope.Bulk }))
	}
	acct := r.account("a", g)
	slots := &selfish{Slots: acct.Slots, asked: make(chan int, 1000)}
	acct.Slots = slots
	r.dispatcher("d1", acct)
	for backlog := range slots.asked {
		if backlog > 1 {
			break
		}
	}
	r.queue(r.piece("otp", 900, 1, func(p *envelope.Piece) { p.Priority = envelope.High }))
	r.until("the urgent one left", func() bool { return g.times()[number(900)] == 1 })
}

// What lies in a lane that nobody reads is not silent for ever.
func TestStrays(t *testing.T) {
	r := newRig(t, "a")
	gone := func(p *envelope.Piece) { p.Tenant = "gone" }
	r.queue(r.piece("late", 0, 2, gone, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(-time.Second) }))
	r.queue(r.piece("waits", 5, 1, gone))
	if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: bus.QueueSubject("a", "high", "gone"), Data: []byte("nonsense")}); err != nil {
		t.Fatal(err)
	}
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("two expired, one dead", func() bool { return r.count(envelope.Expired) == 2 && len(r.dead) == 1 })
	r.until("the dead one is out of the queue", func() bool {
		s, err := r.bus.State(t.Context(), bus.QueueStream("a"))
		return err == nil && s.Messages == 2
	})
	if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: "sms.queue.a.urgent.acme", Data: []byte("x")}); err == nil {
		t.Error("a priority that nobody reads was stored")
	}
	if g.requests() != 0 {
		t.Error("a stray was sent")
	}
}

func TestPoisonGoesToDeadLettersAndTheLaneGoesOn(t *testing.T) {
	r := newRig(t, "a")
	now := time.Now().Format(time.RFC3339)
	piece := func(rest string) string {
		return `{"id":"x","tenant":"acme","priority":"normal","account":"a","from":"ACME","text":"t","accepted_at":"` + now + `","expires_at":"2099-01-01T00:00:00Z",` + rest + `}`
	}
	many := strings.TrimSuffix(strings.Repeat(`{"i":1,"to":"+254712345678","seg":1},`, 10_001), ",")
	poison := []string{
		"", "{", `{"id":"x"}`, strings.Repeat("[", 1000), "null", "[]", `"x"`, "\x00\xff", `{"version":999}`, strings.Repeat("x", 900<<10),
		piece(`"messages":[]`), piece(`"messages":null`), piece(`"messages":[{"i":-1,"to":"+254712345678","seg":1}]`),
		piece(`"messages":[{"i":4294967296,"to":"+254712345678","seg":1}]`), piece(`"messages":[{"i":0,"to":"","seg":1}]`),
		piece(`"messages":[{"i":0,"to":"+254712345678\r\nX: y","seg":1}]`), piece(`"messages":[{"i":0,"to":"+254712345678","seg":-1}]`),
		piece(`"messages":[{"i":0,"to":"+254712345678","seg":1},{"i":0,"to":"+254712345679","seg":1}]`),
		piece(`"messages":[` + many + `]`), piece(`"origin":{"stream":"","epoch":0,"seq":0},"messages":[{"i":0,"to":"+254712345678","seg":1}]`),
		strings.Replace(piece(`"messages":[{"i":0,"to":"+254712345678","seg":1}]`), "acme", "beta", 1), // the subject says otherwise
	}
	for _, data := range poison {
		if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: bus.QueueSubject("a", "normal", "acme"), Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	r.queue(r.piece("good", 0, 1))
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("good sent, the others dead", func() bool { return r.count(envelope.Submitted) == 1 && len(r.dead) == len(poison) })
	if g.requests() != 1 {
		t.Errorf("%d requests", g.requests())
	}
}

// A limit may count messages, and take less in its window than a batch holds.
func TestCountedLimitCutsTheBatch(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(100)
	counted := func(a *dispatch.Account) {
		s, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", MaxLate: 20 * time.Millisecond, Limits: []ratelimit.Limit{
			{Requests: 100, Per: time.Second}, {Messages: 15, Per: 2 * time.Second},
		}})
		if err != nil {
			t.Fatal(err)
		}
		a.Slots, a.Counted = s, true
	}
	r.queue(r.piece("e", 0, 30))
	r.dispatcher("d1", r.account("a", g, counted))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 30 })
	eachOnce(t, g, 30)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.sent {
		if len(b) > 15 {
			t.Errorf("a request of %d messages, the window takes 15", len(b))
		}
	}
}
