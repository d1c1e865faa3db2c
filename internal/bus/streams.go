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
	configs := append([]jetstream.StreamConfig{checkpointConfig}, fixed...)
	for _, t := range tenants {
		configs = append(configs, submitConfig(t))
	}
	for _, a := range accounts {
		configs = append(configs, queueConfig(a))
	}
	for _, c := range configs {
		c.Storage, c.Replicas = jetstream.FileStorage, b.replicas
		s, err := b.ensure(ctx, c)
		if err != nil {
			return fmt.Errorf("stream %s: %w", c.Name, err)
		}
		b.mu.Lock()
		b.streams[c.Name], b.looked[c.Name] = s, time.Now()
		b.mu.Unlock()
	}
	return nil
}

func (b *Bus) ensure(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := b.js.Stream(ctx, c.Name)
	switch {
	case err == nil && asWanted(s.CachedInfo().Config, c):
		return s, nil
	case err == nil:
		s, err = b.js.UpdateStream(ctx, c)
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

// asWanted reports whether a stream has the settings that the table gives. The
// server answers 0 with its own word for none, and adds metadata.
func asWanted(have, want jetstream.StreamConfig) bool {
	none := func(n int64) int64 { return max(n, 0) }
	return slices.Equal(have.Subjects, want.Subjects) && have.Retention == want.Retention && have.Storage == want.Storage &&
		have.Replicas == want.Replicas && have.Discard == want.Discard && have.MaxAge == want.MaxAge &&
		none(have.MaxMsgs) == want.MaxMsgs && none(have.MaxBytes) == want.MaxBytes && none(int64(have.MaxMsgSize)) == int64(want.MaxMsgSize) &&
		none(have.MaxMsgsPerSubject) == want.MaxMsgsPerSubject && !have.DiscardNewPerSubject && none(int64(have.MaxConsumers)) == 0 &&
		have.AllowMsgSchedules == want.AllowMsgSchedules && have.AllowMsgTTL == want.AllowMsgTTL && have.AllowDirect == want.AllowDirect &&
		have.AllowRollup == want.AllowMsgSchedules && !have.AllowAtomicPublish && !have.AllowMsgCounter && !have.AllowBatchPublish &&
		!have.DenyDelete && !have.DenyPurge && !have.Sealed && !have.NoAck && have.SubjectTransform == nil && have.RePublish == nil &&
		have.Mirror == nil && len(have.Sources) == 0 && (want.Duplicates == 0 || have.Duplicates == want.Duplicates)
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
