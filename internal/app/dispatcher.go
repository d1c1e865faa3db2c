package app

import (
	"context"
	"net/url"

	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// RunDispatcher runs the program that sends.
func RunDispatcher(ctx context.Context, p cli.Params) error {
	k, err := newKit(ctx, p, nil, "", false)
	if err != nil {
		return err
	}
	if err := k.dispatcher(); err != nil {
		return err
	}
	return k.run(ctx)
}

// dispatcher adds the dispatching parts.
func (k *kit) dispatcher() error {
	adapters, err := k.adapters(toHear)
	if err != nil {
		return err
	}
	o := dispatch.Options{Bus: k.bus, Journal: k.journal, Observer: newObserver(k.tel), Log: k.log}
	for _, name := range k.cfg.AccountNames() {
		a := k.cfg.Accounts[name]
		slots, err := k.slots(a)
		if err != nil {
			return err
		}
		alone, hold, err := k.alone(a)
		if err != nil {
			return err
		}
		callback, err := k.callback(a, adapters[name].Limits().CallbackURL)
		if err != nil {
			return err
		}
		acct := dispatch.Account{
			Name: name, Type: a.Type, Provider: adapters[name], Slots: slots, BatchSize: a.Batch.Size, Linger: a.Batch.Linger.Duration,
			Concurrency: a.Concurrency, Timeout: a.Timeout.Duration, Failures: a.Breaker.Failures, OpenFor: a.Breaker.OpenFor.Duration,
			OnUncertain: envelope.Policy(a.OnUncertain), Callback: callback,
		}
		for _, r := range a.Rate {
			acct.Counted = acct.Counted || r.Messages > 0
			if r.Requests > 0 {
				rate := float64(r.Requests) / r.Per.Seconds()
				if acct.Rate == 0 || rate < acct.Rate {
					acct.Rate = rate
				}
			}
			if r.Messages > 0 {
				rate := float64(r.Messages) / r.Per.Seconds()
				if acct.MessageRate == 0 || rate < acct.MessageRate {
					acct.MessageRate = rate
				}
			}
		}
		if alone != nil {
			acct.Alone, acct.Hold = alone, hold
		}
		for i := range k.cfg.Ingest.Tenants {
			if t := &k.cfg.Ingest.Tenants[i]; serves(t, name) {
				acct.Tenants = append(acct.Tenants, t.Name)
			}
		}
		o.Accounts = append(o.Accounts, acct)
		for c := providers.Accepted; c <= providers.Uncertain; c++ {
			k.tel.Metrics.Requests(name, c.String(), 0)
		}
	}
	d := dispatch.New(o)
	k.add("dispatch", func(ctx context.Context) error { return d.Run(ctx, service.Work(ctx)) }, nil)
	k.add("checkpoints", k.journal.Checkpoint, nil)
	k.add("state", func(ctx context.Context) error { return k.shareState(ctx, d) }, nil)
	return nil
}

// callback returns how an account's batches are reported: under a URL of their
// own that proves itself. Accounts without a secret have none, nor have those whose
// gateway cannot be told one.
func (k *kit) callback(a *config.Account, told bool) (func(batchID string) string, error) {
	if !told {
		return nil, nil
	}
	tokens, err := callbackTokens(a)
	if err != nil || len(tokens) == 0 {
		return nil, err
	}
	public, err := k.cfg.DLRCollector.PublicURL.Resolve()
	if err != nil {
		return nil, err
	}
	name := a.Name
	return func(batchID string) string {
		return public + "/dlr/" + url.PathEscape(name) + "/" + dlr.Token(tokens[0], name, batchID)
	}, nil
}
