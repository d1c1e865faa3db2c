package app

import (
	"context"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// accountWatch tells operators when an account falls ill and when it is well
// again: one event for each change, however many dispatchers find it out or say it
// again. Several collectors tell the same under the same id.
type accountWatch struct {
	k    *kit
	last map[string]string // reason, by account; of the journal's goroutine
	tell chan accountChange
}

type accountChange struct {
	account, kind, detail string
	seq                   uint64
	at                    time.Time
}

// tellBack is how old a change may be to be told by a collector that has just
// started: younger than the window in which the bus tells repeats apart.
const tellBack = 90 * time.Second

func newAccountWatch(k *kit) *accountWatch {
	return &accountWatch{k: k, last: map[string]string{}, tell: make(chan accountChange, 64)}
}

// see is a journal.Watcher.
func (w *accountWatch) see(seq uint64, at time.Time, r *idempotency.Record, e *idempotency.Effect) {
	var c accountChange
	switch {
	case r.Kind == idempotency.Health:
		before := w.last[r.Account]
		if w.last[r.Account] = r.Reason; before == r.Reason || before == "" && r.Reason == journal.Well {
			return
		}
		if c.kind, c.detail = "ill", r.Reason; r.Reason == journal.Well {
			c.kind, c.detail = "well", ""
		}
	case r.Kind == idempotency.Mode && e.Acted > 0:
		if c.kind = "resumed"; r.Paused {
			c.kind = "paused"
		}
	default:
		return
	}
	if time.Since(at) > tellBack {
		return
	}
	c.account, c.seq, c.at = r.Account, seq, at
	select {
	case w.tell <- c:
	default: // a flood of changes: metrics and logs tell it all
	}
}

func (w *accountWatch) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-w.tell:
			e := dlr.AccountEvent{Time: c.at.UTC(), Provider: c.account, Kind: c.kind, Detail: c.detail}
			w.k.tellAccount(ctx, e, strconv.FormatUint(c.seq, 10))
		}
	}
}

// tellAccount tells an account's event, however long the bus takes none: what makes
// it refuse is often what there is to tell.
func (k *kit) tellAccount(ctx context.Context, e dlr.AccountEvent, what string) {
	for complained := false; ; complained = true {
		err := dlr.TellAccount(ctx, k.bus, e, what)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !complained {
			k.log.Warn("account event waits for the bus", "account", e.Provider, "kind", e.Kind, "error", err)
		}
		if !service.Sleep(ctx, time.Second) {
			return
		}
	}
}
