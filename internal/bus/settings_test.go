package bus_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

func TestStreamsChangedByHandArePutRight(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, []string{"acme"}, []string{"a"})
	for stream, set := range map[string]func(*jetstream.StreamConfig){
		bus.QueueStream("a"): func(c *jetstream.StreamConfig) { c.MaxAge, c.MaxMsgs = time.Hour, 10 },
		bus.JournalStream:    func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		bus.EventStream:      func(c *jetstream.StreamConfig) { c.Duplicates = time.Second },
		bus.SubmitStream("acme"): func(c *jetstream.StreamConfig) {
			c.AllowRollup = true
			c.Subjects = append(c.Subjects, "sms.submit.acme.other")
		},
		bus.CheckpointStream: func(c *jetstream.StreamConfig) { c.AllowDirect = true },
	} {
		natstest.Change(t, s, stream, set)
	}
	if found, err := b.Inspect(t.Context(), []string{"acme"}, []string{"a", "new"}); err != nil || len(found) != 6 {
		t.Errorf("found %+v, %v", found, err)
	}
	if err := b.EnsureStreams(t.Context(), []string{"acme"}, []string{"a", "new"}); err != nil {
		t.Fatal(err)
	}
	if found, err := b.Inspect(t.Context(), []string{"acme"}, []string{"a", "new"}); err != nil || len(found) != 0 {
		t.Errorf("left %+v, %v", found, err)
	}
}

// What the server does not let us put right is refused in words that say what it
// is and what to do.
func TestStreamThatCannotBePutRightIsRefused(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	b := natstest.Connect(t, s, []string{"acme"}, nil)
	js := natstest.ByHand(t, s)
	have, err := js.Stream(t.Context(), bus.SubmitStream("acme"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := have.CachedInfo().Config
	cfg.Retention = jetstream.LimitsPolicy
	if err := js.DeleteStream(t.Context(), cfg.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	err = b.EnsureStreams(t.Context(), []string{"acme"}, nil)
	if !errors.Is(err, bus.ErrSettings) || !strings.Contains(err.Error(), "stream SMS_SUBMIT_acme") || !strings.Contains(err.Error(), "retention is Limits, not WorkQueue") {
		t.Errorf("%v", err)
	}
}

// A consumer that acks by itself, or begins at the end, would lose messages: it is
// made anew.
func TestConsumerChangedByHandIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]jetstream.ConsumerConfig{
		"acks by itself":    {AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy},
		"begins at the end": {AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverNewPolicy},
		"gives up":          {AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy, MaxDeliver: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Server(t)
			b := natstest.Connect(t, s, nil, []string{"a"})
			subject := bus.QueueSubject("a", "normal", "acme")
			if _, err := b.Publish(t.Context(), bus.Out{Subject: subject, Data: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			cfg.Durable, cfg.FilterSubject = "normal-acme", subject
			if _, err := natstest.ByHand(t, s).CreateConsumer(t.Context(), bus.QueueStream("a"), cfg); err != nil {
				t.Fatal(err)
			}
			p, err := b.Pull(t.Context(), bus.Consumer{Stream: bus.QueueStream("a"), Name: "normal-acme", Filters: []string{subject}})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			for range 2 {
				m, err := p.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := m.Nak(0); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
