package dispatch_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// past is a process that wrote into the journal and died there and then: what it
// would have told and stored next is owed by whoever meets its messages.
type past struct {
	r     *rig
	j     *journal.Journal
	epoch int64
}

func (r *rig) past() *past {
	j := journal.New(r.bus, journal.Options{Owner: "dead", Log: r.log})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = j.Run(ctx) }()
	r.t.Cleanup(func() { stop(); <-ended })
	epoch, err := r.bus.Epoch(r.t.Context(), bus.QueueStream("a"))
	if err != nil {
		r.t.Fatal(err)
	}
	return &past{r, j, epoch}
}

// of names messages of the queue's first piece.
func (p *past) of(first, end uint32) []idempotency.Span {
	return []idempotency.Span{{Stream: bus.QueueStream("a"), Epoch: p.epoch, Seq: 1, First: first, End: end}}
}

func (p *past) write(rec idempotency.Record) (seq uint64) {
	p.r.t.Helper()
	if rec.Reason != "canceled" { // ingest names no account
		rec.Account, rec.Owes = "a", true
	}
	seq, _, err := p.j.Append(p.r.t.Context(), rec)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return seq
}

func (p *past) intent(first, end uint32) uint64 {
	return p.write(idempotency.Record{Kind: idempotency.Intent, LeaseMillis: 60_000, Spans: p.of(first, end)})
}

func (p *past) outcome(intent uint64, n uint32, to idempotency.State, res journal.MessageResult) {
	p.r.t.Helper()
	d, err := json.Marshal(journal.OutcomeDetail{Time: time.Now().UTC(), Default: res})
	if err != nil {
		p.r.t.Fatal(err)
	}
	p.write(idempotency.Record{Kind: idempotency.Outcome, Intent: intent, Runs: []idempotency.Run{{N: n, To: to}}, Detail: d})
}

func (r *rig) wantTold(id string, want ...envelope.Status) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := r.status[id]; len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
		r.t.Errorf("%s was told %v, want %v", id, got, want)
	}
}

// A close record names what it did not win, too. That is told by its winner.
func TestOnlyWhatACloseRecordWonIsToldAgain(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 3, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(-time.Second) }))
	p := r.past()
	p.outcome(p.intent(0, 1), 1, idempotency.Closed, journal.MessageResult{Status: envelope.Submitted})
	p.write(idempotency.Record{Kind: idempotency.Close, Reason: "expired", Spans: p.of(0, 3)})
	r.dispatcher("d1", r.account("a", newGateway(10)))
	r.until("all told", func() bool { return len(r.status) == 3 })
	r.queue(r.piece("last", 9, 1))
	r.until("the next one submitted", func() bool { return len(r.status["last-0"]) == 1 })
	r.wantTold("e-0", envelope.Submitted)
	r.wantTold("e-1", envelope.Expired)
	r.wantTold("e-2", envelope.Expired)
}

// A message that was cancelled on its way and came back not sent is closed by the
// outcome that frees it. That must be told even if its dispatcher died then.
func TestCancelThatAnOutcomeBroughtAboutIsTold(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 2))
	p := r.past()
	intent := p.intent(0, 2)
	p.write(idempotency.Record{Kind: idempotency.Close, Reason: "canceled", Spans: p.of(1, 2)})
	p.outcome(intent, 2, idempotency.Free, journal.MessageResult{})
	g := newGateway(10)
	r.dispatcher("d1", r.account("a", g))
	r.until("both told", func() bool { return len(r.status) == 2 })
	r.wantTold("e-0", envelope.Submitted)
	r.wantTold("e-1", envelope.Canceled)
	eachOnce(t, g, 1)
}

func TestCancelThatAReleaseBroughtAboutIsTold(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 1))
	p := r.past()
	intent := p.intent(0, 1)
	p.outcome(intent, 1, idempotency.Unsettled, journal.MessageResult{Status: envelope.Uncertain})
	p.write(idempotency.Record{Kind: idempotency.Close, Reason: "canceled", Spans: p.of(0, 1)})
	p.write(idempotency.Record{Kind: idempotency.Release, Intent: intent, Spans: p.of(0, 1)})
	r.dispatcher("d1", r.account("a", newGateway(10)))
	r.until("canceled", func() bool { return r.count(envelope.Canceled) == 1 })
}

// What an uncertain outcome says is only said of what its intent had won.
func TestNobodyElsesMessagesAreCalledUncertain(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 3))
	p := r.past()
	p.outcome(p.intent(0, 1), 1, idempotency.Closed, journal.MessageResult{Status: envelope.Submitted})
	rec := idempotency.Record{Kind: idempotency.Intent, LeaseMillis: 100, Spans: p.of(0, 2)}
	p.write(rec)
	r.dispatcher("d1", r.account("a", newGateway(10)))
	r.until("one uncertain, two submitted", func() bool {
		return r.count(envelope.Uncertain) == 1 && r.count(envelope.Submitted) == 2 && len(r.dead) > 0
	})
	r.wantTold("e-0", envelope.Submitted)
	r.wantTold("e-1", envelope.Uncertain)
}

// A refused message has a dead letter, even if its dispatcher died before it
// wrote one.
func TestDeadLetterOfADeadDispatcher(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 3))
	p := r.past()
	p.outcome(p.intent(1, 3), 2, idempotency.Closed, journal.MessageResult{Status: envelope.Failed, Code: "rejected", ProviderCode: "17"})
	r.dispatcher("d1", r.account("a", newGateway(10)))
	r.until("a dead letter", func() bool { return r.count(envelope.Failed) == 2 && len(r.dead) == 1 })
	if d := r.dead[0]; d.Reason != envelope.DeadRefused || len(d.Piece.Messages) != 2 || d.Error.ProviderCode != "17" {
		t.Errorf("dead letter = %+v", d)
	}
}

// Of one request some messages may be refused and others uncertain: an operator
// may replay the former without risk, so they are not in one letter.
func TestRefusedAndUncertainAreBuriedApart(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		return []providers.Result{{Class: providers.Rejected}, {Class: providers.Uncertain}, {Class: providers.Rejected}}, nil
	}
	r.queue(r.piece("e", 0, 3))
	r.dispatcher("d1", r.account("a", g))
	r.until("two letters", func() bool { return len(r.dead) == 2 })
	for _, d := range r.dead {
		if n := len(d.Piece.Messages); d.Reason == envelope.DeadRefused && n != 2 || d.Reason == envelope.DeadUncertain && n != 1 {
			t.Errorf("letter %s has %d messages", d.Reason, n)
		}
	}
}

// A dispatcher that holds a message which another one sends meanwhile, and dies
// before telling, is the last to know of it.
func TestWhatAnotherSentAndDidNotTellIsTold(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 2))
	acct := r.account("a", newGateway(10))
	closed := r.gated(&acct)
	r.dispatcher("d1", acct)
	<-closed.asked // the first is asked for before any message is there
	r.until("the piece is held", func() bool {
		_, unsettled, err := r.bus.Backlog(context.Background(), bus.QueueStream("a"), "normal-acme")
		return err == nil && unsettled == 1
	})
	p := r.past()
	p.outcome(p.intent(0, 1), 1, idempotency.Closed, journal.MessageResult{Status: envelope.Submitted})
	close(closed.open)
	r.until("both submitted", func() bool { return r.count(envelope.Submitted) == 2 })
}

// A sweeper dies before it tells, in a lane that nobody reads: what it closed is
// owed however long the lane stands still, and by the account's own processes.
func TestExpiredOfADeadSweeperIsTold(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 2, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(-time.Hour) }))
	p := r.past()
	p.write(idempotency.Record{Kind: idempotency.Mode, Paused: true})
	p.write(idempotency.Record{Kind: idempotency.Close, Reason: "expired", Spans: p.of(0, 2)})
	r.dispatcher("d1", r.account("a", newGateway(10)))
	r.until("expired", func() bool { return r.count(envelope.Expired) == 2 })
	if n := len(p.j.Owed("a", 0)); n != 0 {
		r.until("nothing is owed", func() bool { return len(p.j.Owed("a", 0)) == 0 })
	}
}

// What cannot be told, for now or ever, keeps nothing else from being told.
func TestWhatCannotBeToldStandsInNobodysWay(t *testing.T) {
	r := newRig(t, "a")
	r.queue(r.piece("e", 0, 2))
	p := r.past()
	damaged := p.intent(0, 1)
	p.write(idempotency.Record{Kind: idempotency.Outcome, Intent: damaged, Runs: []idempotency.Run{{N: 1, To: idempotency.Closed}}, Detail: json.RawMessage(`"?"`)})
	p.outcome(p.intent(1, 2), 1, idempotency.Closed, journal.MessageResult{Status: envelope.Submitted})
	r.dispatcher("d1", r.account("a", newGateway(10)))
	r.until("the second is told", func() bool { return len(r.status["e-1"]) == 1 })
}
