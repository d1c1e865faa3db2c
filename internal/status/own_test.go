package status

import (
	"errors"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// An event that this process tells itself counts when it is stored, and is not
// read when the stream brings it; one that may not have been stored is. The
// stream's copy says something else here, to tell them apart.
func TestOwnEventsAreFoldedOnce(t *testing.T) {
	t.Parallel()
	failed := errors.New("no ack")
	for name, c := range map[string]struct {
		during, after bool // when the stream brings it
		err           error
		want          envelope.Status
	}{
		"stored":                        {want: envelope.Submitted},
		"stored, comes later":           {after: true, want: envelope.Submitted},
		"stored, came before the ack":   {during: true, want: envelope.Submitted},
		"no ack":                        {err: failed},
		"no ack, and comes later":       {after: true, err: failed, want: envelope.Delivered},
		"no ack, but it came":           {during: true, err: failed, want: envelope.Submitted},
		"no ack, it came, and comes on": {during: true, after: true, err: failed, want: envelope.Delivered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{})
			e := envelope.Event{
				ID: "id", Time: time.Now(), Tenant: "acme", Status: envelope.Submitted, Messages: []envelope.EventMessage{{ID: "E-0", EnvelopeID: "E"}},
			}
			other := e
			other.Status = envelope.Delivered
			come := func() {
				s.event(&bus.Msg{Header: bus.Header{"Nats-Msg-Id": {e.ID}}, Data: envelope.AppendEvent(nil, &other)}, 1)
			}
			err := s.Tell([]envelope.Event{e}, func() error {
				if c.during {
					come()
				}
				return c.err
			})
			if !errors.Is(err, c.err) {
				t.Error(err)
			}
			if c.after {
				come()
			}
			if now, _ := s.Current("E-0"); now != c.want {
				t.Errorf("is %q, want %q", now, c.want)
			}
		})
	}
}

func TestOwnEventsWaitedForAreBounded(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	for i := range 5 * ownAtMost {
		e := envelope.Event{ID: string(rune('a'+i%26)) + time.Duration(i).String()}
		_ = s.Tell([]envelope.Event{e}, func() error { return nil }) // and none ever comes
	}
	if n := len(s.own.now) + len(s.own.old); n > 2*ownAtMost {
		t.Errorf("waits for %d", n)
	}
}
