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
	owner, answer string
	print         [32]byte
	confirmed     bool
	expires       time.Time
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
		k := idempotency.NewKeys(rdb, func() time.Time { return now })
		keys := map[string]keyModel{}
		// find returns the name of a drawn key and what the model has of it.
		find := func(rt *rapid.T) (string, keyModel, bool) {
			name := rapid.SampledFrom([]string{"k", "l"}).Draw(rt, "key")
			mod, ok := keys[name]
			return name, mod, ok && now.Before(mod.expires)
		}
		owners := rapid.SampledFrom([]string{"a", "b", "c"})
		rt.Repeat(map[string]func(*rapid.T){
			"claim": func(rt *rapid.T) {
				name, mod, ok := find(rt)
				owner, print := owners.Draw(rt, "owner"), [32]byte{byte(rapid.IntRange(0, 1).Draw(rt, "print"))}
				var want idempotency.Claim
				switch {
				case !ok:
					keys[name] = keyModel{owner: owner, print: print, expires: now.Add(30 * time.Second)}
				case mod.print != print:
					want.State = idempotency.Mismatch
				case mod.confirmed:
					want.Answer = []byte(mod.answer)
					if mod.owner != owner {
						want.State = idempotency.Done
					}
				case mod.owner == owner:
					mod.expires = now.Add(30 * time.Second)
					keys[name] = mod
				default:
					want = idempotency.Claim{State: idempotency.Pending, Lapses: mod.expires}
				}
				got, err := k.Claim(rt.Context(), "acme", name, print, owner)
				if diff := cmp.Diff(want, got); diff != "" || err != nil {
					rt.Fatalf("claim: %v %s", err, diff)
				}
			},
			"confirm": func(rt *rapid.T) {
				name, mod, ok := find(rt)
				owner, answer := owners.Draw(rt, "owner"), rapid.StringN(1, 3000, -1).Draw(rt, "answer")
				keep := time.Duration(rapid.IntRange(1, 100).Draw(rt, "keep s")) * time.Second
				err := k.Confirm(rt.Context(), "acme", name, owner, []byte(answer), keep)
				if !ok || mod.owner != owner {
					if !errors.Is(err, idempotency.ErrLost) {
						rt.Fatalf("confirm: %v", err)
					}
					return
				}
				if err != nil {
					rt.Fatalf("confirm: %v", err)
				}
				mod.confirmed, mod.answer, mod.expires = true, answer, now.Add(keep)
				keys[name] = mod
			},
			"drop": func(rt *rapid.T) {
				name, mod, ok := find(rt)
				owner := owners.Draw(rt, "owner")
				if err := k.Drop(rt.Context(), "acme", name, owner); err != nil {
					rt.Fatal(err)
				}
				if ok && mod.owner == owner && !mod.confirmed {
					delete(keys, name)
				}
			},
			"time passes": func(rt *rapid.T) {
				d := time.Duration(rapid.IntRange(1, 40).Draw(rt, "s")) * time.Second
				now = now.Add(d)
				m.FastForward(d)
			},
		})
	})
}
