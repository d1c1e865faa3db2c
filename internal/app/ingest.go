package app

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/desk"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/optout"
	"github.com/tuma-sms/tuma/internal/route"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/internal/telemetry"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// RunIngest runs the program that takes submissions.
func RunIngest(ctx context.Context, p cli.Params) error {
	k, err := newKit(ctx, p, nil, "", false)
	if err != nil {
		return err
	}
	k.statuses(k.tenants(), k.cfg.AccountNames())
	if err := k.ingest(ctx); err != nil {
		return err
	}
	return k.run(ctx)
}

// healthSettles is how long an account must have been well before new messages
// go to it first again.
const healthSettles = 10 * time.Second

// statuses adds the part that follows what became of messages. It comes before who
// goes by them, so that it stops after: a report that is settled while the program
// drains must not go by what is out of date.
func (k *kit) statuses(tenants, accounts []string) {
	k.add("statuses", func(ctx context.Context) error { return k.status.Run(ctx, k.bus, tenants, accounts) }, nil)
}

// ingest adds the parts that take submissions.
func (k *kit) ingest(ctx context.Context) error {
	health := journal.NewHealth(healthSettles, time.Now)
	k.journal.Watch(health.Watch)
	look := &operate{k: k, health: health}
	k.add("states", look.follow, nil)
	o := ingest.Options{
		Down: health.Down, Waits: look.waits,
		Count: func(account string, s envelope.Status, n int) { k.tel.Metrics.MessageStatus(account, string(s), n) },
		Bus:   k.bus, Journal: k.journal, Status: k.status, Log: k.log, Span: k.span,
		Keys: idempotency.NewKeys(k.redis, time.Now), Operate: look,
		Ask: func(ctx context.Context, account, operation string, args map[string]string) (json.RawMessage, error) {
			return desk.Ask(ctx, k.bus, account, operation, args)
		},
	}
	out := optout.NewList(k.log)
	o.OptedOut, o.OptOutsKnown = out.Has, out.Ready()
	k.add("opt-outs", func(ctx context.Context) error { return out.Follow(ctx, k.bus) }, nil)
	k.health.RequireFunc("opt-outs", waiting(out.Ready(), "being read"))
	quotas := quotas{}
	for i := range k.cfg.Ingest.Tenants {
		t, err := k.tenant(&k.cfg.Ingest.Tenants[i])
		if err != nil {
			return err
		}
		if k.cfg.Ingest.Tenants[i].Bus {
			k.readers = append(k.readers, t.Name)
		}
		if t.Rate.Messages > 0 {
			quotas[t.Name] = ratelimit.NewQuota(k.redis, t.Name, t.Rate.Messages, t.Rate.Per)
		}
		o.Tenants = append(o.Tenants, t)
	}
	o.Quota = quotas
	checkers, err := k.checkers()
	if err != nil {
		return err
	}
	for _, name := range k.cfg.AccountNames() {
		a := k.cfg.Accounts[name]
		o.Accounts = append(o.Accounts, ingest.Account{
			Name: name, Type: a.Type, BatchSize: a.Batch.Size, Channels: checkers[name].Limits().Channels, Check: checkers[name].Check,
			Abilities: providers.Abilities(checkers[name]), Operations: operations(checkers[name]),
		})
	}
	for _, r := range k.cfg.Routes {
		o.Routes = append(o.Routes, route.Rule{Prefix: r.Prefix, Accounts: r.Accounts, Weights: r.Weights, Refuse: r.Refuse})
	}
	in, err := ingest.New(o)
	if err != nil {
		return err
	}
	addr, err := k.cfg.Ingest.Listen.Resolve()
	if err != nil {
		return err
	}
	ln, err := service.Listen(ctx, "ingest.listen", addr)
	if err != nil {
		return err
	}
	k.health.RequireFunc("statuses", func() string {
		if !k.status.Ready() {
			return "being read"
		}
		return ""
	})
	k.add("hop", in.Run, nil)
	k.serve("api", ln, in.Handler(), service.ServerOptions{Connections: apiConnections})
	return nil
}

// apiConnections bounds the clients that are connected at once, and with them the
// memory that they take before anybody knows who they are: some 20 KiB each.
const apiConnections = 8192

func operations(p providers.Provider) []providers.Operation {
	if d, ok := p.(providers.Desk); ok {
		return d.Operations()
	}
	return nil
}

func (k *kit) tenant(t *config.Tenant) (ingest.Tenant, error) {
	out := ingest.Tenant{
		Name: t.Name, DefaultRegion: t.DefaultRegion, Operator: t.Operator, Senders: t.Senders, Accounts: t.Accounts,
		Transliterate: t.Transliterate,
	}
	var err error
	if out.Keys, err = t.ResolveKeys(); err != nil {
		return out, err
	}
	if !ingest.KnownRegion(t.DefaultRegion) {
		return out, &config.Error{File: k.cfg.File, Key: "ingest.tenants", Reason: fmt.Sprintf("%s: default_region %s is no country's", t.Name, t.DefaultRegion)}
	}
	if t.Rate != nil {
		out.Rate = ingest.Rate{Messages: t.Rate.Messages, Per: t.Rate.Per.Duration}
	}
	return out, nil
}

// span starts the span that a submission's messages belong to.
func (k *kit) span(ctx context.Context, name, traceparent string) (context.Context, string, func(error)) {
	ctx, s := k.tel.Tracer.Start(telemetry.WithTraceparent(ctx, traceparent), name, trace.SpanKindProducer)
	return ctx, telemetry.Traceparent(ctx), func(err error) {
		reason := ""
		if err != nil {
			reason = "not accepted" // an error's words may quote the submission
		}
		telemetry.End(s, reason)
	}
}

// quotas are the tenants' rates over the whole cluster.
type quotas map[string]*ratelimit.Quota

// Take implements ingest.Quota.
func (q quotas) Take(ctx context.Context, tenant string, n int) (time.Duration, error) {
	if t := q[tenant]; t != nil {
		return t.Take(ctx, n)
	}
	return 0, nil
}
