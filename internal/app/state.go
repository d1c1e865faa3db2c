package app

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// What dispatchers tell operators of their accounts is kept on Redis for some
// seconds. It is only looked at: nothing is decided by it.
const stateFor = 10 * time.Second

func stateKey(account string) string { return "tuma:state:" + account }

// shareState publishes what this dispatcher knows of its accounts, once a second.
// Of several dispatchers the last one wins; they see the same gateway.
func (k *kit) shareState(ctx context.Context, d *dispatch.Dispatcher) error {
	for pause(ctx, time.Second) {
		for _, s := range d.States() {
			data, err := json.Marshal(s)
			if err != nil {
				return err
			}
			if k.redis.Set(ctx, stateKey(s.Name), data, stateFor).Err() != nil {
				break // Redis is away; /readyz tells
			}
		}
	}
	return nil
}

// operate answers what operators ask of accounts.
type operate struct{ k *kit }

// Provider implements ingest.ProviderState.
func (o *operate) Provider(ctx context.Context, account string) ingest.ProviderDetail {
	d := ingest.ProviderDetail{Backlog: map[string]uint64{}}
	for _, p := range envelope.Priorities {
		for i := range o.k.cfg.Ingest.Tenants {
			t := &o.k.cfg.Ingest.Tenants[i]
			if !serves(t, account) {
				continue
			}
			if waiting, unsettled, err := o.k.bus.Backlog(ctx, bus.QueueStream(account), string(p)+"-"+t.Name); err == nil {
				d.Backlog[string(p)] += waiting + uint64(unsettled)
			}
		}
	}
	data, err := o.k.redis.Get(ctx, stateKey(account)).Bytes()
	if err != nil {
		return d
	}
	var s dispatch.State
	if json.Unmarshal(data, &s) == nil {
		d.Breaker, d.LastError = s.Breaker, s.LastError
	}
	return d
}
