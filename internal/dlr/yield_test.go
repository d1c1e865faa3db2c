package dlr

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
)

func TestMatchingHasMoreOfTheTimeTheFurtherBehindItIs(t *testing.T) {
	t.Parallel()
	const took = 10 * time.Millisecond
	for behind, want := range map[time.Duration]time.Duration{
		-time.Second:      15 * took, // another collector's clock
		0:                 15 * took,
		longestBehind / 2: 8 * took,
		longestBehind:     took,
		time.Hour:         took,
	} {
		if got := restAfter(took, behind); got != want {
			t.Errorf("%v behind: rests for %v, want %v", behind, got, want)
		}
	}
}

func TestGroupsOfAStormHaveFewBatchesToReadBack(t *testing.T) {
	t.Parallel()
	c := &Collector{o: Options{Journal: journal.New(nil, journal.Options{})}, batches: newBatches(nil, 1<<20)}
	c.batches.keep(&batch{seq: 1})
	a := &account{}
	report := func(seq uint64) *callback {
		return &callback{items: []item{{batch: journal.BatchID(c.o.Journal.Epoch(), seq)}}}
	}
	for name, want := range map[string]int{"storm": stormReads, "calm": groupSize} {
		c.most.Store(map[string]int64{"storm": storm, "calm": storm - 1}[name])
		var r reads
		r.begin(c)
		n := 0
		for more := true; more; n++ {
			if !r.room(c, a, report(1)) {
				t.Fatalf("%s: no room for what is at hand, after %d", name, n)
			}
			more = r.room(c, a, report(uint64(n+2)))
			if again := r.room(c, a, report(uint64(n+2))); again != more {
				t.Fatalf("%s: the same batch once more is room: %v, then %v", name, more, again)
			}
		}
		if n != want {
			t.Errorf("%s: %d batches, want %d", name, n, want)
		}
	}
}
