package app

import (
	"context"
	"time"

	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/desk"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// callbackConnections bounds the callers that are connected at once, and with
// them the memory that a storm of callbacks can take: each has some 20 KiB, and 64
// more while it sends the largest body.
const callbackConnections = 8192

// RunCollector runs the program that providers call.
func RunCollector(ctx context.Context, p cli.Params) error {
	// Reports are matched by outcomes of the last three days.
	k, err := newKit(ctx, p, nil, "", true)
	if err != nil {
		return err
	}
	k.statuses(nil, nil)
	if err := k.collector(ctx); err != nil {
		return err
	}
	return k.run(ctx)
}

// collector adds the parts that take reports and inbound messages.
func (k *kit) collector(ctx context.Context) error {
	adapters, err := k.adapters(toSend)
	if err != nil {
		return err
	}
	o := dlr.Options{Bus: k.bus, Journal: k.journal, Statuses: k.status, Observer: &reports{k, context.WithoutCancel(ctx)}, Log: k.log}
	for _, name := range k.cfg.AccountNames() {
		acct, err := k.reportedOn(name, adapters[name])
		if err != nil {
			return err
		}
		o.Accounts = append(o.Accounts, acct)
		for _, c := range dlr.Classes() {
			k.tel.Metrics.Callbacks(name, string(c), 0)
		}
	}
	watch := newAccountWatch(k)
	k.journal.Watch(watch.see)
	k.add("account events", watch.run, nil)
	c, err := dlr.New(o)
	if err != nil {
		return err
	}
	addr, err := k.cfg.DLRCollector.Listen.Resolve()
	if err != nil {
		return err
	}
	ln, err := service.Listen(ctx, "dlr_collector.listen", addr)
	if err != nil {
		return err
	}
	k.health.RequireFunc("reports", func() string {
		if !c.Ready() {
			return "statuses being read"
		}
		return ""
	})
	k.add("reports", c.Run, nil)
	k.serve("callbacks", ln, c.Handler(), service.ServerOptions{Body: 10 * time.Second, Answer: 30 * time.Second, Connections: callbackConnections})
	return nil
}

// reportedOn makes an account's part in the collector, and adds what else is asked of
// its gateway, all by one limiter.
func (k *kit) reportedOn(name string, p providers.Provider) (dlr.Account, error) {
	a := k.cfg.Accounts[name]
	secrets, err := callbackTokens(a)
	if err != nil {
		return dlr.Account{}, err
	}
	slots, err := k.slots(a)
	if err != nil {
		return dlr.Account{}, err
	}
	_, hold, err := k.alone(a)
	if err != nil {
		return dlr.Account{}, err
	}
	limiter := k.lookups(name, slots, hold)
	acct := dlr.Account{
		Name: name, Provider: p, Secrets: secrets, Inbound: a.Inbound, Limiter: limiter,
		Poll: dlr.Poll{After: a.Poll.After.Duration, Every: a.Poll.Every.Duration},
	}
	if len(k.cfg.Ingest.Tenants) == 1 {
		acct.Tenant = k.cfg.Ingest.Tenants[0].Name
	}
	if d, ok := p.(providers.Desk); ok {
		at := desk.Account{Name: name, Desk: d, Slot: limiter.Slot}
		k.add("desk of "+name, func(ctx context.Context) error { return desk.Serve(ctx, service.Work(ctx), k.bus, at, k.log) }, nil)
	}
	if s, ok := p.(providers.Subscriber); ok {
		url, err := k.reportsURL(a)
		if err != nil {
			return dlr.Account{}, err
		}
		k.add("webhooks of "+name, (&webhooks{k: k, account: name, gateway: s, url: url, slot: limiter.Slot}).run, nil)
	}
	if b, ok := p.(providers.Balancer); ok && cheap(a) {
		k.add("balance of "+name, (&balance{k: k, account: name, gateway: b, limiter: limiter}).run, nil)
	}
	return acct, nil
}

// reports turns what the collector tells into metrics and spans.
type reports struct {
	k   *kit
	ctx context.Context // of the program: what is told has no other
}

// Callbacks implements dlr.Observer.
func (r *reports) Callbacks(account string, c dlr.Class, n int) {
	r.k.tel.Metrics.Callbacks(account, string(c), n)
}

// Told implements dlr.Observer: one short span in the trace of each submission.
func (r *reports) Told(e *envelope.Event) {
	r.k.tel.Metrics.MessageStatus(e.Provider, string(e.Status), len(e.Messages))
	traces := map[string]bool{}
	for i := range e.Messages {
		if tp := e.Messages[i].Traceparent; tp != "" && r.k.tel.Tracer.Keeps(tp) && !traces[tp] {
			traces[tp] = true
			_, s := r.k.tel.Tracer.StartMessage(r.ctx, "report "+string(e.Status), tp)
			s.End()
		}
	}
}

// Unmatched implements dlr.Observer.
func (r *reports) Unmatched(n int) { r.k.tel.Metrics.ReportsUnmatched(n) }
