package idempotency

import (
	"cmp"
	"slices"
	"time"
)

// superseded is the reason of what a supersede record closes.
const superseded = "superseded"

// A submission with a supersede key is kept for 72 hours after its acceptance,
// which is as long as it can wait, unless its record says until when. Clocks of
// those who accept may differ by clockSlack, and an acceptance moves the fold's
// clock by no more than that, so that one clock gone wrong cannot wipe out the
// keys of all the others.
const (
	supersedeFor = 72 * time.Hour
	clockSlack   = time.Hour
)

// submission is the current one of a supersede key.
type submission struct {
	at    int64
	id    string
	until int64
	spans []Span
}

func (s submission) newer(than submission) bool {
	if s.at != than.at {
		return s.at > than.at
	}
	return s.id > than.id
}

func (f *Fold) supersede(r Record) Effect {
	this := submission{at: r.At, id: r.ID, until: r.Until, spans: f.sound(r.Spans)}
	if this.until == 0 {
		this.until = r.At + int64(supersedeFor)
	}
	old, ok := f.current[r.SupersedeKey]
	var result Effect
	switch {
	case !ok:
		f.current[r.SupersedeKey] = this
	case this.id == old.id:
	case this.newer(old):
		f.current[r.SupersedeKey] = this
		result = f.closeAll(old)
	default:
		result = f.closeAll(this)
	}
	f.tick(r.At)
	return result
}

// closeAll closes the free messages of a submission that lost.
func (f *Fold) closeAll(lost submission) Effect {
	var e effect
	f.each(lost.spans, f.closing(&e, superseded))
	slices.SortFunc(e.done, func(a, b interval) int { return cmp.Compare(a.lo, b.lo) })
	result := Effect{Acted: e.acted}
	if e.acted > 0 {
		result.SupersededID = lost.id
	}
	for i := 0; i < len(e.done); {
		r := e.done[i]
		for i++; i < len(e.done) && e.done[i].lo == r.hi; i++ {
			r.hi = e.done[i].hi
		}
		result.Superseded = cut(result.Superseded, lost.spans, r.lo, r.hi-r.lo)
	}
	return result
}

// tick moves the clock to an acceptance and, once in an hour of it, drops the
// keys whose submissions can no longer be waiting.
func (f *Fold) tick(at int64) {
	if f.clock == 0 {
		f.clock = max(at, 0)
	} else if at > f.clock {
		f.clock += min(at-f.clock, int64(clockSlack))
	}
	if f.clock-f.swept < int64(clockSlack) {
		return
	}
	f.swept = f.clock
	for key, s := range f.current {
		if s.until < f.clock-int64(clockSlack) {
			delete(f.current, key)
		}
	}
}
