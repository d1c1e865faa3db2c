package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

const (
	maxStreams = 32 // open event streams of one tenant in one process
	aliveEvery = 15 * time.Second
	eventsHeld = 16 // of one stream, twice: an event may have half a megabyte
)

// getEvents streams the tenant's own events as they happen (server-sent events).
// A reader that comes back with Last-Event-ID misses none of the last seven
// days. A reader that does not read is disconnected.
func (in *Ingest) getEvents(w http.ResponseWriter, r *http.Request) error {
	t := tenant(r.Context())
	tail, err := eventTail(r, t.Name)
	if err != nil {
		return err
	}
	if !in.bus.Connected() {
		return noEvents(bus.ErrUnavailable)
	}
	leave, ok := in.open.enter("events "+t.Name, maxStreams)
	if !ok {
		return limited(aliveEvery)
	}
	defer leave()
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	events := make(chan *bus.Msg, eventsHeld)
	var following sync.WaitGroup
	begun := make(chan struct{})
	following.Go(func() { in.follow(ctx, tail, events, sync.OnceFunc(func() { close(begun) })) })
	defer following.Wait()
	defer stop()
	// Whoever has the answer's head misses nothing that happens from then on.
	select {
	case <-begun:
	case <-ctx.Done():
		return nil
	case <-time.After(storeFor):
		return noEvents(bus.ErrUnavailable)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	s := &eventStream{w: w, rc: http.NewResponseController(w)}
	s.printf(": events of %s\n\n", t.Name)
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for s.err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-service.Stopping(ctx):
			return nil
		case m := <-events:
			s.printf("id: %d\nevent: %s\ndata: %s\n\n", m.Seq, m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], m.Data)
		case <-alive.C:
			s.printf(": alive\n\n")
		}
	}
	return nil
}

// noEvents answers that the bus cannot be followed right now.
func noEvents(cause error) *Problem {
	p := unavailable(cause)
	p.Detail = "events cannot be read right now; try again"
	return p
}

// follow hands events over until ctx is done, and calls begun once it sees what
// happens; trouble with the bus is waited out.
func (in *Ingest) follow(ctx context.Context, tail bus.Tail, events chan<- *bus.Msg, begun func()) {
	for {
		if tail.New { // from here on, however often it has to be begun again
			if state, err := in.bus.State(ctx, bus.EventStream); err == nil {
				tail.New, tail.From = false, state.LastSeq+1
			}
		}
		err := in.bus.Tail(ctx, tail, func(m *bus.Msg) {
			begun()
			select {
			case events <- m:
				tail.New, tail.From = false, m.Seq+1
			case <-ctx.Done():
			}
		}, begun)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, bus.ErrFellBack) { // sequences begin again: events may come twice, but none is missed
			tail.New, tail.From = false, 0
		}
		if in.complain.open(in.now()) {
			in.log.Warn("event stream interrupted", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(tellAgain):
		}
	}
}

// eventTail is what a request asks to see.
func eventTail(r *http.Request, tenant string) (bus.Tail, error) {
	tail := bus.Tail{Stream: bus.EventStream, New: true, Ahead: eventsHeld}
	for _, s := range strings.Split(r.URL.Query().Get("status"), ",") {
		switch {
		case s == "":
			s = ">"
		case !slices.Contains(allStatuses(), envelope.Status(s)):
			return tail, problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "status is none of ours")
		}
		tail.Filters = append(tail.Filters, bus.EventSubject(tenant, s))
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		seq, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			return tail, problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), "Last-Event-ID is none of ours")
		}
		tail.New, tail.From = false, seq+1
	}
	return tail, nil
}

// eventStream writes until a write fails.
type eventStream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	err error
}

func (s *eventStream) printf(format string, args ...any) {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeWithin)) // tests' recorders have none
	if _, s.err = fmt.Fprintf(s.w, format, args...); s.err == nil {
		s.err = s.rc.Flush()
	}
}
