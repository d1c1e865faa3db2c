package app

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/providers"
)

const (
	webhooksEvery = 10 * time.Minute // some gateways switch one off after three failures in six minutes
	webhooksAgain = 15 * time.Second // after a look that failed
	webhooksWait  = time.Minute      // for the slots and answers of one look
)

// reportsURL is where an account's reports go that have no URL of their own.
func (k *kit) reportsURL(a *config.Account) (string, error) {
	public, err := k.cfg.DLRCollector.PublicURL.Resolve()
	if err != nil {
		return "", err
	}
	tokens, err := callbackTokens(a)
	if err != nil {
		return "", err
	}
	at := public + "/dlr/" + url.PathEscape(a.Name)
	if len(tokens) > 0 {
		at += "/" + url.PathEscape(tokens[0])
	}
	return at, nil
}

// webhooks sees to it that a gateway calls us. One collector of the cluster does,
// at a time.
type webhooks struct {
	k       *kit
	account string
	gateway providers.Subscriber
	url     string // carries a secret
	slot    providers.Slot
}

func (h *webhooks) run(ctx context.Context) error {
	for service.Sleep(ctx, time.Second) {
		turn := "tuma:webhooks-turn:" + h.account
		mine, err := h.k.redis.SetNX(ctx, turn, h.k.journal.Owner(), webhooksEvery).Result()
		if err == nil && mine && !h.k.journal.Paused(h.account) && h.look(ctx) {
			_ = h.k.redis.Expire(ctx, turn, webhooksAgain).Err() // else the turn lasts its time
		}
	}
	return nil
}

// look asks once. Nothing depends on it but what the gateway tells on its own, so
// a failure is told, and tried again soon if nothing is wrong with the account.
func (h *webhooks) look(ctx context.Context) (soon bool) {
	looking, cancel := context.WithTimeout(ctx, webhooksWait)
	defer cancel()
	changed := ""
	err := survive(func() (err error) {
		changed, err = h.gateway.Subscribe(looking, h.url, h.slot)
		return err
	})
	if err != nil {
		var e *providers.Error
		soon = !errors.As(err, &e) || e.Class == providers.Unavailable
		level := slog.LevelWarn
		if e == nil { // no slot: at a start they are not granted at once
			level = slog.LevelInfo
		}
		if ctx.Err() == nil {
			h.k.log.Log(ctx, level, "webhooks not looked after", "account", h.account, "error", err)
		}
		return soon
	}
	if changed == "" {
		return false
	}
	h.k.log.Info("webhook set", "account", h.account, "changed", changed)
	now := time.Now().UTC()
	h.k.tellAccount(ctx, dlr.AccountEvent{Time: now, Provider: h.account, Kind: "webhook", Detail: changed}, now.String())
	return false
}
