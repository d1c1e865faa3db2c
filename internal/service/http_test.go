package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	return w.Code, w.Body.String()
}

func readyz(t *testing.T, h *Health) (code int, s State) {
	t.Helper()
	code, body := get(t, h.Handler(nil), "/readyz")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	return code, s
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	var h Health
	nats, redis := h.Require("nats"), h.Prefer("redis")
	streams := "3 of 8"
	h.RequireFunc("streams", func() string { return streams })

	code, s := readyz(t, &h)
	want := State{Waiting: []string{"nats", "streams"}, Degraded: []string{"redis"},
		Reasons: map[string]string{"nats": "not yet", "streams": "3 of 8", "redis": "not yet"}}
	if d := cmp.Diff(want, s); code != 503 || d != "" {
		t.Errorf("%d %s", code, d)
	}
	nats("")
	streams = ""
	code, s = readyz(t, &h)
	if d := cmp.Diff(State{Degraded: []string{"redis"}, Reasons: map[string]string{"redis": "not yet"}}, s); code != 200 || d != "" {
		t.Errorf("%d %s", code, d)
	}
	redis("")
	if code, body := get(t, h.Handler(nil), "/readyz"); code != 200 || body != "{\"degraded\":[]}\n" {
		t.Errorf("%d %s", code, body)
	}
	nats("lost 127.0.0.1:4222")
	if code, s = readyz(t, &h); code != 503 || s.Reasons["nats"] != "lost 127.0.0.1:4222" {
		t.Errorf("%d %+v", code, s)
	}
	nats("")
	h.Stop()
	if code, s = readyz(t, &h); code != 503 || s.Waiting[0] != "stopping" {
		t.Errorf("%d %+v", code, s)
	}
	if code, _ := get(t, h.Handler(nil), "/healthz"); code != 200 {
		t.Error("a process that drains lives")
	}
}

func TestMetricsHandler(t *testing.T) {
	t.Parallel()
	var h Health
	m := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "tuma_up 1") })
	if code, body := get(t, h.Handler(m), "/metrics"); code != 200 || body != "tuma_up 1" {
		t.Errorf("%d %s", code, body)
	}
}

func TestListenTellsThePort(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "ingest", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = Listen(t.Context(), "ingest.listen", ln.Addr().String())
	if err == nil || !strings.HasPrefix(err.Error(), "ingest.listen: cannot listen on "+ln.Addr().String()+": ") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	var setup *SetupError
	if !errors.As(err, &setup) || setup.ExitCode() != 2 {
		t.Errorf("a %T", err)
	}
}

// A request in flight when the order to stop comes is finished; a stream ends.
func TestServerDrains(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{}, 2)
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-Stopping(r.Context())
		if r.Context().Err() != nil {
			t.Error("the request was cut off by the order to stop")
		}
		io.WriteString(w, "done")
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, 10*time.Second, Server("test", ln, mux, ServerOptions{})) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answers := make(chan string, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+ln.Addr().String()+"/slow", nil)
		resp, err := client.Do(req)
		if err != nil {
			answers <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answers <- string(b)
	}()
	<-arrived
	stop()
	if got := <-answers; got != "done" {
		t.Errorf("got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServerCutsOffAtTheDeadline(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, 20*time.Millisecond, Server("test", ln, h, ServerOptions{})) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	cut := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+ln.Addr().String(), nil)
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		cut <- err
	}()
	<-arrived
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "test") {
		t.Errorf("got %v", err)
	}
	<-cut
}

// A handler's panic is answered, once per request, and its words are not logged.
func TestPanicIsAnsweredAndNotQuoted(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var logs bytes.Buffer // read after the server has stopped
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/begun":
			_, _ = io.WriteString(w, "half of")
			panic("canary-text")
		case "/well":
			return
		}
		panic(fmt.Errorf("canary-text"))
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	log := slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() { ended <- Run(ctx, 10*time.Second, Server("test", ln, h, ServerOptions{Log: log})) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for path, want := range map[string]int{"/": 500, "/begun": 0, "/well": 200} {
		got := 0
		if resp, err := client.Get("http://" + ln.Addr().String() + path); err == nil {
			if _, err := io.ReadAll(resp.Body); err == nil {
				got = resp.StatusCode
			}
			resp.Body.Close()
		}
		if got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	client.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if out := logs.String(); strings.Contains(out, "canary") || !strings.Contains(out, "panicked") || !strings.Contains(out, "http_test.go") {
		t.Errorf("logged:\n%s", out)
	}
}

func TestConnectionsLeaveFilesForTheRest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ asked, files, want int }{{8192, 256, 32}, {8192, 1 << 20, 8192}, {0, 1024, 128}, {8192, 0, 8192}, {0, 0, 0}, {2, 4, 1}} {
		if got := (ServerOptions{Connections: c.asked}).connections(c.files); got != c.want {
			t.Errorf("%d asked for, %d files: %d, want %d", c.asked, c.files, got, c.want)
		}
	}
}

// A connection more than there may be waits until one has gone.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Server("x", ln, h, ServerOptions{Connections: 2}).Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	dial := func() (net.Conn, func() error) {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c, func() error { _, err := c.Read(make([]byte, 1)); return err }
	}
	first, read := dial()
	if err := read(); err != nil {
		t.Fatal(err)
	}
	if _, read := dial(); read() != nil {
		t.Fatal("the second is not served")
	}
	third, read := dial()
	if err := third.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if read() == nil {
		t.Fatal("the third is served beside two")
	}
	first.Close()
	if err := third.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil {
		t.Fatalf("the third is not served after the first has gone: %v", err)
	}
}

// Nobody holds a connection by being slow: not with headers, not with a body that
// nobody reads, not by never asking anything.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	ln, err := Listen(t.Context(), "test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, 10*time.Second, Server("test", ln, refuses, ServerOptions{Unread: 300 * time.Millisecond}))
	}()
	var wait sync.WaitGroup
	for name, c := range map[string]struct {
		head  string
		drops string // sent again and again
		after time.Duration
	}{
		"headers":       {"POST / HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", 8 * time.Second},
		"body":          {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "x", 3 * time.Second},
		"chunked body":  {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", 3 * time.Second},
		"endless chunk": {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFF\r\n", "x", 3 * time.Second},
		"nothing":       {"", "", 8 * time.Second},
	} {
		wait.Go(func() {
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			began := time.Now()
			_ = conn.SetDeadline(began.Add(20 * time.Second))
			gone := make(chan struct{})
			go func() { // ends with the connection
				defer close(gone)
				_, _ = io.Copy(io.Discard, conn)
			}()
			_, _ = io.WriteString(conn, c.head)
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-gone:
					if took := time.Since(began); took > c.after {
						t.Errorf("%s: held for %s", name, took)
					}
					return
				case <-tick.C:
					_, _ = io.WriteString(conn, c.drops) // fails once it is cut off
				}
			}
		})
	}
	wait.Wait()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
