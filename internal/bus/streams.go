package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// EnsureStreams makes the streams that are missing and brings the others to
// this version's settings. Every program calls it, so start order does not
// matter; calling it again changes nothing. A stream that is as it should be is
// only looked at, so that programs whose user may make none need no more.
func (b *Bus) EnsureStreams(ctx context.Context, tenants, accounts []string) error {
	for _, c := range b.configs(tenants, accounts) {
		make := b.ensure
		if c.Name == JournalStream {
			make = b.ensureJournal
		}
		s, err := make(ctx, c)
		if err != nil {
			return fmt.Errorf("stream %s: %w", c.Name, err)
		}
		b.mu.Lock()
		b.streams[c.Name], b.looked[c.Name] = s, time.Now()
		b.mu.Unlock()
	}
	return nil
}

// configs are all streams as this version makes them.
func (b *Bus) configs(tenants, accounts []string) []jetstream.StreamConfig {
	out := append([]jetstream.StreamConfig{checkpointConfig}, fixed...)
	for _, t := range tenants {
		out = append(out, submitConfig(t))
	}
	for _, a := range accounts {
		out = append(out, queueConfig(a))
	}
	for i := range out {
		out[i].Storage, out[i].Replicas = jetstream.FileStorage, b.replicas
	}
	return out
}

// The journal's limit unless one is given. A server sets aside what a stream may
// take, and refuses more than it has.
const (
	journalMost  = 64 << 30
	journalLeast = 256 << 20
)

// ensureJournal gives the journal its limit: what is given, what it has, or as much
// as there is room for.
func (b *Bus) ensureJournal(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	if c.MaxBytes = b.journal; c.MaxBytes > 0 {
		return b.ensure(ctx, c)
	}
	c.MaxBytes = journalMost
	if s, err := b.js.Stream(ctx, c.Name); err == nil && s.CachedInfo().Config.MaxBytes > 0 {
		c.MaxBytes = s.CachedInfo().Config.MaxBytes
	}
	for {
		s, err := b.ensure(ctx, c)
		var api *jetstream.APIError
		if err == nil || c.MaxBytes <= journalLeast || !errors.As(err, &api) || !slices.Contains(noStorage[:], api.ErrorCode) {
			return s, err
		}
		c.MaxBytes /= 2
	}
}

// noStorage are the server's words for a limit that it has no room for.
var noStorage = [...]jetstream.ErrorCode{10005, 10023, 10028, 10047}

func (b *Bus) ensure(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := b.js.Stream(ctx, c.Name)
	switch {
	case err == nil:
		wrong := differences(s.CachedInfo().Config, c)
		if len(wrong) == 0 {
			return s, nil
		}
		if s, err = b.js.UpdateStream(ctx, c); err != nil {
			return nil, unchangeable(wrong, err)
		}
		b.log.Warn("stream was not as this version makes it, and is now", "stream", c.Name, "settings", wrong)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if s, err = b.js.CreateStream(ctx, c); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			s, err = b.js.UpdateStream(ctx, c) // another program was faster
		}
	}
	if err != nil {
		return nil, typed("create", err)
	}
	return s, nil
}

// EnsureReaders makes the consumers through which tenants read their own events
// and inbound messages on the bus. They are named after the tenant: that is all of
// JetStream that a tenant's NATS account is let through to.
func (b *Bus) EnsureReaders(ctx context.Context, tenants []string) error {
	for _, t := range tenants {
		for stream, filter := range map[string]string{EventStream: EventSubject(t, ">"), InboundStream: InboundSubject(t, ">")} {
			_, err := b.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
				Durable: t, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy, MaxDeliver: -1,
			})
			if err != nil {
				return fmt.Errorf("reader of %s: %w", t, typed("consumer", err))
			}
		}
	}
	return nil
}
