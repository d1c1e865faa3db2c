package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A schedule waits in the delay stream under sms.delay.KIND.HOUR.SLICE.ID, where
// KIND is that of its target (sms.due.KIND.…), and HOUR and SLICE are when it is
// due, in hours and in sliceSeconds since 1970: what should have fired and has not
// is then found without reading what is still to come.
const (
	delayPrefix  = "sms.delay."
	sliceSeconds = 10
	hourSeconds  = 3600
	anHour       = hourSeconds / sliceSeconds
)

// Kinds of schedules.
const (
	DelaySubmit = "submit" // submissions until their send time
	DelayQueue  = "queue"  // pieces until their retry
)

// wholeSecond is at, rounded up: the server keeps whole seconds, and would fire
// up to one early.
func wholeSecond(at time.Time) time.Time {
	if at.Truncate(time.Second).Equal(at) {
		return at
	}
	return at.Truncate(time.Second).Add(time.Second)
}

func delaySubject(kind, id string, at time.Time) string {
	s := wholeSecond(at).Unix()
	return fmt.Sprintf("%s%s.%d.%d.%s", delayPrefix, kind, s/hourSeconds, s/sliceSeconds, id)
}

// schedule returns where a schedule is stored, and what makes it one.
func (o Out) schedule() (subject string, opts []jetstream.PublishOpt) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(o.Subject, "sms.due."), ".")
	opts = []jetstream.PublishOpt{jetstream.WithScheduleAt(wholeSecond(o.At)), jetstream.WithScheduleTarget(o.Subject)}
	if o.stuck > 0 {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(o.stuck))
	}
	return delaySubject(kind, o.SchedID, o.At), opts
}

// CancelSchedule removes a schedule that has not fired. It is no error if there
// is none.
func (b *Bus) CancelSchedule(ctx context.Context, kind, schedID string, at time.Time) error {
	s, err := b.stream(ctx, DelayStream)
	if err != nil {
		return err
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(delaySubject(kind, schedID, at))); err != nil {
		return typed("purge", err)
	}
	return nil
}

// How the search for stuck schedules goes.
const (
	stuckEvery = 5 * time.Second
	stuckAfter = 5 * time.Second     // the end of its slice; a server in good health takes a second for 50,000
	stuckSince = 31 * 24 * time.Hour // nothing waits longer than 30 days
)

// FireStuck looks for schedules of a kind that are due and did not fire, and
// stores them anew, until ctx is done. The server tries to fire a schedule once:
// if what it fires cannot be stored (no room for files, no quorum), the schedule
// stays and is passed over until the server starts again. Any number of processes
// may look; a schedule that fires after all may appear twice.
func (b *Bus) FireStuck(ctx context.Context, kind string, now func() time.Time) {
	search := stuckSearch{b: b, kind: kind}
	tick := time.NewTicker(stuckEvery)
	defer tick.Stop()
	for {
		n, err := search.look(ctx, now())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			b.log.Warn("stuck schedules are not fired yet", "kind", kind, "fired", n, "error", err)
		case n > 0:
			b.log.Warn("schedules were due and had not fired; fired now", "kind", kind, "fired", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// stuckSearch remembers up to where nothing is left.
type stuckSearch struct {
	b    *Bus
	kind string
	from int64 // slice
}

// look fires what is stuck in slices that are over.
func (s *stuckSearch) look(ctx context.Context, now time.Time) (fired int, err error) {
	if s.from == 0 {
		s.from = now.Add(-stuckSince).Unix() / hourSeconds * anHour
	}
	end := now.Add(-stuckAfter).Unix() / sliceSeconds
	switch _, err := s.b.First(ctx, DelayStream, delayPrefix+s.kind+".>", 1); {
	case errors.Is(err, ErrNotFound): // nothing waits at all
		s.from = max(s.from, end)
		return 0, nil
	case err != nil:
		return 0, err
	}
	clean := true
	for slice := s.from; slice < end; {
		hour := fmt.Sprintf("%s%s.%d.", delayPrefix, s.kind, slice/anHour)
		step, found := s.empty(ctx, hour, slice, end), 0
		if step == 1 {
			var n int
			found, n, err = s.fire(ctx, fmt.Sprintf("%s%d.>", hour, slice))
			fired += n
		}
		if err != nil {
			return fired, err
		}
		slice += step
		if clean = clean && found == 0; clean {
			s.from = slice
		}
	}
	return fired, nil
}

// empty returns how many slices may be passed over at once: a whole hour, if
// nothing is left of it.
func (s *stuckSearch) empty(ctx context.Context, hour string, slice, end int64) (step int64) {
	if slice%anHour == 0 && slice+anHour <= end {
		if _, err := s.b.First(ctx, DelayStream, hour+">", 1); errors.Is(err, ErrNotFound) {
			return anHour
		}
	}
	return 1
}

// fire stores anew what lies under filter, up to a thousand at a time.
func (s *stuckSearch) fire(ctx context.Context, filter string) (found, fired int, err error) {
	var stuck []*Msg
	if found, _, err = s.b.rangeOnce(ctx, DelayStream, filter, 1, 1000, func(m *Msg) { stuck = append(stuck, m) }); err != nil {
		return found, 0, err
	}
	for _, m := range stuck {
		switch _, err := s.b.Publish(ctx, again(m)); {
		case err == nil:
			fired++
		case !errors.Is(err, ErrOvertaken): // it has fired meanwhile
			return found, fired, err
		}
	}
	return found, fired, nil
}

// again is a schedule as it was published, to be stored in the place of the one
// at its sequence.
func again(m *Msg) Out {
	o := Out{Subject: m.Get("Nats-Schedule-Target"), Data: m.Data, Header: maps.Clone(m.Header), stuck: m.Seq}
	maps.DeleteFunc(o.Header, func(name string, _ []string) bool {
		return strings.HasPrefix(name, "Nats-") || name == packedHeader
	})
	tokens := strings.SplitN(m.Subject, ".", 6) // sms.delay.KIND.HOUR.SLICE.ID
	o.SchedID = tokens[len(tokens)-1]
	o.At, _ = time.Parse(time.RFC3339, strings.TrimPrefix(m.Get("Nats-Schedule"), "@at ")) // it was published by Publish
	o.Pack()
	return o
}
