package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// EnsureStreams makes the streams that are missing and brings the others to
// this version's settings. Every program calls it, so start order does not
// matter; calling it again changes nothing.
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
		s, err := b.js.CreateOrUpdateStream(ctx, c)
		if err != nil {
			return fmt.Errorf("stream %s: %w", c.Name, typed("create", err))
		}
		b.mu.Lock()
		b.streams[c.Name] = s
		b.mu.Unlock()
	}
	return nil
}
