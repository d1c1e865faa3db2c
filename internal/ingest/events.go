package ingest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
)

const (
	maxStreams = 32 // open event streams of one tenant in one process
	aliveEvery = 15 * time.Second
)

// getEvents streams the tenant's own events as they happen (server-sent events).
// A reader that comes back with Last-Event-ID misses none of the last seven
// days. A reader that does not read is disconnected.
func (in *Ingest) getEvents(w http.ResponseWriter, r *http.Request) error {
	t := tenant(r.Context())
	tail := bus.Tail{Stream: bus.EventStream, Filters: []string{bus.EventSubject(t.Name, ">")}, New: true}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		seq, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			return problem(http.StatusBadRequest, "invalid_last_event_id", "Last-Event-ID is none of ours")
		}
		tail.New, tail.From = false, seq+1
	}
	if !in.openStream(t.Name) {
		return limited(aliveEvery)
	}
	defer in.closeStream(t.Name)
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	events := make(chan *bus.Msg, 256)
	var following sync.WaitGroup
	following.Go(func() { in.follow(ctx, tail, events) })
	defer following.Wait()
	defer stop()
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
		case <-in.closing:
			return nil
		case m := <-events:
			s.printf("id: %d\ndata: %s\n\n", m.Seq, m.Data)
		case <-alive.C:
			s.printf(": alive\n\n")
		}
	}
	return nil
}

// follow hands events over until ctx is done; trouble with the bus is waited out.
func (in *Ingest) follow(ctx context.Context, tail bus.Tail, events chan<- *bus.Msg) {
	for {
		err := in.bus.Tail(ctx, tail, func(m *bus.Msg) {
			select {
			case events <- m:
				tail.New, tail.From = false, m.Seq+1
			case <-ctx.Done():
			}
		}, nil)
		if ctx.Err() != nil {
			return
		}
		in.log.Warn("event stream interrupted", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(tellAgain):
		}
	}
}

func (in *Ingest) openStream(tenant string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.streams[tenant] >= maxStreams {
		return false
	}
	in.streams[tenant]++
	return true
}

func (in *Ingest) closeStream(tenant string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.streams[tenant]--
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
