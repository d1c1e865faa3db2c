package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func client(t *testing.T, base string, change ...func(*Options)) *Client {
	t.Helper()
	transport := NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	o := Options{BaseURL: base, Timeout: 5 * time.Second, Transport: transport}
	for _, c := range change {
		c(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func post(body []byte) Request {
	return Request{Method: http.MethodPost, Path: "/send", ContentType: "application/json", Body: body}
}

// big is more than all the buffers between the two ends hold.
const big = 32 << 20

func TestDoWithoutTrustedAnswer(t *testing.T) {
	t.Parallel()
	const header = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name    string
		serve   func(*rawServer, net.Conn)
		body    int
		timeout time.Duration
		want    providers.Class
		whole   int // requests that the server must have seen whole
	}{
		{"reset before reading", func(_ *rawServer, c net.Conn) { resetConn(c) }, big, 0, providers.Unavailable, 0},
		{"reset mid-body", func(_ *rawServer, c net.Conn) {
			_, _ = io.CopyN(io.Discard, c, 1<<20)
			resetConn(c)
		}, big, 0, providers.Unavailable, 0},
		{"reset after processing", func(s *rawServer, c net.Conn) {
			s.read(bufio.NewReader(c))
			resetConn(c)
		}, 100, 0, providers.Uncertain, 1},
		{"closed after processing", once(""), 100, 0, providers.Uncertain, 1},
		{"hang after processing", func(s *rawServer, c net.Conn) {
			in := bufio.NewReader(c)
			s.read(in)
			s.read(in)
		}, 100, time.Second, providers.Uncertain, 1},
		{"hang without reading", func(_ *rawServer, c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			buf := make([]byte, 1)
			for { // slower than the client is patient
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		}, big, 100 * time.Millisecond, providers.Unavailable, 0},
		{"200 cut by length", once(header + "Content-Length: 100\r\n\r\n{\"status\""), 100, 0, providers.Uncertain, 1},
		{"200 cut in a chunk", once(header + "Transfer-Encoding: chunked\r\n\r\n64\r\n{\"sta"), 100, 0, providers.Uncertain, 1},
		{"200 too long", once(header + "\r\n" + strings.Repeat("x", 2000)), 100, 0, providers.Uncertain, 1},
		{"200 that never ends", func(s *rawServer, c net.Conn) {
			s.read(bufio.NewReader(c))
			_, _ = io.WriteString(c, header+"\r\n{")
			_, _ = c.Read(make([]byte, 1))
		}, 100, time.Second, providers.Uncertain, 1},
		{"not HTTP", once("220 ready\r\n"), 100, 0, providers.Uncertain, 1},
		{"endless 1xx", once(strings.Repeat("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", 5000)), 100, 0, providers.Uncertain, 1},
		{"endless header", once("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20)), 100, 0, providers.Uncertain, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newRawServer(t, tt.serve)
			c := client(t, s.url(), func(o *Options) {
				if tt.timeout > 0 {
					o.Timeout = tt.timeout
				}
			})
			r := post(bytes.Repeat([]byte("x"), tt.body))
			r.MaxResponse = 1000
			resp, err := c.Do(t.Context(), r)
			var e *providers.Error
			if !errors.As(err, &e) || resp != nil {
				t.Fatalf("got %+v, %v; want an error", resp, err)
			}
			if e.Class != tt.want {
				t.Errorf("got %v, want %v (%v)", e.Class, tt.want, err)
			}
			if whole, _ := s.seen(); whole != tt.whole {
				t.Errorf("the server saw %d whole requests, want %d", whole, tt.whole)
			}
		})
	}
}

func TestDoRefused(t *testing.T) {
	t.Parallel()
	s := newRawServer(t, once(""))
	s.drain()
	_, err := client(t, s.url()).Do(t.Context(), post([]byte("{}")))
	var e *providers.Error
	if !errors.As(err, &e) || e.Class != providers.Unavailable || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want unavailable, wrapping ECONNREFUSED", err)
	}
}

func TestDoAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2000)
	tests := []struct {
		name, answer string
		status       int
		body         string
	}{
		{"200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}"},
		{"HTML 200 is an answer, though none of the API's", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", 200, "<html>"},
		{"after 1xx", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}"},
		{"101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", 101, ""},
		{"gzip stays as it is", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", 200, "\x1f\x8b\x08"},
		{"a refusal cut short is a refusal", "HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n{\"code\"", 400, `{"code"`},
		{"a long refusal is cut", "HTTP/1.1 400 Bad\r\nContent-Length: 2000\r\n\r\n" + long, 400, long[:1000]},
		{"a mark of UTF-8 goes", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\ufeff{}", 200, "{}"},
		{"307 is not followed", "HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", 307, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newRawServer(t, once(tt.answer))
			r := post([]byte(`{"a": 1}`))
			r.MaxResponse = 1000
			resp, err := client(t, s.url()).Do(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Status != tt.status || string(resp.Body) != tt.body || resp.Partial {
				t.Errorf("got %d %q partial %v, want %d %q", resp.Status, resp.Body, resp.Partial, tt.status, tt.body)
			}
			if whole, _ := s.seen(); whole != 1 {
				t.Errorf("the server saw %d requests, want 1", whole)
			}
		})
	}
}

// TestHeadersAsSpelled: some servers look their own headers up by the very spelling
// of their documents.
func TestHeadersAsSpelled(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	s := newRawServer(t, func(_ *rawServer, c net.Conn) {
		raw := make([]byte, 4096)
		n, _ := c.Read(raw)
		seen <- string(raw[:n])
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	header := http.Header{"api-key": {"k"}, "X-API-Secret": {"s"}, "idempotency-key": {"x"}, "X-IDEMPOTENCY-KEY": {"x"}}
	if _, err := client(t, s.url()).Do(t.Context(), Request{Method: http.MethodGet, Path: "/", Header: header}); err != nil {
		t.Fatal(err)
	}
	got := <-seen
	if !strings.Contains(got, "\r\napi-key: k\r\n") || !strings.Contains(got, "\r\nX-API-Secret: s\r\n") || strings.Contains(strings.ToLower(got), "idempotency") {
		t.Errorf("%q", got)
	}
}

// An answer that comes before the request has left whole: the rest is withheld,
// so that even a 500 is surely not sent.
func TestDoEarlyAnswer(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	s := newRawServer(t, func(s *rawServer, conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 500 Busy\r\nContent-Length: 0\r\n\r\n")
		}
		<-done // the rest stays unread
	})
	defer close(done)
	c := client(t, s.url())
	resp, err := c.Do(t.Context(), post(make([]byte, big)))
	if err != nil {
		t.Fatal(err)
	}
	if e := c.Failure(resp); !resp.Partial || e.Class != providers.Unavailable {
		t.Errorf("partial %v, %v; want a partial one, unavailable", resp.Partial, e.Class)
	}
}

func TestDoCanceled(t *testing.T) {
	t.Parallel()
	got := make(chan struct{})
	s := newRawServer(t, func(s *rawServer, conn net.Conn) {
		in := bufio.NewReader(conn)
		s.read(in)
		close(got)
		s.read(in)
	})
	c := client(t, s.url(), func(o *Options) { o.Timeout = time.Hour })
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		<-got
		cancel()
	}()
	for _, want := range []providers.Class{providers.Uncertain, providers.Unavailable} {
		_, err := c.Do(ctx, post([]byte("{}")))
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != want || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v, wrapping context.Canceled", err, want)
		}
	}
	<-gone
}

func TestErrorsRepeatNothing(t *testing.T) {
	t.Parallel()
	const secret = "canary-secret"
	for _, answer := range []string{
		secret + "\r\n\r\n",
		"HTTP/1.1 " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + secret + " " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret,
	} {
		s := newRawServer(t, once(answer))
		r := post([]byte(secret))
		r.Query = map[string][]string{"password": {secret}}
		_, err := client(t, s.url()).Do(t.Context(), r)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", answer, err)
		}
	}
	_, err := client(t, "http://127.0.0.1:1").Do(t.Context(), Request{Method: "P " + secret, Path: "/" + secret})
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("bad method: %v", err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	tests := []struct {
		base      string
		allowHTTP bool
		ok        bool
	}{
		{"https://gateway.example/v1/", false, true},
		{"", false, true},
		{"http://127.0.0.1:8080", false, true},
		{"http://127.9.9.9", false, true},
		{"http://[::1]:8080/v1", false, true},
		{"http://localhost:8080", false, true},
		{"http://gateway.example/v1", false, false},
		{"http://gateway.example/v1", true, true},
		{"http://localhost.evil.example", false, false},
		{"http://127.0.0.1.evil.example", false, false},
		{"http://10.0.0.1", false, false},
		{"http://0.0.0.0:80", false, false},
		{"https://user:canary@gateway.example", false, false},
		{"https://gateway.example/v1?key=canary", false, false},
		{"https://gateway.example/v1#canary", false, false},
		{"ftp://gateway.example/canary", true, false},
		{"gateway.example/canary", true, false},
		{"https:///canary", true, false},
		{"https://%zz/canary", true, false},
	}
	for _, tt := range tests {
		_, err := New(Options{BaseURL: tt.base, Default: "https://default.example", AllowHTTP: tt.allowHTTP})
		if (err == nil) != tt.ok {
			t.Errorf("%q, allow %v: %v", tt.base, tt.allowHTTP, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: the error repeats the URL: %v", tt.base, err)
		}
	}
}

func TestPathStaysOnTheHost(t *testing.T) {
	t.Parallel()
	c := client(t, "http://127.0.0.1:1")
	for _, path := range []string{".evil.example/", "@evil.example/", ":2/"} {
		_, err := c.Do(t.Context(), Request{Method: http.MethodGet, Path: path})
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Misconfigured {
			t.Errorf("%q: %v, want misconfigured", path, err)
		}
	}
}
