package ingest_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// A cancel holds once the journal has it. That its event finds no room for some
// seconds is no failure of the cancel.
func TestCancelWhileEventsFindNoRoom(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.accepted(one).Messages[0].ID
	full := func(yes bool) {
		natstest.Change(t, r.server, bus.EventStream, func(c *jetstream.StreamConfig) {
			c.Discard, c.MaxBytes = jetstream.DiscardOld, -1
			if yes {
				c.Discard, c.MaxBytes = jetstream.DiscardNew, 1
			}
		})
	}
	full(true)
	var asking sync.WaitGroup
	asking.Go(func() {
		if a := r.do("k-acme", http.MethodDelete, "/v1/messages/"+id, ""); a.status != http.StatusOK || !strings.Contains(a.body, `"canceled":1`) {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	r.eventually("the journal has it", func() bool {
		s, err := r.bus.State(t.Context(), bus.JournalStream)
		return err == nil && s.Messages > 0
	})
	full(false)
	asking.Wait()
	r.events("acme", envelope.Canceled, 1)
}
