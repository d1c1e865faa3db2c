package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// newborn is how long an envelope may be unknown to a replica that did not take it.
const newborn = 10 * time.Second

// heldAfter is how long an envelope that has nothing but final and uncertain
// messages must have stood still to be done with: a message that is to be tried
// once more is `uncertain` for two minutes, a held one until somebody settles it.
const heldAfter = 3 * time.Minute

// waiter looks at envelopes until nothing is to be expected of their messages.
type waiter struct {
	c      *Client
	open   []*awaited
	final  int // messages of the others
	counts map[envelope.Status]int
	waited time.Duration
}

// awaited is an envelope with messages that are not final.
type awaited struct {
	id     string
	counts map[envelope.Status]int // as last seen
	since  time.Duration           // that the waiter had waited when they changed last
}

// over reports whether nothing is to be expected of an envelope, as it is now.
func (a *awaited) over(e *envelopeStatus, waited time.Duration) bool {
	if !maps.Equal(a.counts, e.Counts) {
		a.counts, a.since = e.Counts, waited
	}
	final := settled(e)
	return final >= e.Messages || final+e.Counts[envelope.Uncertain] >= e.Messages && waited-a.since >= heldAfter
}

// await waits for envelopes with total messages and prints the sum. Its error is
// errTold if not all of them were delivered.
func (t *tuma) await(ctx context.Context, c *Client, ids []string, total int, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, failed(fmt.Errorf("not all final after %s", timeout)))
		defer cancel()
	}
	b := t.bar(total, "final")
	w := &waiter{c: c, counts: map[envelope.Status]int{}}
	for _, id := range ids {
		w.open = append(w.open, &awaited{id: id})
	}
	for pause := 250 * time.Millisecond; ; pause = min(pause*3/2, 2*time.Second) {
		final, err := w.look(ctx)
		if err == nil && len(w.open) > 0 {
			b.set(final)
			w.waited += pause
			err = c.wait(ctx, pause)
		}
		if err != nil {
			b.done()
			return cause(ctx, err)
		}
		if len(w.open) == 0 {
			b.done()
			return t.tellSum(ids, w.counts)
		}
	}
}

// look asks for every open envelope once, and returns how many messages are final.
func (w *waiter) look(ctx context.Context) (final int, err error) {
	var open []*awaited
	partly := 0
	for _, a := range w.open {
		var e envelopeStatus
		err := w.c.call(ctx, http.MethodGet, "/v1/envelopes/"+url.PathEscape(a.id), nil, nil, &e)
		if err != nil && !again(err, w.waited) {
			return 0, err
		}
		n := settled(&e)
		if err != nil || !a.over(&e, w.waited) {
			open, partly = append(open, a), partly+n
			continue
		}
		w.final += n
		for s, k := range e.Counts {
			w.counts[s] += k
		}
	}
	w.open = open
	return w.final + partly, nil
}

// cause is what ended ctx, which says more than that it ended.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}

// again reports whether a look-up that failed may succeed later.
func again(err error, waited time.Duration) bool {
	var api *APIError
	var gone *UnreachableError
	switch {
	case errors.As(err, &gone):
		return waited < patience
	case !errors.As(err, &api):
		return false
	case api.Status == http.StatusNotFound:
		return waited < newborn
	}
	return api.Status == http.StatusServiceUnavailable || api.Status == http.StatusTooManyRequests
}

func settled(e *envelopeStatus) (n int) {
	for s, k := range e.Counts {
		if s.Final() {
			n += k
		}
	}
	return n
}

func (t *tuma) tellSum(ids []string, sum map[envelope.Status]int) error {
	if t.json {
		if err := t.line(map[string]any{"envelopes": ids, "counts": sum}); err != nil {
			return err
		}
	} else {
		var parts []string
		for _, s := range slices.Sorted(maps.Keys(sum)) {
			parts = append(parts, fmt.Sprintf("%s %d", clean(string(s)), sum[s]))
		}
		t.printf("%s\n", strings.Join(parts, ", "))
	}
	for s, n := range sum {
		if s != envelope.Delivered && n > 0 {
			return errTold
		}
	}
	return nil
}
