package dlr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/optout"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// AccountEvent is something that happened to an account itself, as operators get
// it on sms.account.ACCOUNT.KIND.
type AccountEvent struct {
	ID       string    `json:"id"` // stable: the same event has it each time
	Time     time.Time `json:"time"`
	Provider string    `json:"provider"`          // account
	Kind     string    `json:"kind"`              // balance_low, campaign, webhook, ill, well, paused, resumed
	Subject  string    `json:"subject,omitempty"` // the gateway's id of what it is about
	Detail   string    `json:"detail,omitempty"`
}

// TellAccount publishes an account's event. Its ID, made of what, tells repeats
// apart within the stream's de-duplication window.
func TellAccount(ctx context.Context, b *bus.Bus, e AccountEvent, what string) error {
	sum := sha256.Sum256([]byte(e.Provider + "/" + e.Kind + "/" + what))
	e.ID = hex.EncodeToString(sum[:16])
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("dlr: account event: %w", err)
	}
	_, err = b.Publish(ctx, bus.Out{Subject: bus.AccountSubject(e.Provider, e.Kind), Data: data, MsgID: e.ID})
	return err
}

// parseNotices survives a parser that does not.
func parseNotices(n providers.Noticer, cb *providers.Callback) (notices []providers.Notice, err error) {
	defer func() {
		if p := recover(); p != nil {
			notices, err = nil, errPanic
		}
	}()
	return n.ParseNotices(cb)
}

// heed does what a callback's notices ask for. Doing it again changes nothing.
func (c *Collector) heed(ctx context.Context, a *account, cb *callback) error {
	for i := range cb.other {
		n := &cb.other[i]
		var err error
		switch {
		case n.Kind == providers.NoticeOptOut && n.Number == "", n.Kind == providers.NoticeInbound && n.MO == nil:
		case n.Kind == providers.NoticeOptOut:
			err = optout.Tell(ctx, c.o.Bus, optout.Entry{Account: a.Name, Number: n.Number, Out: true, Source: "webhook", Time: cb.at})
		case n.Kind == providers.NoticeInbound:
			var class Class
			if class, err = c.hand(ctx, a, cb.msg.Seq, n.MO); err == nil {
				c.o.Observer.Callbacks(a.Name, class, 1)
			}
		default:
			err = TellAccount(ctx, c.o.Bus, AccountEvent{
				Time: cb.at, Provider: a.Name, Kind: string(n.Kind), Subject: n.ID, Detail: n.Detail,
			}, fmt.Sprintf("%s/%d", cb.at.Format(time.RFC3339Nano), i))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// heedReports tells which numbers want nothing from the account any more, as
// reports that are news said.
func (c *Collector) heedReports(ctx context.Context, a *account, found []*item) error {
	for _, it := range found {
		if !it.news || !it.report.OptOut {
			continue
		}
		e := optout.Entry{Account: a.Name, Number: it.b.message(it.pos).To, Out: true, Source: "report", Time: c.o.Now().UTC()}
		if err := optout.Tell(ctx, c.o.Bus, e); err != nil {
			return err
		}
	}
	return nil
}
