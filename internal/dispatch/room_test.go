package dispatch_test

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// full is an Observer that remembers the mode journal.
type full struct {
	silent
	on *atomic.Bool
}

func (f full) Mode(_, mode string, on bool) {
	if mode == "journal" {
		f.on.Store(on)
	}
}

// A journal that is nearly full takes no intents any more, and the outcomes of
// those that are under way all the same.
func TestFullJournalTakesOutcomesOnly(t *testing.T) {
	r := newRig(t, "a")
	natstest.Change(t, r.server, bus.JournalStream, func(c *jetstream.StreamConfig) { c.MaxBytes = 512 << 10 })
	p := r.past()
	g := newGateway(10)
	asked, open := make(chan struct{}, 10), make(chan struct{})
	answer := sync.OnceFunc(func() { close(open) })
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		asked <- struct{}{}
		<-open
		return accepted(b), nil
	}
	r.queue(r.piece("first", 0, 1))
	var on atomic.Bool
	r.start("d1", dispatch.Options{Accounts: []dispatch.Account{r.account("a", g)}, Observer: full{on: &on}, MeasureEvery: 100 * time.Millisecond})
	t.Cleanup(answer)
	<-asked
	filler, err := json.Marshal(strings.Repeat("x", 8<<10))
	if err != nil {
		t.Fatal(err)
	}
	for {
		s, err := r.bus.State(t.Context(), bus.JournalStream)
		if err != nil {
			t.Fatal(err)
		}
		if float64(s.Bytes) > 0.92*float64(s.MaxBytes) {
			break
		}
		p.write(idempotency.Record{Kind: idempotency.Health, Detail: filler})
	}
	r.until("the journal is found full", on.Load)
	r.queue(r.piece("second", 1, 1))
	answer()
	r.until("the first is recorded", func() bool { return len(r.status["first-0"]) == 1 && r.status["first-0"][0] == envelope.Submitted })
	r.until("the second is held", func() bool {
		_, unsettled, err := r.bus.Backlog(t.Context(), bus.QueueStream("a"), "normal-acme")
		return err == nil && unsettled > 0
	})
	if n := g.requests(); n != 1 {
		t.Errorf("%d requests left while the journal was full", n)
	}
	r.queue(r.piece("third", 2, 1, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(100 * time.Millisecond) }))
	r.until("what expires meanwhile is told", func() bool { return len(r.status["third-0"]) == 1 && r.status["third-0"][0] == envelope.Expired })
	natstest.Change(t, r.server, bus.JournalStream, func(c *jetstream.StreamConfig) { c.MaxBytes = 4 << 20 })
	r.until("the second is sent", func() bool { return len(r.status["second-0"]) == 1 })
}

// A limit that counts has counted what a slot was asked for: while the journal refuses
// intents, none is asked for.
func TestNoAllowanceIsSpentWhileTheJournalRefuses(t *testing.T) {
	r := newRig(t, "a")
	g := newGateway(10)
	acct := r.account("a", g, func(a *dispatch.Account) {
		slots, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", Limits: []ratelimit.Limit{{Messages: 5, Per: time.Hour}}})
		if err != nil {
			t.Fatal(err)
		}
		a.Slots, a.Counted = slots, true
	})
	r.dispatcher("d1", acct)
	r.queue(r.piece("first", 0, 1))
	r.until("the first is sent", func() bool { return len(r.status["first-0"]) == 1 })
	r.limit(bus.JournalStream, 1)
	r.queue(r.piece("second", 1, 1))
	refused := time.After(6 * time.Second) // half a dozen tries
	<-refused
	r.limit(bus.JournalStream, -1)
	r.until("the second is sent", func() bool { return len(r.status["second-0"]) == 1 })
}
