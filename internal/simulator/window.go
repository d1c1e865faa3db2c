package simulator

import "time"

// The readings of "n requests per second" that the judge applies at once. The
// documents do not say which one a gateway means; a sender should satisfy all.
const (
	slidingWindow = "sliding"      // any half-open second
	clockSecond   = "clock_second" // seconds of the clock
	firstHit      = "first_hit"    // a second from the first request on, then anew
	tokenBucket   = "token_bucket" // n tokens, refilled at n a second
)

// window judges the requests of one type. Its owner locks.
type window struct {
	limit      int
	arrivals   ring // of all requests: what the sender did
	admitted   ring // of those let in: what the gateway enforces, as a refused one costs it nothing
	second     int64
	inSecond   int
	hitAt      time.Duration
	inHit      int
	tokens     float64
	filledAt   time.Duration
	violations map[string]int
}

// rateView is what a request may be told of its limit.
type rateView struct {
	over             bool
	limit, remaining int
	reset            time.Time
}

func newWindow(limit int) *window {
	return &window{limit: limit, arrivals: newRing(limit), admitted: newRing(limit),
		second: -1, hitAt: -time.Hour, tokens: float64(limit), violations: map[string]int{}}
}

// arrive judges a request at now (since the start; wall is the same instant).
func (w *window) arrive(now time.Duration, wall time.Time) rateView {
	if w.limit <= 0 {
		return rateView{}
	}
	if w.arrivals.within(now, time.Second) {
		w.violations[slidingWindow]++
	}
	w.arrivals.push(now)
	w.fixed(now, wall)

	v := rateView{limit: w.limit, reset: wall.Add(time.Second)}
	if v.over = w.admitted.within(now, time.Second); !v.over {
		w.admitted.push(now)
	}
	// What an answer tells is the token bucket of the BulkSMSRates document, the only
	// one that tells anything: the strictest reading would call every request at full
	// speed the last one.
	v.remaining = max(int(w.tokens), 0)
	if v.over {
		v.remaining = 0
	}
	return v
}

func (w *window) fixed(now time.Duration, wall time.Time) {
	if s := wall.Unix(); s != w.second {
		w.second, w.inSecond = s, 0
	}
	if w.inSecond++; w.inSecond > w.limit {
		w.violations[clockSecond]++
	}
	if now-w.hitAt >= time.Second {
		w.hitAt, w.inHit = now, 0
	}
	if w.inHit++; w.inHit > w.limit {
		w.violations[firstHit]++
	}
	w.tokens = min(float64(w.limit), w.tokens+(now-w.filledAt).Seconds()*float64(w.limit))
	w.filledAt = now
	if w.tokens < 1 {
		w.violations[tokenBucket]++
		return
	}
	w.tokens--
}

// ring remembers the last n instants.
type ring struct {
	at   []time.Duration
	next int
	full bool
}

func newRing(n int) ring { return ring{at: make([]time.Duration, max(n, 0))} }

func (r *ring) push(t time.Duration) {
	r.at[r.next] = t
	r.next = (r.next + 1) % len(r.at)
	r.full = r.full || r.next == 0
}

// within reports whether all n instants lie less than d before now, so that one
// more would make n+1 in a half-open window.
func (r *ring) within(now, d time.Duration) bool {
	return r.full && now-r.at[r.next] < d
}
