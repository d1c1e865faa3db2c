package ratelimit

import (
	"fmt"
	"strconv"
	"time"
)

const (
	// spacedUpTo is the longest window whose requests are spaced evenly. Longer
	// ones are counted: 15 a day should not mean one every 96 minutes. The
	// price of spacing is latency (10 a minute: one every 6 s even when idle
	// before), its gain that there is never a window's wait for an urgent one.
	spacedUpTo = time.Minute

	// leastStep is the spacing where only counts limit an account: slots are
	// unique instants in any case.
	leastStep = time.Millisecond

	// buckets is how finely a counted window slides: use is lost by one part in
	// so many, and a window costs Redis so many list entries at most.
	buckets = 1024

	// clockSkew is how far the provider's midnight may be from ours. What is
	// sent this close to midnight counts for both days (slots.lua has it too).
	clockSkew = 5 * time.Second

	// settle is how long an unreachable or superseded Redis may still serve
	// somebody else.
	settle = 2 * time.Second
)

// plan is what the limits come down to: the spacing of slots, and counted
// windows.
type plan struct {
	step   time.Duration // between slots, whole microseconds
	hold   time.Duration // quarantine of a Redis whose past is unknown
	counts []count
}

// count is one counted window: so many requests or messages in span buckets of
// the given width, or in a calendar day.
type count struct {
	name     string // part of a Redis key: what is counted, and over what
	messages bool   // else requests
	most     int
	width    time.Duration
	span     int64
	zone     *time.Location // calendar day if not nil
}

// weight is what a request with so many messages counts for.
func (c count) weight(messages int) int {
	if c.messages {
		return messages
	}
	return 1
}

// newPlan works the limits out. o has its defaults.
func newPlan(o Options) (plan, error) {
	var p plan
	var longest time.Duration // of the windows a quarantine sits out
	for _, l := range o.Limits {
		if l.Requests < 0 || l.Messages < 0 || l.Requests+l.Messages == 0 || (l.Per <= 0 && !l.Calendar) {
			return p, fmt.Errorf("ratelimit: account %s: limit of %d requests, %d messages per %v", o.Account, l.Requests, l.Messages, l.Per)
		}
		switch l.Model {
		case "", Sliding, Fixed, TokenBucket, Paced:
		default:
			return p, fmt.Errorf("ratelimit: account %s: unknown model %q", o.Account, l.Model)
		}
		if !l.Calendar && l.Per <= spacedUpTo {
			longest = max(longest, l.Per)
		}
		if l.Requests > 0 {
			p.addRequests(l, o)
		}
		if l.Messages > 0 {
			p.counts = append(p.counts, newCount(l, true, o.Jitter))
		}
	}
	p.step = max(p.step, time.Microsecond)
	if p.step == time.Microsecond && len(p.counts) > 0 {
		p.step = leastStep
	}
	p.hold = settle + max(longest, p.step) + o.Ahead
	return p, nil
}

func (p *plan) addRequests(l Limit, o Options) {
	n := time.Duration(l.Requests)
	switch {
	case l.Calendar:
		p.counts = append(p.counts, newCount(l, false, o.Jitter))
	case l.Model == Paced:
		p.step = max(p.step, microsUp(l.Per, n)+o.Jitter.Round(time.Microsecond))
	case l.Per <= spacedUpTo:
		p.step = max(p.step, microsUp(l.Per+o.Jitter, n))
	default:
		p.counts = append(p.counts, newCount(l, false, o.Jitter))
	}
}

// newCount describes the counted window of l. A bucket leaves the window only
// once its youngest moment has, hence the one more than the division gives.
func newCount(l Limit, messages bool, jitter time.Duration) count {
	c := count{messages: messages, most: l.Requests, name: "requests:"}
	if messages {
		c.most, c.name = l.Messages, "messages:"
	}
	if l.Calendar {
		c.zone = orDefault(l.Zone, time.UTC)
		c.name += c.zone.String()
		return c
	}
	c.width = max(time.Millisecond, microsUp(l.Per, buckets))
	c.span = int64((l.Per+jitter+c.width-1)/c.width) + 1
	c.name += strconv.FormatInt(l.Per.Microseconds(), 10)
	return c
}

// midnights are the starts of yesterday, today, tomorrow and the day after in
// the count's zone: enough for a Redis whose clock is up to a day off.
func (c count) midnights(now time.Time) [4]time.Time {
	y, m, d := now.In(c.zone).Date()
	var out [4]time.Time
	for i := range out {
		out[i] = time.Date(y, m, d-1+i, 0, 0, 0, 0, c.zone)
	}
	return out
}

// fits reports whether a request with so many messages can ever be sent.
func (p plan) fits(messages int) bool {
	for _, c := range p.counts {
		if c.weight(messages) > c.most {
			return false
		}
	}
	return true
}

// microsUp is d/n, rounded up to whole microseconds.
func microsUp(d, n time.Duration) time.Duration {
	n *= time.Microsecond
	return (d + n - 1) / n * time.Microsecond
}
