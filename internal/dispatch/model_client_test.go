package dispatch

import (
	"fmt"
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

func (w *world) cancel(m int, luck uint8) bool {
	if !w.msgs[m].stored {
		return false
	}
	w.notef("DELETE message %d", m)
	w.ingest().append(idempotency.Record{Kind: idempotency.Close, Reason: "canceled", Spans: w.spans([]int{m})}, []int{m}, luck)
	return true
}

func (w *world) submit(m int) bool {
	if w.msgs[m].stored {
		return false
	}
	w.notef("message %d is submitted", m)
	mask := uint8(1) << m
	if w.shape.together {
		mask = 1<<len(w.msgs) - 1
	}
	for i := range w.msgs {
		w.msgs[i].stored = w.msgs[i].stored || mask>>i&1 == 1
	}
	if w.shape.supersede && !w.shape.together && m < 2 {
		w.ingest().append(idempotency.Record{
			Kind: idempotency.Supersede, SupersedeKey: "k", At: int64(m + 1), ID: fmt.Sprint(m), Spans: w.spans([]int{m}),
		}, []int{m}, 0)
	}
	w.queue = append(w.queue, queued{msgs: mask})
	return true
}

// again makes pieces come again that were here.
func (w *world) again(s step) bool {
	if len(w.queue) == 0 {
		return false
	}
	i := int(s.arg) % len(w.queue)
	switch s.kind {
	case redelivered:
		if w.queue[i].acked {
			return false
		}
		w.queue[i].until = w.now
	case replayed:
		for i := range w.queue {
			w.queue[i].acked, w.queue[i].held, w.queue[i].until = false, false, w.now
		}
	default:
		if len(w.queue) > 12 {
			return false
		}
		q := w.queue[i]
		w.queue = append(w.queue, queued{account: int(s.arg>>8) & 1, msgs: q.msgs, retryOf: q.retryOf})
	}
	w.notef("%s: piece %d", s.kind, i)
	return true
}

// tried lets the first message have an attempt that nobody saw the end of.
func (w *world) tried() {
	first, second := &w.procs[0], &w.procs[1]
	w.msgs[0].piece.OnUncertain = envelope.Retry
	in := first.append(idempotency.Record{Kind: idempotency.Intent, Account: "a", Spans: w.spans([]int{0}), LeaseMillis: leaseMs}, []int{0}, 0)
	if in.effect.Acted == 0 {
		return // another dispatcher sends alone
	}
	w.first(0, first.owner)
	w.post(0, []int{0}, uint64(in.seq), true)
	first.start()
	w.now += leaseMs
	second.append(idempotency.Record{
		Kind: idempotency.Outcome, Account: "a", Intent: uint64(in.seq), Runs: []idempotency.Run{{N: 1, To: idempotency.Unsettled}},
	}, []int{0}, 0)
	w.now += ms(evidenceHigh / time.Millisecond)
	w.queue = append(w.queue, queued{msgs: 1, retryOf: uint64(in.seq)})
	for i := range w.procs {
		for w.procs[i].read() {
		}
	}
}

// report is the collector's: find, prove, tell.
func (w *world) report(n int, luck uint8) bool {
	if len(w.reports) == 0 {
		return false
	}
	c := w.collector()
	if r := c.pending[0]; r != nil && r.dropped {
		c.again(r)
	} else if r != nil && !c.back(r) {
		return false
	}
	c.pending[0] = nil
	n %= len(w.reports)
	r := w.reports[n]
	done := func() { w.reports = append(w.reports[:n], w.reports[n+1:]...) }
	switch s := c.view().of[r.msg]; {
	case s.State == idempotency.Closed, s.CloseStands == journal.Reported:
		done()
	case s.State == idempotency.Taken && s.Intent == r.intent: // the answer comes first
		return false
	case s.State == idempotency.Unsettled && s.Intent == r.intent:
		in := w.log[r.intent-1]
		states := make([]idempotency.State, len(in.messages))
		for i, m := range in.messages {
			if states[i] = idempotency.Unsettled; m == r.msg {
				states[i] = idempotency.Closed
			}
		}
		c.pending[0] = c.append(idempotency.Record{
			Kind: idempotency.Outcome, Account: w.names[r.account], Intent: r.intent, Runs: idempotency.AppendRuns(states),
		}, in.messages, luck)
	default:
		w.notef("a report proves that message %d was sent in attempt %d", r.msg, r.intent)
		c.pending[0] = c.append(idempotency.Record{Kind: idempotency.Close, Reason: journal.Reported, Spans: w.spans([]int{r.msg})}, []int{r.msg}, luck)
		w.tell(r.msg, envelope.Submitted)
		done()
	}
	return true
}
