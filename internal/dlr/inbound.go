package dlr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// Inbound is a message from a handset as tenants get it, on
// sms.inbound.TENANT.ACCOUNT.
type Inbound struct {
	ID       string    `json:"id"` // stable: the same message has it each time
	Time     time.Time `json:"time"`
	Tenant   string    `json:"tenant"`
	Provider string    `json:"provider"` // account
	From     string    `json:"from"`
	To       string    `json:"to"`
	Text     string    `json:"text"`
	// TransactionID is the gateway's own id of the message.
	TransactionID string `json:"transaction_id"`
}

// tenant is whose number it is that a handset has written to; empty: nobody's.
func (a *account) tenant(number string) string {
	if len(a.Inbound) == 0 {
		return a.Tenant
	}
	return a.Inbound[strings.TrimPrefix(number, "+")]
}

func (a *account) parseInbound(cb *providers.Callback) (in []providers.Inbound, contentType string, answer []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			in, err = nil, errPanic
		}
	}()
	return a.receiver.ParseInbound(cb)
}

// followInbound publishes an account's messages from handsets until ctx is done.
func (c *Collector) followInbound(ctx context.Context, a *account) {
	p := c.pull(ctx, bus.Consumer{
		Stream: bus.CallbackStream, Name: kindInbound + "-" + a.Name, Filters: []string{bus.CallbackSubject(a.Name, kindInbound)},
	})
	if p == nil {
		return
	}
	defer p.Stop()
	for {
		m, err := p.Next(ctx)
		if err != nil {
			return
		}
		if err := c.deliver(ctx, a, m); err != nil {
			if ctx.Err() == nil {
				c.o.Log.Warn("inbound message waits", "account", a.Name, "seq", m.Seq, "error", err)
			}
			_ = m.Nak(retryBus) // a lost one comes again after AckWait
			continue
		}
		_ = m.Ack()
	}
}

// deliver hands the messages of a callback to their tenants, and buries one of
// which not all could be read.
func (c *Collector) deliver(ctx context.Context, a *account, m *bus.Msg) error {
	cb, _, unreadable := readRaw(m.Data)
	var list []providers.Inbound
	if unreadable == nil {
		list, _, _, unreadable = a.parseInbound(cb)
	}
	for i := range list {
		class, err := c.hand(ctx, a, m.Seq, &list[i])
		if err != nil {
			return err
		}
		c.o.Observer.Callbacks(a.Name, class, 1)
	}
	if unreadable == nil {
		return nil
	}
	c.o.Observer.Callbacks(a.Name, Poison, 1)
	return c.bury(ctx, a, m, unreadable)
}

// hand publishes a message from a handset to the tenant whose number it was sent
// to, once.
func (c *Collector) hand(ctx context.Context, a *account, seq uint64, in *providers.Inbound) (Class, error) {
	tenant := a.tenant(in.To)
	if tenant == "" {
		c.o.Log.Warn("inbound message to a number that no tenant has", "account", a.Name, "seq", seq)
		return Homeless, nil
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s", a.Name, in.ID))
	id := hex.EncodeToString(sum[:16])
	if c.inbound.has(id) {
		return Repeated, nil
	}
	data, err := json.Marshal(Inbound{
		ID: id, Time: in.Time, Tenant: tenant, Provider: a.Name, From: in.From, To: in.To, Text: in.Text, TransactionID: in.ID,
	})
	if err != nil {
		return "", fmt.Errorf("dlr: inbound: %w", err)
	}
	if _, err := c.o.Bus.Publish(ctx, bus.Out{Subject: bus.InboundSubject(tenant, a.Name), Data: data, MsgID: id}); err != nil {
		return "", err
	}
	c.inbound.add(id)
	return Matched, nil
}
