package dispatch_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A sweep is bounded, and the next one goes on where it ended: what expires far back in
// a lane that stands still is told, too.
func TestExpiredFarBackInALaneIsTold(t *testing.T) {
	r := newRig(t, "a")
	p := r.past()
	p.write(idempotency.Record{Kind: idempotency.Mode, Paused: true})
	data, err := json.Marshal(r.piece("stays", 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	var last bus.Pending
	for range dispatch.SweepAtMost + 500 {
		if last, err = r.bus.PublishAsync(bus.Out{Subject: bus.QueueSubject("a", "normal", "acme"), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		r.queue(r.piece(fmt.Sprintf("goes%d", i), i, 1, func(p *envelope.Piece) { p.ExpiresAt = time.Now().Add(time.Second) }))
	}
	r.dispatcher("d1", r.account("a", newGateway(10)))
	r.until("those far back are told", func() bool { return r.count(envelope.Expired) == 5 })
}
