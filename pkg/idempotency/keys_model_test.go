package idempotency_test

import (
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// keyModel is what a key should do, without Redis.
type keyModel struct {
	owner          idempotency.Owner
	print          [32]byte
	holder, answer string
	taken          bool // by another than the owner, ever
	confirmed      bool
	lease, expires time.Time
}

const modelLease = 20 * time.Second

// claim is the model's answer to a claim; the model is nil if there is no key.
func (m *keyModel) claim(now time.Time, by idempotency.Owner, print [32]byte, keep time.Duration) (*keyModel, idempotency.Claim) {
	lease := now.Add(modelLease)
	switch {
	case m == nil:
		m = &keyModel{owner: by, print: print, holder: by.ID, lease: lease, expires: now.Add(max(keep, modelLease))}
		return m, idempotency.Claim{State: idempotency.Mine, Lapses: lease}
	case m.print != print:
		return m, idempotency.Claim{State: idempotency.Mismatch}
	case m.confirmed && m.holder == by.ID && !m.taken:
		return m, idempotency.Claim{State: idempotency.Mine, Answer: []byte(m.answer)}
	case m.confirmed:
		return m, idempotency.Claim{State: idempotency.Done, Answer: []byte(m.answer)}
	case m.holder != by.ID && now.Before(m.lease):
		return m, idempotency.Claim{State: idempotency.Pending, Lapses: m.lease}
	}
	m.taken = m.taken || m.holder != by.ID
	m.holder, m.lease = by.ID, lease
	if m.taken {
		return m, idempotency.Claim{State: idempotency.TakenOver, First: m.owner, Lapses: lease}
	}
	m.expires = now.Add(max(keep, modelLease))
	return m, idempotency.Claim{State: idempotency.Mine, Lapses: lease}
}

func TestKeysDoWhatTheModelDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := miniredis.NewMiniRedis()
		if err := m.Start(); err != nil {
			rt.Fatal(err)
		}
		defer m.Close()
		rdb := client(t, m.Addr())
		defer rdb.Close()
		now := clock()
		m.SetTime(now)
		k := idempotency.NewKeys(rdb, func() time.Time { return now })
		k.Lease = modelLease
		keys := map[string]*keyModel{}
		// find returns the name of a drawn key and what the model has of it.
		find := func(rt *rapid.T) (string, *keyModel) {
			name := rapid.SampledFrom([]string{"k", "l"}).Draw(rt, "key")
			if mod := keys[name]; mod != nil && now.Before(mod.expires) {
				return name, mod
			}
			delete(keys, name)
			return name, nil
		}
		seconds := func(rt *rapid.T, most int, what string) time.Duration {
			return time.Duration(rapid.IntRange(1, most).Draw(rt, what)) * time.Second
		}
		owners := rapid.SampledFrom([]string{"a", "b", "c"})
		rt.Repeat(map[string]func(*rapid.T){
			"claim": func(rt *rapid.T) {
				name, mod := find(rt)
				by := idempotency.Owner{ID: owners.Draw(rt, "owner"), At: now.Add(-time.Duration(rapid.Int64Range(0, 1e12).Draw(rt, "age")))}
				print, keep := [32]byte{}, seconds(rt, 200, "keep")
				if rapid.IntRange(0, 9).Draw(rt, "other body") == 0 {
					print[0] = 1
				}
				var want idempotency.Claim
				keys[name], want = mod.claim(now, by, print, keep)
				got, err := k.Claim(rt.Context(), "acme", name, print, by, keep)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					rt.Fatalf("claim: %v %s", err, diff)
				}
			},
			"confirm": func(rt *rapid.T) {
				name, mod := find(rt)
				owner, answer := owners.Draw(rt, "owner"), rapid.StringN(1, 3000, -1).Draw(rt, "answer")
				keep := seconds(rt, 100, "keep")
				err := k.Confirm(rt.Context(), "acme", name, owner, []byte(answer), keep)
				if mod == nil || mod.owner.ID != owner {
					if !errors.Is(err, idempotency.ErrLost) {
						rt.Fatalf("confirm: %v", err)
					}
					return
				}
				if err != nil {
					rt.Fatalf("confirm: %v", err)
				}
				mod.confirmed, mod.answer, mod.expires = true, answer, now.Add(keep)
			},
			"drop": func(rt *rapid.T) {
				name, mod := find(rt)
				holder := owners.Draw(rt, "holder")
				if err := k.Drop(rt.Context(), "acme", name, holder); err != nil {
					rt.Fatal(err)
				}
				if mod != nil && mod.holder == holder && !mod.confirmed {
					delete(keys, name)
				}
			},
			"release": func(rt *rapid.T) {
				name, mod := find(rt)
				holder := owners.Draw(rt, "holder")
				if err := k.Release(rt.Context(), "acme", name, holder); err != nil {
					rt.Fatal(err)
				}
				if mod != nil && mod.holder == holder {
					mod.lease = now
				}
			},
			"time passes": func(rt *rapid.T) {
				d := seconds(rt, 40, "s")
				now = now.Add(d)
				m.FastForward(d)
				m.SetTime(now)
			},
		})
	})
}
