package dlr

import (
	"context"
	"time"

	"github.com/tuma-sms/tuma/internal/service"
)

const (
	storm         = 16                    // callbacks that wait for the bus at once
	stormReads    = 64                    // batches read back for a group then
	yieldStep     = 50 * time.Millisecond // after this it is looked whether the storm is over
	longestYield  = 2 * time.Second       // what is read ahead must not wait until it comes again
	longestBehind = 30 * time.Second      // from here on half of the time is for matching, whatever comes in
)

// reads bounds how many batches a group may have to be read back in a storm:
// the work between two rests would be as much as the rest of the group is worth.
type reads struct {
	met  map[uint64]struct{}
	left int
}

func (r *reads) begin(c *Collector) {
	if r.left = groupSize; c.most.Load() >= storm {
		r.left = stormReads
	}
	r.met = make(map[uint64]struct{})
}

// room takes a callback into account, and reports whether there is room for more.
func (r *reads) room(c *Collector, a *account, cb *callback) bool {
	for i := range cb.items {
		it := &cb.items[i]
		if !c.aim(a, it) {
			continue
		}
		if _, met := r.met[it.at.intent]; met {
			continue
		}
		r.met[it.at.intent] = struct{}{}
		if c.batches.kept(it.at.intent) == nil {
			r.left--
		}
	}
	return r.left > 0
}

// yield rests after a group while callbacks come in faster than they can be
// stored: a gateway that is not answered in time calls again, and what a report
// means can wait some seconds. The groups that come together meanwhile are larger,
// and cheaper for each.
func (c *Collector) yield(ctx context.Context, took, behind time.Duration) {
	for left := min(restAfter(took, behind), longestYield); left > 0; left -= yieldStep {
		if c.most.Swap(c.storing.Load()) < storm || !service.Sleep(ctx, min(left, yieldStep)) {
			return
		}
	}
}

// restAfter is how long matching rests in a storm after some work. It has a
// sixteenth of the time, and the more the further behind it is, up to half of it:
// in a storm that goes on and on reports are late by some half a minute, no more.
func restAfter(took, behind time.Duration) time.Duration {
	left := min(max(0, longestBehind-behind), longestBehind)
	return took * (1 + 14*left/longestBehind)
}
