package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
)

// The last tenth of the journal is kept for outcomes: no intent goes there, so that
// what has left is recorded however full it is.
const (
	intentsUpTo   = 0.90
	intentsAgain  = 0.88 // where they begin again, so that the two do not flicker
	lookAtRoom    = 5 * time.Second
	lookWhenTight = time.Second // once it is three quarters full
	tight         = 0.75
)

// Full says why no intent may be written; empty: they may.
func (j *Journal) Full() string {
	if j.short.Load() {
		return bus.JournalStream + " ends before what this process has read of it (restored from an old copy, or its end was lost): nothing is sent until an operator has decided and this is started again"
	}
	if used := j.used.Load(); used != nil && j.full.Load() {
		return fmt.Sprintf("%s is %.0f%% full: nothing is sent until its records age out, or it has more room (nats.journal_gib)", bus.JournalStream, *used*100)
	}
	return ""
}

// watchRoom follows how full the journal is until ctx is done.
func (j *Journal) watchRoom(ctx context.Context) {
	for {
		wait := j.look(ctx)
		if j.o.LookEvery > 0 {
			wait = j.o.LookEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (j *Journal) look(ctx context.Context) (next time.Duration) {
	s, err := j.bus.State(ctx, bus.JournalStream)
	if err != nil || s.MaxBytes <= 0 {
		if err == nil {
			j.full.Store(false)
		}
		return lookAtRoom // what was known holds
	}
	used := float64(s.Bytes) / float64(s.MaxBytes)
	j.used.Store(&used)
	was := j.full.Load()
	is := used >= intentsUpTo || was && used >= intentsAgain
	j.full.Store(is)
	switch {
	case is && !was:
		j.o.Log.Error("the journal is full: nothing is sent", "used", used, "max_bytes", s.MaxBytes)
	case was && !is:
		j.o.Log.Warn("the journal has room again", "used", used)
	}
	if used > tight {
		return lookWhenTight
	}
	return lookAtRoom
}
