package dispatch_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// large is a piece that a server takes only packed.
func (r *rig) large(id string, change ...func(*envelope.Piece)) {
	r.t.Helper()
	p := r.piece(id, 0, 100, change...)
	p.Template = true
	for i := range p.Messages {
		p.Messages[i].Variables = map[string]string{"name": strings.Repeat("Asha ", 3000)}
	}
	data, err := json.Marshal(p)
	if err != nil {
		r.t.Fatal(err)
	}
	if int64(len(data)) < r.bus.MaxPayload() {
		r.t.Fatalf("%d bytes are not large", len(data))
	}
	o := bus.Out{Subject: bus.QueueSubject(p.Account, string(p.Priority), p.Tenant), Data: data}
	o.Pack()
	if _, err := r.bus.Publish(r.t.Context(), o); err != nil {
		r.t.Fatal(err)
	}
}

// A piece that had to be packed goes every way that others go: to the next account, to
// its second try and back, and to the dead letters.
func TestPackedPieceGoesEveryWay(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(t.Context(), embedded.Options{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), MaxPayload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	r := newRigOn(t, s, "a", "b").listening()
	first, second := newGateway(1000), newGateway(1000)
	first.answer = every(providers.RejectedHere)
	second.answer = func(b *providers.Batch) ([]providers.Result, error) {
		if second.times()[b.Messages[0].To] == 1 { // each request by itself: they go side by side
			return every(providers.Uncertain)(b)
		}
		return every(providers.Rejected)(b)
	}
	r.large("e", urgent("b"))
	r.dispatcher("d1", r.account("a", first), r.account("b", second))
	r.until("all moved, and are uncertain", func() bool { return r.count(envelope.Uncertain) == 100 })
	r.until("all were tried again, and are refused", func() bool { return r.count(envelope.Failed) == 100 })
	r.until("all are in dead letters", func() bool {
		n := 0
		for _, d := range r.dead {
			n += len(d.Piece.Messages)
		}
		return n == 100
	})
}

// every answers every message in one way.
func every(c providers.Class) func(*providers.Batch) ([]providers.Result, error) {
	return func(b *providers.Batch) ([]providers.Result, error) {
		out := make([]providers.Result, len(b.Messages))
		for i := range out {
			out[i].Class = c
		}
		return out, nil
	}
}

// An outcome that no message can hold is recorded without what the gateway said of each
// message: what became of them counts more.
func TestOutcomeThatIsTooLargeIsRecordedInShort(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(t.Context(), embedded.Options{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), MaxPayload: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	r := newRigOn(t, s, "a").listening()
	g := newGateway(100)
	g.answer = func(b *providers.Batch) ([]providers.Result, error) {
		out := accepted(b)
		for i := range out {
			out[i].ProviderID = strings.Repeat(fmt.Sprint(i, "-"), 400)
		}
		return out, nil
	}
	r.queue(r.piece("e", 0, 100))
	r.dispatcher("d1", r.account("a", g))
	r.until("all submitted", func() bool { return r.count(envelope.Submitted) == 100 })
	eachOnce(t, g, 100)
}
