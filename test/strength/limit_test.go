package strength

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// jitter is how much later than planned a request may reach its gateway: a window
// of slots is that much longer than the limit's.
const jitter = 20 * time.Millisecond

// punctual is how late a gateway may come to read a request that the kernel has,
// for its reading to count. Half of the jitter is there for that, and for the way.
const punctual = jitter / 4

// arrivals are the instants at which requests arrived, in order: by the kernel
// where it tells them, else as the gateway read them. late is how much later than
// the kernel had it the gateway came to read one, at most.
func (a *acct) arrivals() (at []time.Time, late time.Duration) {
	read := a.readings()
	at = a.socks.Arrived(a.typ)
	if len(at) < len(read) { // it tells none, or not all
		return read, 0
	}
	for i := range read {
		late = max(late, read[i].Sub(at[i]))
	}
	return at, late
}

// readings are the instants at which the gateway read requests' headers, in order.
func (a *acct) readings() []time.Time {
	var out []time.Time
	for e := range a.sim.Ledger().Each(a.typ) {
		out = append(out, e.Time)
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// within checks that no half-open window ever held more requests than its limit,
// by the time of their arrival, and by the gateway's own reading unless that was
// late. It says what it saw.
func (a *acct) within(t *testing.T, limit int, window time.Duration) string {
	t.Helper()
	at, late := a.arrivals()
	most, read := rig.Most(at, window), rig.Most(a.readings(), window)
	if most > limit || (read > limit && late <= punctual) {
		t.Errorf("%s: %d requests within %s (%d as the gateway read them, %s late at most), the limit is %d", a.name, most, window, read, ms(late), limit)
	}
	if late > punctual {
		return fmt.Sprintf("%d (%d as the gateway read them, up to %s late)", most, read, ms(late))
	}
	return strconv.Itoa(max(most, read))
}

// agrees checks that none of the gateway's readings of "a second" was violated,
// unless the gateway was too late itself to tell.
func (a *acct) agrees(t *testing.T) {
	t.Helper()
	if _, late := a.arrivals(); late > punctual {
		return
	}
	for reading, n := range a.sim.Ledger().Summary(a.typ).Violations {
		if n > 0 {
			t.Errorf("%s: %d requests over the limit as %s reads it", a.name, n, reading)
		}
	}
}

// use is the share of the limit that was used between two instants, to the slot:
// from the first request in it up to the first one after it, unless those were
// further away than the next slot must have been.
func (a *acct) use(t *testing.T, from, to time.Time) float64 {
	t.Helper()
	slot := (time.Second+jitter)/time.Duration(a.limit) + jitter
	rig.Pass(t, time.Until(to.Add(slot+punctual)))
	at, _ := a.arrivals()
	first, _ := slices.BinarySearchFunc(at, from, time.Time.Compare)
	last, _ := slices.BinarySearchFunc(at, to, time.Time.Compare)
	if first < len(at) && at[first].Sub(from) <= slot {
		from = at[first]
	}
	if last < len(at) && at[last].Sub(to) <= slot {
		to = at[last]
	}
	return float64(last-first) / (float64(a.limit) * to.Sub(from).Seconds())
}

// refused counts the requests that the gateway answered 429 although it had read some
// so late that it could not tell.
func (a *acct) refused(from, to time.Time) (n int) {
	if _, late := a.arrivals(); late <= punctual {
		return 0
	}
	for e := range a.sim.Ledger().Each(a.typ) {
		if e.Status == http.StatusTooManyRequests && !e.Time.Before(from.Add(-time.Second)) && e.Time.Before(to) {
			n++
		}
	}
	return n
}

// used judges how much of its limit an account used while it had a backlog.
func (a *acct) used(t *testing.T, what string, from, to time.Time, late float64) {
	t.Helper()
	use := a.use(t, from, to)
	if n := a.refused(from, to); n > 0 { // each cost the account a second
		figure(t, what, "≥ 97% used", "%s (not judged: the gateway, late itself, refused %d that came in time)", percent(use), n)
		return
	}
	figure(t, what, "≥ 97% used", "%s%s", percent(use), excuse(late))
	if use < 0.97 && late <= calm {
		t.Errorf("%s: %s used on a machine that had the time", what, percent(use))
	}
}
