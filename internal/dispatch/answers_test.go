package dispatch_test

import (
	"errors"
	"testing"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

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
