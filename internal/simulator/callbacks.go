package simulator

import (
	"bytes"
	"container/heap"
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	callbackWorkers = 32
	callbackTimeout = 10 * time.Second // BulkSMSRates: "Respond with 200 within 10 seconds"; taken for all
)

// delivery is one callback, ready to be sent. It stays the same over its
// attempts, signature and timestamp included: the hardest reading for a receiver.
type delivery struct {
	method, url string
	header      http.Header
	body        []byte
}

// dueReport is one report that waits for its time.
type dueReport struct {
	at    time.Duration // since the simulator's start
	typ   string
	m     message
	word  word
	sent  *delivery        // nil before the first attempt
	tries int              // attempts that failed
	event func() *delivery // of what is no report on m, though it may wait for it; nil: it is one
	then  *dueReport       // follows when this one is done or given up, so that the two keep their order
}

type reportHeap []*dueReport

func (h reportHeap) Len() int           { return len(h) }
func (h reportHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h reportHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is heap.Interface's.
func (h *reportHeap) Push(x any) { *h = append(*h, x.(*dueReport)) }

// Pop is heap.Interface's.
func (h *reportHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// reporter sends reports when they are due.
type reporter struct {
	sim    *Simulator
	client *http.Client
	wake   chan struct{} // the head of the queue may have changed

	mu    sync.Mutex
	queue reportHeap
}

func newReporter(s *Simulator) *reporter {
	transport := &http.Transport{
		MaxIdleConns:        0, // no bound over all hosts: there are few
		MaxIdleConnsPerHost: 2 * callbackWorkers,
		IdleConnTimeout:     30 * time.Second,
	}
	return &reporter{
		sim:  s,
		wake: make(chan struct{}, 1),
		client: &http.Client{Transport: transport, Timeout: callbackTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

func (q *reporter) add(d *dueReport) {
	q.mu.Lock()
	heap.Push(&q.queue, d)
	first := q.queue[0] == d
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

func (q *reporter) reset() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = nil
}

// drop forgets the reports that are due on a request, by its id.
func (q *reporter) drop(batchID string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.queue[:0]
	for _, d := range q.queue {
		if d.m.b.id != batchID {
			kept = append(kept, d)
		}
	}
	dropped := len(q.queue) - len(kept)
	clear(q.queue[len(kept):])
	q.queue = kept
	heap.Init(&q.queue)
	if dropped > 0 {
		q.sim.ledger.report(SMSBox, func(c *ReportCounts) { c.Planned -= dropped })
	}
}

// next takes the first report that is due, or tells how long until one is.
func (q *reporter) next() (*dueReport, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil, time.Hour
	}
	if d := q.queue[0].at - q.sim.since(); d > 0 {
		return nil, d
	}
	return heap.Pop(&q.queue).(*dueReport), 0
}

func (q *reporter) run(ctx context.Context) {
	work := make(chan *dueReport)
	var workers sync.WaitGroup
	for range callbackWorkers {
		workers.Go(func() {
			for d := range work {
				q.attempt(ctx, d)
			}
		})
	}
	q.feed(ctx, work)
	close(work)
	workers.Wait()
	q.client.CloseIdleConnections()
}

func (q *reporter) feed(ctx context.Context, work chan<- *dueReport) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		d, pause := q.next()
		if d != nil {
			select {
			case work <- d:
			case <-ctx.Done():
				q.add(d)
			}
			continue
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
		}
	}
}

// holder is a gateway that can hold messages back after it took them.
type holder interface {
	wait(m message) time.Duration // how much longer; 0: none
}

// build makes the callback; nil: there is nowhere to send it.
func (d *dueReport) build(g gateway) *delivery {
	if d.event != nil {
		return d.event()
	}
	url := g.callback(d.m)
	if url == "" {
		return nil
	}
	made := g.report(d.m, d.word, url)
	return &made
}

// attempt sends one report once, and plans the next attempt if it failed.
func (q *reporter) attempt(ctx context.Context, d *dueReport) {
	g := q.sim.gateways[d.typ]
	if h, ok := g.(holder); ok && d.sent == nil && len(d.m.b.recipients) > 0 {
		if wait := h.wait(d.m); wait > 0 {
			d.at = q.sim.since() + wait
			q.add(d)
			return
		}
	}
	if d.sent == nil {
		if d.sent = d.build(g); d.sent == nil {
			q.sim.ledger.report(d.typ, func(c *ReportCounts) { c.GivenUp++ })
			q.follow(d)
			return
		}
	}
	status, _, err := q.send(ctx, d.sent, 0)
	if ctx.Err() != nil {
		q.add(d) // interrupted: another Run sends it again
		return
	}
	ok := err == nil && status/100 == 2
	retries := g.retries()
	again := !ok && d.tries < len(retries)
	if !ok && !again {
		q.sim.opts.Log.Warn("callback given up", "type", d.typ, "status", status, "attempts", d.tries+1)
		g.gaveUp(d.sent.url) // before it is counted: who sees the count sees the webhook inactive
	}
	q.sim.ledger.report(d.typ, func(c *ReportCounts) {
		c.Sent++
		if err != nil {
			c.Answered["error"]++
		} else {
			c.Answered[strconv.Itoa(status)]++
		}
		if ok {
			c.Done++
		} else if !again {
			c.GivenUp++
		}
	})
	if again {
		d.at = q.sim.since() + time.Duration(float64(retries[d.tries])*q.sim.opts.RetryScale)
		d.tries++
		q.add(d)
		return
	}
	q.follow(d)
}

func (q *reporter) follow(d *dueReport) {
	if d.then != nil {
		d.then.at = q.sim.since() + max(q.sim.opts.ReportDelay, 0)
		q.add(d.then)
	}
}

// send makes one HTTP request and returns its status and up to keep bytes of
// its body.
func (q *reporter) send(ctx context.Context, d *delivery, keep int64) (int, []byte, error) {
	var body io.Reader
	if d.body != nil {
		body = bytes.NewReader(d.body)
	}
	req, err := http.NewRequestWithContext(ctx, d.method, d.url, body)
	if err != nil {
		return 0, nil, err
	}
	for k, v := range d.header {
		req.Header[k] = v
	}
	resp, err := q.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	kept, err := io.ReadAll(io.LimitReader(resp.Body, keep))
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	return resp.StatusCode, kept, err
}

// usualRetries is what gateways do whose documents say nothing of it.
func usualRetries() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}
}

func jsonDelivery(url string, body []byte) delivery {
	return delivery{method: http.MethodPost, url: url, body: body, header: http.Header{"Content-Type": {"application/json"}}}
}
