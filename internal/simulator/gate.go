package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxBody  = 64 << 20
	hangTime = 60 * time.Second
)

// gateway is one API. It judges one whole request at a time; the gate around it
// sees to limits, faults and the ledger.
type gateway interface {
	// answer judges one request. It takes messages by call.accept only.
	answer(c *call) reply
	// failure is the API's own answer for trouble of the whole service. An
	// empty body means that the document shows none: a proxy's page is sent.
	failure(c *call, status int) reply
	// callback says where reports on m go; empty: none are sent.
	callback(m message) string
	// report builds the callback that tells outcome w of m.
	report(m message, w word, url string) delivery
	// retries are the waits before a failed callback is sent again; gaveUp is
	// told when none is left.
	retries() []time.Duration
	gaveUp(url string)
	// id is the gateway's id of m, batchID that of its request, if it has one.
	id(m message) string
	batchID(b *batch) string
	// forget drops all messages.
	forget()
}

// call is one request on its way through the gate.
type call struct {
	sim     *Simulator
	typ     string
	gateway gateway
	req     *http.Request
	op      string // path below the API's root; "" when outside of it
	body    []byte
	at      time.Duration // arrival, since the simulator's start
	rate    rateView
	entry   *entry
	faults  picked
	early   []*dueReport // reports that go out before the answer
}

// reply is an answer, and what is done with it.
type reply struct {
	status int
	header http.Header
	body   []byte
	reason string // why the API refused; for the ledger
	act    string // "": write it; else faultReset, faultHang or faultCut
}

func jsonReply(status int, v any) reply {
	body, err := json.Marshal(v)
	if err != nil {
		return reply{status: http.StatusInternalServerError, reason: "simulator: " + err.Error()}
	}
	return reply{status: status, body: body}
}

func (r reply) because(reason string) reply {
	r.reason = reason
	return r
}

func (r reply) with(key, value string) reply {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(key, value)
	return r
}

func proxyPage(status int) reply {
	text := strconv.Itoa(status) + " " + http.StatusText(status)
	page := "<html>\r\n<head><title>" + text + "</title></head>\r\n<body>\r\n<center><h1>" + text + "</h1></center>\r\n</body>\r\n</html>\r\n"
	return reply{status: status, body: []byte(page)}.with("Content-Type", "text/html; charset=utf-8")
}

// serve takes one request from its first byte to its answer.
func (s *Simulator) serve(typ string, g gateway, w http.ResponseWriter, r *http.Request) {
	c := &call{sim: s, typ: typ, gateway: g, req: r}
	if op, ok := strings.CutPrefix(r.URL.Path, root(typ)); ok {
		c.op = op
	} else if op, ok := strings.CutPrefix(r.URL.Path, "/bulksmsrates/api/v1"); ok {
		c.op = op // the document's sandbox examples live there
	}
	c.entry, c.at, c.rate = s.ledger.arrive(typ, r)
	c.faults = s.faults.pick(typ, r.Method == http.MethodPost)

	if f := c.faults.end; f != nil && f.Kind == faultReset && !f.After && f.Bytes > 0 {
		_, _ = io.CopyN(io.Discard, r.Body, int64(f.Bytes))
		s.ledger.conclude(c, reply{act: faultReset}, false)
		reset(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		s.ledger.conclude(c, reply{status: status, reason: "body not read whole"}, false)
		w.WriteHeader(status)
		return
	}
	c.body = body

	wait(r.Context(), c.faults.before)
	rep := c.decide()
	if c.faults.moods[faultLooseJSON] {
		rep = rep.loosened()
	}
	c.sendEarly()
	wait(r.Context(), c.faults.after)
	s.ledger.conclude(c, rep, true)
	rep.do(w, r)
}

// decide asks limit, faults and API in that order.
func (c *call) decide() reply {
	f := c.faults.end
	if c.rate.over {
		return c.failure(http.StatusTooManyRequests, "").with("Retry-After", "1").because("rate")
	}
	if f != nil && !f.After && f.Kind != faultCut {
		return c.spoil(f)
	}
	rep := c.gateway.answer(c)
	if f == nil {
		return rep
	}
	if f.Kind == faultCut {
		rep.act = faultCut
		return rep
	}
	return c.spoil(f)
}

// spoil is what the client gets instead of an answer.
func (c *call) spoil(f *Fault) reply {
	switch f.Kind {
	case faultReset, faultHang:
		return reply{act: f.Kind}
	case faultHTML:
		return proxyPage(http.StatusOK)
	case faultThrottle:
		rep := c.failure(http.StatusTooManyRequests, f.Body)
		switch f.RetryAfter {
		case "none":
			return rep
		case "date":
			return rep.with("Retry-After", c.sim.opts.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))
		case "":
			return rep.with("Retry-After", "1")
		}
		return rep.with("Retry-After", f.RetryAfter)
	}
	rep := c.failure(f.Status, f.Body)
	if f.Status >= 300 && f.Status < 400 {
		rep = rep.with("Location", c.req.URL.Path)
	}
	return rep
}

func (c *call) failure(status int, form string) reply {
	if form == "empty" {
		return reply{status: status}
	}
	if rep := c.gateway.failure(c, status); form != "html" && len(rep.body) > 0 {
		return rep
	}
	return proxyPage(status)
}

// sendEarly sends the reports that must overtake the answer, and waits for them.
func (c *call) sendEarly() {
	const atOnce = 16
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, d := range c.early {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			c.sim.reports.attempt(context.WithoutCancel(c.req.Context()), d)
		})
	}
	wg.Wait()
}

// do carries out the reply.
func (r reply) do(w http.ResponseWriter, req *http.Request) {
	switch r.act {
	case faultReset:
		reset(w)
		return
	case faultHang:
		wait(req.Context(), hangTime)
		reset(w)
		return
	}
	h := w.Header()
	if len(r.body) > 0 {
		h.Set("Content-Type", "application/json")
	}
	for k, v := range r.header {
		h[k] = v
	}
	h.Set("Content-Length", strconv.Itoa(len(r.body)))
	w.WriteHeader(r.status)
	if r.act == faultCut {
		_, _ = w.Write(r.body[:len(r.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // net/http's way to close a connection in mid answer
	}
	_, _ = w.Write(r.body)
}

// reset drops the connection with a TCP RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2, or a recorder: closing is the nearest to a reset
	}
	raw := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// wait waits for d, or until the client is gone. What is taken is taken then
// all the same: a gateway does not ask whether its client still listens.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
