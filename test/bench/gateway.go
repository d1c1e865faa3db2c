package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tuma-sms/tuma/internal/service"
)

// gateway answers at once, and knows of BulkSMSRates and CloudRebue just enough
// that their adapters are content. It takes every body for a sound one.
type gateway struct {
	count  atomic.Int64
	record bool
	delay  time.Duration

	mu   sync.Mutex
	sent bytes.Buffer // endpoint, correlator and phone of each message, a line each
}

func serveGateway(ctx context.Context, s *stage) error {
	g := &gateway{record: s.order.Record, delay: s.order.Delay}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/sms/send", g.one)
	mux.HandleFunc("POST /v1/sms/bulk", g.many)
	mux.HandleFunc("POST /api/v1/send-sms", g.each)
	mux.HandleFunc("POST /v1/traces", func(_ http.ResponseWriter, r *http.Request) { drain(r.Body) })
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, g.count.Load()) })
	mux.HandleFunc("GET /sent", func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		_, _ = w.Write(g.sent.Bytes()) // whoever asks sees that it is cut
	})
	return serve(ctx, s, mux)
}

// serve answers until the bench ends the child.
func serve(ctx context.Context, s *stage, h http.Handler) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.order.Listen)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h}
	go func() { s.end(); _ = srv.Close() }() // ends with the process at the latest
	s.ready()
	_ = srv.Serve(l) // ends by Close
	return nil
}

func body(r *http.Request) []byte {
	data, _ := io.ReadAll(r.Body) // what is cut counts less
	return data
}

func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, text) // a caller who has gone is none of its business
}

func (g *gateway) one(w http.ResponseWriter, r *http.Request) {
	drain(r.Body)
	answer(w, `{"data":{"message_id":"m`+strconv.FormatInt(g.count.Add(1), 10)+`","status":"queued"}}`)
}

func (g *gateway) many(w http.ResponseWriter, r *http.Request) {
	n := bytes.Count(body(r), []byte(`"to":`))
	answer(w, fmt.Sprintf(`{"data":{"batch_id":"b%d","accepted":%d,"rejected":0}}`, g.count.Add(int64(n)), n))
}

// each names every message in its answer, as CloudRebue does.
func (g *gateway) each(w http.ResponseWriter, r *http.Request) {
	rest := string(body(r))
	service.Sleep(r.Context(), g.delay)
	var out, record strings.Builder
	n := g.count.Load()
	for {
		phone, after, ok := value(rest, `"phone":"`)
		if !ok {
			break
		}
		correlator, after, _ := value(after, `"correlator":"`)
		rest = after
		if g.record {
			endpoint, _, _ := value(rest, `"endpoint":"`)
			fmt.Fprintln(&record, endpoint, correlator, phone)
		}
		n++
		out.WriteString(`,{"status":true,"data":{"correlator":"` + correlator + `","phone":"` + phone + `","uniqueId":"u` + strconv.FormatInt(n, 10) + `"}}`)
	}
	g.count.Add(int64(strings.Count(out.String(), `"status"`)))
	if g.record {
		g.mu.Lock()
		g.sent.WriteString(record.String())
		g.mu.Unlock()
	}
	if out.Len() == 0 {
		answer(w, "[]")
		return
	}
	answer(w, "["+out.String()[1:]+"]")
}

// value returns the string after a key, and what follows it.
func value(s, key string) (v, rest string, ok bool) {
	_, s, ok = strings.Cut(s, key)
	v, rest, _ = strings.Cut(s, `"`)
	return v, rest, ok
}
