package main

import (
	"context"
	"fmt"
	"time"
)

// slowly is how long the gateway takes where the gateway's time is the bound.
const slowly = 250 * time.Millisecond

// scaling measures one, two and four dispatchers on one account whose limit does
// not hold: once where the machine is the bound, and once where it is the gateway's
// time to answer, which each dispatcher bears with so many requests in flight.
func scaling(ctx context.Context, o *options, t *table, _ int) error {
	for _, way := range []struct {
		what  string
		delay time.Duration
		n     int
	}{{"answers at once", 0, 200_000}, {"answers after " + slowly.String(), slowly, 80_000}} {
		slow, n := *o, o.size(way.n)
		slow.delay = way.delay
		for _, k := range []int{1, 2, 4} {
			if err := slow.in(ctx, false, func(w *world) error {
				var others []*process
				for range k - 1 {
					d, err := w.tuma(ctx, "dispatcher")
					if err != nil {
						return err
					}
					others = append(others, d)
				}
				before, err := spent(others...) // what a start costs does not count
				if err != nil {
					return err
				}
				_, m, err := w.drain(ctx, single, n, 1)
				if err != nil {
					return err
				}
				after, err := spent(others...)
				if err != nil {
					return err
				}
				m.own += after - before
				t.measured(fmt.Sprintf("%d × dispatcher, gateway %s", k, way.what), perSecond, n, m)
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}
