package dispatch_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

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
