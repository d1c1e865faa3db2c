package dispatch

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const schedule = 45 // steps; those that cannot be taken included

// draw makes a world and a schedule of a seed.
func draw(seed uint64, wheel []kind) (shape, []step) {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := shape{
		seed: seed, dispatchers: 2 + rng.IntN(mostDispatchers-1), messages: 2 + rng.IntN(mostMessages-1), together: rng.IntN(2) == 0,
		retry: uint8(rng.Uint32()), short: uint8(rng.Uint32() & rng.Uint32()), supersede: rng.IntN(3) == 0,
		alone: rng.IntN(4) == 0, tried: rng.IntN(3) == 0,
	}
	return s, program(rng, schedule, wheel)
}

// play runs a schedule to its end and says what the judge found.
func play(s shape, b breaks, steps []step, trail bool) *world {
	w := newWorld(s, b)
	w.trail = trail
	for i := range w.msgs {
		if i == 0 || s.seed>>i&1 == 0 {
			w.submit(i)
		}
	}
	if s.tried {
		w.tried()
	}
	for _, st := range steps {
		w.do(st)
		if w.fault != "" {
			return w
		}
	}
	w.end()
	return w
}

// shrink leaves out what a fault does not need.
func shrink(s shape, b breaks, steps []step) []step {
	for size := len(steps); size >= 1; {
		shorter := false
		for from := 0; from+size <= len(steps); {
			rest := append(append([]step(nil), steps[:from]...), steps[from+size:]...)
			if play(s, b, rest, false).fault != "" {
				steps, shorter = rest, true
			} else {
				from += size
			}
		}
		if !shorter {
			size /= 2
		} else {
			size = min(size, len(steps))
		}
	}
	return steps
}

// explain plays the smallest schedule with the fault and returns its story.
func explain(seed uint64, b breaks) string {
	s, steps := draw(seed, newWheel())
	steps = shrink(s, b, steps)
	w := play(s, b, steps, true)
	return fmt.Sprintf("seed %d: %s\n%+v\n%s", seed, w.fault, s, strings.Join(w.trace, "\n"))
}

// searchFaults plays schedules from a seed on until one has a fault, all cores busy.
func searchFaults(from uint64, b breaks, until func(played uint64) bool) (bad uint64, found bool, played uint64) {
	var next, count atomic.Uint64
	var fault atomic.Uint64
	next.Store(from)
	var all sync.WaitGroup
	for range cores {
		all.Go(func() {
			wheel := newWheel()
			for fault.Load() == 0 && !until(count.Load()) {
				seeds := next.Add(64)
				for seed := seeds - 64; seed < seeds; seed++ {
					s, steps := draw(seed, wheel)
					if play(s, b, steps, false).fault != "" {
						fault.CompareAndSwap(0, seed+1)
						return
					}
				}
				count.Add(64)
			}
		})
	}
	all.Wait()
	return fault.Load() - 1, fault.Load() != 0, count.Load()
}

const cores = 2

// TestModel plays schedules for TUMA_MODEL (a duration), or some thousands. A
// fault prints its seed and the shortest schedule that shows it; TUMA_SEED=n plays
// that one alone.
func TestModel(t *testing.T) {
	if v := os.Getenv("TUMA_SEED"); v != "" {
		seed, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Fatal(explain(seed, breaks{}))
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // worlds are small and short
	from, until := uint64(1), func(played uint64) bool { return played >= 20_000 }
	began := time.Now()
	if v := os.Getenv("TUMA_MODEL"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatal(err)
		}
		from, until = rand.Uint64()>>1, func(uint64) bool { return time.Since(began) > d }
	}
	bad, found, played := searchFaults(from, breaks{}, until)
	took := time.Since(began)
	t.Logf("%d schedules from seed %d in %.1f s: %.0f a minute", played, from, took.Seconds(), float64(played)/took.Minutes())
	if found {
		t.Fatal(explain(bad, breaks{}))
	}
}

// TestModelSeesWhatIsBroken takes each protection out, and the judge must go red.
func TestModelSeesWhatIsBroken(t *testing.T) {
	from := map[string]uint64{"a slot of a mode that is over is used": 217_500} // it takes many things at once
	for name, b := range map[string]breaks{
		"the fence is off":                             {noFence: true},
		"the ack comes before the outcome":             {ackFirst: true},
		"the own tail is not waited for":               {noOwnTail: true},
		"the quarantine is skipped":                    {noQuarantine: true},
		"a request that ended in EOF is made again":    {resendOnEOF: true},
		"the lease of others is not waited for":        {noLease: true},
		"a slot of a mode that is over is used":        {noRegime: true},
		"a report does not stop a second try":          {noProof: true},
		"what dead processes did not tell is not told": {forgetTold: true},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			seed, found, played := searchFaults(max(1, from[name]), b, func(n uint64) bool { return n > 2_000_000 || time.Since(began) > 2*time.Minute })
			if !found {
				t.Fatalf("%d schedules, and the judge saw nothing", played)
			}
			s, steps := draw(seed, newWheel())
			t.Logf("seed %d, seen after %d schedules: %s", seed, played, play(s, b, steps, false).fault)
		})
	}
}
