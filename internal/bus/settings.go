package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrSettings says that a stream or consumer was changed by hand in a way that the
// server does not let us take back.
var ErrSettings = errors.New("bus: changed by hand")

// differences are the settings of a stream that are not what the table gives, each
// in words. The server answers 0 with its own word for none, and adds metadata.
func differences(have, want jetstream.StreamConfig) (out []string) {
	none := func(n int64) int64 { return max(n, 0) }
	for _, s := range []struct {
		name       string
		have, want any
	}{
		{"subjects", strings.Join(have.Subjects, " "), strings.Join(want.Subjects, " ")},
		{"retention", have.Retention, want.Retention},
		{"storage", have.Storage, want.Storage},
		{"replicas", have.Replicas, want.Replicas},
		{"discard", have.Discard, want.Discard},
		{"max_age", have.MaxAge, want.MaxAge},
		{"max_msgs", none(have.MaxMsgs), want.MaxMsgs},
		{"max_bytes", none(have.MaxBytes), want.MaxBytes},
		{"max_msg_size", none(int64(have.MaxMsgSize)), int64(want.MaxMsgSize)},
		{"max_msgs_per_subject", none(have.MaxMsgsPerSubject), want.MaxMsgsPerSubject},
		{"discard_new_per_subject", have.DiscardNewPerSubject, false},
		{"max_consumers", none(int64(have.MaxConsumers)), int64(0)},
		{"allow_msg_schedules", have.AllowMsgSchedules, want.AllowMsgSchedules},
		{"allow_msg_ttl", have.AllowMsgTTL, want.AllowMsgTTL},
		{"allow_direct", have.AllowDirect, want.AllowDirect},
		{"allow_rollup_hdrs", have.AllowRollup, want.AllowMsgSchedules},
		{"allow_atomic", have.AllowAtomicPublish, false},
		{"allow_msg_counter", have.AllowMsgCounter, false},
		{"allow_batched", have.AllowBatchPublish, false},
		{"deny_delete", have.DenyDelete, false},
		{"deny_purge", have.DenyPurge, false},
		{"sealed", have.Sealed, false},
		{"no_ack", have.NoAck, false},
		{"subject_transform", have.SubjectTransform != nil, false},
		{"republish", have.RePublish != nil, false},
		{"mirror", have.Mirror != nil, false},
		{"sources", len(have.Sources), 0},
	} {
		if s.have != s.want {
			out = append(out, fmt.Sprintf("%s is %v, not %v", s.name, s.have, s.want))
		}
	}
	if want.Duplicates != 0 && have.Duplicates != want.Duplicates {
		out = append(out, fmt.Sprintf("duplicate_window is %v, not %v", have.Duplicates, want.Duplicates))
	}
	return out
}

// unchangeable is the error of a stream that could not be put right. An answer of
// the server's is final; everything else is waited out.
func unchangeable(wrong []string, err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.Code != 400 && api.Code != 500 || api.ErrorCode == codeStoreFailed {
		return typed("update", err)
	}
	for _, code := range noStorage {
		if api.ErrorCode == code {
			return typed("update", err)
		}
	}
	return fmt.Errorf("%w: %s; the server does not let it be put right (%w): save what it holds and delete it, and it is made anew",
		ErrSettings, strings.Join(wrong, ", "), err)
}

// Deviation is a stream that is not as this version makes it.
type Deviation struct {
	Stream   string
	Missing  bool
	Settings []string // in words
	Offline  int      // replicas that are away or behind
}

// Inspect compares the streams with what this version makes them, and changes
// nothing.
func (b *Bus) Inspect(ctx context.Context, tenants, accounts []string) ([]Deviation, error) {
	var out []Deviation
	for _, c := range b.configs(tenants, accounts) {
		d := Deviation{Stream: c.Name}
		s, err := b.js.Stream(ctx, c.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			d.Missing = true
		case err != nil:
			return out, typed("stream "+c.Name, err)
		default:
			info := s.CachedInfo()
			if c.Name == JournalStream && b.journal == 0 {
				c.MaxBytes = info.Config.MaxBytes // as much as there was room for
			} else if c.Name == JournalStream {
				c.MaxBytes = b.journal
			}
			d.Settings = differences(info.Config, c)
			if info.Cluster != nil {
				for _, peer := range info.Cluster.Replicas {
					if peer.Offline || !peer.Current {
						d.Offline++
					}
				}
			}
		}
		if d.Missing || d.Offline > 0 || len(d.Settings) > 0 {
			out = append(out, d)
		}
	}
	return out, nil
}

// remake deletes a consumer whose settings the server does not let us change (its
// ack policy, where it began, one that pushes) and makes it again. Everything that
// the stream keeps is handed out again, which the journal makes harmless.
func (p *Puller) remake(ctx context.Context, s jetstream.Stream, cfg jetstream.ConsumerConfig, why error) error {
	c, err := s.Consumer(ctx, cfg.Durable)
	if err != nil && !errors.Is(err, jetstream.ErrNotPullConsumer) {
		return typed("consumer "+cfg.Durable, why)
	}
	if err == nil {
		have := c.CachedInfo().Config
		if have.AckPolicy == cfg.AckPolicy && have.DeliverPolicy == cfg.DeliverPolicy && !have.MemoryStorage {
			return typed("consumer "+cfg.Durable, why)
		}
	}
	p.b.log.Warn("consumer was changed by hand: made anew, and all is read again", "stream", p.spec.Stream, "consumer", cfg.Durable, "error", why)
	if err := s.DeleteConsumer(ctx, cfg.Durable); err != nil {
		return fmt.Errorf("%w: consumer %s: %w; delete it, and it is made anew", ErrSettings, cfg.Durable, err)
	}
	if _, err := s.CreateOrUpdateConsumer(ctx, cfg); err != nil {
		return typed("consumer "+cfg.Durable, err)
	}
	return nil
}
