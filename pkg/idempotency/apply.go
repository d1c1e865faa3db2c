package idempotency

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Apply folds the record at journal sequence seq into the state and tells what
// it did. Sequences rise from call to call; what has been applied already is
// passed over, without effect.
//
//   - Intent: each of its messages that is Free becomes Taken by it; the others
//     are Lost. If its account is paused it wins nothing. If it won nothing it is
//     settled at once.
//   - Outcome: says in Runs what becomes of the messages of intent Record.Intent,
//     in their order. It acts on those that this intent holds: on Taken ones
//     whatever it says, on Unsettled ones only if it says Closed (late news that
//     they were sent, or settled otherwise). A message that it frees while a
//     close record stands is closed by that, and listed as Freed. If the intent
//     holds nothing any more the outcome does nothing, and lists nothing as Lost.
//   - Close: Free messages become Closed. On Taken and Unsettled ones the reason
//     stands until they are freed; the first such reason stays. Both these and
//     the closed ones are Lost. A record without reason stands as "canceled". One
//     with the reason "expired" acts on messages that were never uncertain, and
//     stands for nothing: what may have been sent does not expire, and who has it
//     next sees for himself that its time is over. One with the reason "reported"
//     says that the gateway took its messages: it closes Unsettled ones, too.
//   - Release: messages that intent Record.Intent left Unsettled become Free,
//     unless they were released before. If a close record stands they are closed
//     instead, and listed as Freed.
//   - Supersede: of the submissions of one key, the one accepted last stays (of
//     equals the one with the greater ID); when a record shows that another is
//     not it, that one's messages are closed as by a Close with the reason
//     "superseded". The same ID again does nothing. A key is known until
//     Record.Until has passed, by the newest acceptance seen.
//   - Mode: pauses an account, or not.
//   - Sender: from here on only the intents of Record.Sender win anything for the
//     account; of everybody, if it is empty. It acts only if the sender so far is
//     Record.Was.
//
// The time it takes goes with the number of spans and of stretches in different
// states, not of messages, but for those it has to list in the Effect.
func (f *Fold) Apply(seq uint64, r Record) Effect {
	if seq <= f.last {
		return Effect{}
	}
	f.last = seq
	var e effect
	switch r.Kind {
	case Intent:
		f.intent(&e, seq, r)
	case Outcome:
		f.outcome(&e, r)
	case Close:
		f.each(f.sound(r.Spans), f.closing(&e, r.Reason))
		f.settleAll()
	case Release:
		f.release(&e, r)
	case Supersede:
		return f.supersede(r)
	case Mode:
		f.account(r.Account).paused = r.Paused
	case Sender:
		if a := f.account(r.Account); a.sender == r.Was {
			a.sender = r.Sender
			e.acted++
		}
	case Health, Told: // for those who send, route and tell, not for what was sent
	default:
		f.ignored++
	}
	return e.result()
}

func (f *Fold) intent(e *effect, seq uint64, r Record) {
	in := &intent{seq: seq, account: f.account(r.Account), owner: r.Owner, lease: lease(r.LeaseMillis), spans: f.sound(r.Spans)}
	f.each(in.spans, func(_ piece, at, n uint64, v value) value {
		if v.state != Free || in.account.shuts(r.Owner) {
			e.lose(at, n)
			return v
		}
		e.acted += int(n)
		return f.move(v, value{by: in, state: Taken, released: v.released}, n)
	})
	if in.held.taken > 0 {
		f.keep(in)
	}
}

// lease reads a record's lease; one that no duration holds is none.
func lease(ms int64) time.Duration {
	if ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

func (f *Fold) outcome(e *effect, r Record) {
	in := f.intents[r.Intent]
	if in == nil {
		return
	}
	f.judge(in.spans, r.Runs, func(p piece, at, n uint64, v value) value {
		if v.by != in || p.to == unsaid || v.state == Unsettled && p.to != Closed {
			e.lose(at, n)
			return v
		}
		e.acted += int(n)
		if p.to == Free {
			return f.free(e, at, n, v, v.released)
		}
		next := value{state: p.to}
		if p.to == Unsettled {
			next = v
			next.state = Unsettled
		}
		return f.move(v, next, n)
	})
	f.settle(in)
}

func (f *Fold) release(e *effect, r Record) {
	in := f.intents[r.Intent]
	f.each(f.sound(r.Spans), func(_ piece, at, n uint64, v value) value {
		if in == nil || v.by != in || v.state != Unsettled || v.released {
			e.lose(at, n)
			return v
		}
		e.acted += int(n)
		return f.free(e, at, n, v, true)
	})
	if in != nil {
		f.settle(in)
	}
}

// Reasons of close records that mean more than others: the messages' time is
// over; the gateway took them, although their attempt's outcome does not say so.
const (
	expired  = "expired"
	reported = "reported"
)

// closing is the verdict of a close record.
func (f *Fold) closing(e *effect, reason string) verdict {
	if reason == "" {
		reason = "canceled"
	}
	over := reason == expired
	return func(_ piece, at, n uint64, v value) value {
		if v.state == Free && !(over && v.released) {
			e.act(at, n)
			return value{state: Closed}
		}
		if v.state == Unsettled && reason == reported {
			e.act(at, n)
			f.settling = append(f.settling, v.by)
			return f.move(v, value{state: Closed}, n)
		}
		e.lose(at, n)
		if v.state != Closed && v.reason == "" && !over {
			v.reason = reason
		}
		return v
	}
}

// free lets go of messages, into the close record that stands for them if any.
func (f *Fold) free(e *effect, at, n uint64, v value, released bool) value {
	if v.reason == "" {
		return f.move(v, value{released: released}, n)
	}
	for i := range n {
		e.freed = append(e.freed, freed{uint32(at + i), v.reason})
	}
	return f.move(v, value{state: Closed}, n)
}

func (f *Fold) move(from, to value, n uint64) value {
	f.count(from, -int(n))
	f.count(to, int(n))
	return to
}

// effect gathers an Effect. Messages with index 0 are dealt with before the
// others, so that positions may come out of order.
type effect struct {
	acted int
	done  []interval
	lost  []uint32
	freed []freed
}

type freed struct {
	at     uint32
	reason string
}

func (e *effect) act(at, n uint64) {
	e.acted += int(n)
	e.done = append(e.done, interval{at, at + n})
}

func (e *effect) lose(at, n uint64) {
	e.lost = slices.Grow(e.lost, int(n))
	for i := range n {
		e.lost = append(e.lost, uint32(at+i))
	}
}

func (e *effect) result() Effect {
	if !slices.IsSorted(e.lost) {
		slices.Sort(e.lost)
	}
	r := Effect{Acted: e.acted, Lost: e.lost}
	slices.SortFunc(e.freed, func(a, b freed) int { return cmp.Compare(a.at, b.at) })
	for _, x := range e.freed {
		r.Freed, r.Reasons = append(r.Freed, x.at), append(r.Reasons, x.reason)
	}
	return r
}

// sound is the spans without the malformed ones, and without all from where
// there are more than MaxMessages.
func (f *Fold) sound(spans []Span) []Span {
	total, bad := 0, false
	for i := range spans {
		n := spans[i].Len()
		if total += n; n == 0 || n > MaxMessages || total > MaxMessages {
			bad = true
			break
		}
	}
	if !bad {
		return spans
	}
	var kept []Span
	total = 0
	for i, s := range spans {
		n := s.Len()
		if n > MaxMessages-total {
			f.ignored += uint64(len(spans) - i)
			break
		}
		if n == 0 {
			f.ignored++
			continue
		}
		total += n
		kept = append(kept, s)
	}
	return kept
}
