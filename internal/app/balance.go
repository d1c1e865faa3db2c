package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/providers"
)

const (
	balanceEvery = time.Minute
	balanceSoon  = 5 * time.Second  // if it had no slot: a limiter begins by waiting
	balanceKept  = 5 * time.Minute  // on Redis: an older one is not shown
	balanceSulks = 10 * time.Minute // after a refusal: some gateways lock an account after five
	balanceWait  = 30 * time.Second // for a slot and the answer
)

func balanceKey(account string) string { return "tuma:balance:" + account }
func turnKey(account string) string    { return "tuma:balance-turn:" + account }

// cheap reports whether an account may spend a request a minute on its balance:
// not if its requests are counted over longer than that.
func cheap(a *config.Account) bool {
	for _, r := range a.Rate {
		if r.Requests > 0 && (r.Per.Day || r.Per.Duration > time.Minute) {
			return false
		}
	}
	return true
}

// balance asks a gateway for an account's balance, once a minute in the whole
// cluster, and puts it onto Redis: who shows it has no credentials. A look-up is a
// request like any other and takes a slot. A paused account is left alone.
type balance struct {
	k       *kit
	account string
	gateway providers.Balancer
	limiter dlr.Limiter
}

func (b *balance) run(ctx context.Context) error {
	for service.Sleep(ctx, time.Second) {
		if b.turn(ctx) {
			b.ask(ctx)
		}
	}
	return nil
}

// turn reports whether it is this process's turn to ask.
func (b *balance) turn(ctx context.Context) bool {
	if b.k.journal.Paused(b.account) {
		return false
	}
	mine, err := b.k.redis.SetNX(ctx, turnKey(b.account), b.k.journal.Owner(), balanceEvery).Result()
	return err == nil && mine
}

// ask asks once, and says when the next turn is. Nothing depends on the answer, so
// a failure is only logged.
func (b *balance) ask(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, balanceWait)
	defer cancel()
	next := balanceEvery
	start, err := b.limiter.Slot(asking)
	missed := err != nil
	if !missed {
		var text string
		err = survive(func() (err error) {
			text, err = b.gateway.Balance(asking, func() error {
				err := start()
				missed = err != nil
				return err
			})
			return err
		})
		if err == nil {
			err = b.k.redis.Set(ctx, balanceKey(b.account), text, balanceKept).Err()
		}
	}
	var e *providers.Error
	switch {
	case err == nil:
	case missed: // nothing has left
		next = balanceSoon
	case errors.As(err, &e) && e.Class == providers.Misconfigured:
		next = balanceSulks
		fallthrough
	default:
		b.k.log.Info("balance not known", "account", b.account, "error", err)
	}
	_ = b.k.redis.Expire(ctx, turnKey(b.account), next).Err() // without it the turn ends by itself
}

// survive calls do and makes an error of a panic: an adapter that falls over an
// answer must not end a program that serves other accounts.
func survive(do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil { // its words may quote the answer
			err = fmt.Errorf("the adapter failed on the answer: panic of %T", v)
		}
	}()
	return do()
}
