package app

import (
	"slices"
	"time"

	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/all"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// adapters builds every account's adapter, with its credentials, but for those of
// its type that others than this program need.
func (k *kit) adapters(spared func(all.Type) []string) (map[string]providers.Provider, error) {
	return k.build(func(a *config.Account) (map[string]string, error) {
		creds, others := map[string]string{}, spared(all.Types()[a.Type])
		for key, s := range a.Credentials {
			if slices.Contains(others, key) {
				creds[key] = unused
				continue
			}
			v, err := s.Resolve()
			if err != nil {
				return nil, err
			}
			creds[key] = v
		}
		return creds, nil
	})
}

// Credentials that a program does without.
func toSend(t all.Type) []string { return t.ToSend }
func toHear(t all.Type) []string { return t.ToHear }
func none(all.Type) []string     { return nil }

// unused stands where an adapter wants a credential that nobody looks at.
const unused = "unused"

// checkers builds adapters that can only check messages: ingest needs no
// account's secrets, so it is not given them.
func (k *kit) checkers() (map[string]providers.Provider, error) {
	return k.build(func(a *config.Account) (map[string]string, error) {
		creds := map[string]string{}
		for _, key := range all.Types()[a.Type].Credentials {
			creds[key] = unused
		}
		return creds, nil
	})
}

func (k *kit) build(credentials func(*config.Account) (map[string]string, error)) (map[string]providers.Provider, error) {
	types, out := all.Types(), map[string]providers.Provider{}
	for name, a := range k.cfg.Accounts {
		creds, err := credentials(a)
		if err != nil {
			return nil, err
		}
		base, err := a.BaseURL.Resolve()
		if err != nil {
			return nil, err
		}
		p, err := types[a.Type].New(providers.Options{
			Account: name, BaseURL: base, Credentials: creds, Options: a.Options, Timeout: a.Timeout.Duration,
			BatchSize: a.Batch.Size, AllowHTTP: a.AllowHTTP,
		})
		if err != nil {
			return nil, k.accountError(name, err)
		}
		out[name] = p
	}
	return out, nil
}

// slots returns the cluster-wide limiter of an account. Accounts of one login
// share it, because the gateway counts logins.
func (k *kit) slots(a *config.Account) (*ratelimit.Slots, error) {
	var limits []ratelimit.Limit
	for _, r := range a.Rate {
		limits = append(limits, limit(r))
	}
	s, err := ratelimit.New(k.redis, ratelimit.Options{Account: a.Login, Limits: limits})
	if err != nil {
		return nil, k.accountError(a.Name, err)
	}
	return s, nil
}

func limit(r config.Rate) ratelimit.Limit {
	return ratelimit.Limit{
		Requests: r.Requests, Messages: r.Messages, Per: r.Per.Duration, Calendar: r.Per.Day, Zone: r.Location, Model: ratelimit.Model(r.Model),
	}
}

// alone returns the limiter of a dispatcher that sends alone while Redis is gone,
// and how long it must wait to begin. A limit that counts messages or over more
// than a minute has none: its count would begin at zero.
func (k *kit) alone(a *config.Account) (*ratelimit.Local, time.Duration, error) {
	hold := 2*time.Second + 100*time.Millisecond
	var limits []ratelimit.Limit
	for _, r := range a.Rate {
		if r.Messages > 0 || r.Per.Duration > time.Minute || r.Per.Day || a.Login != a.Name {
			return nil, 0, nil
		}
		hold = max(hold, 2*time.Second+100*time.Millisecond+r.Per.Duration)
		limits = append(limits, limit(r))
	}
	for _, other := range k.cfg.Accounts { // one login with two accounts has two senders
		if other != a && other.Login == a.Login {
			return nil, 0, nil
		}
	}
	l, err := ratelimit.NewLocal(ratelimit.Options{Account: a.Login, Limits: limits})
	if err != nil {
		return nil, 0, k.accountError(a.Name, err)
	}
	return l, hold, nil
}

// serves reports whether a tenant may use an account.
func serves(t *config.Tenant, account string) bool {
	if len(t.Accounts) == 0 {
		return true
	}
	for _, a := range t.Accounts {
		if a == account {
			return true
		}
	}
	return false
}

// callbackTokens returns an account's callback secrets, newest first.
func callbackTokens(a *config.Account) ([]string, error) {
	var out []string
	for _, s := range a.CallbackToken {
		v, err := s.Resolve()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
