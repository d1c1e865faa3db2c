package httpapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestDoNeverReplays(t *testing.T) {
	t.Parallel()
	first := true // connections come one after the other here
	s := newRawServer(t, func(s *rawServer, conn net.Conn) {
		in := bufio.NewReader(conn)
		if !first {
			return // a replay would come on a second connection
		}
		first = false
		for i := range 2 {
			r, ok := s.read(in)
			if !ok {
				return
			}
			if len(r.Header.Values("Idempotency-Key"))+len(r.Header.Values("X-Idempotency-Key")) > 0 {
				t.Error("an idempotency key went out")
			}
			if r.Header.Get("Accept-Encoding") != "" {
				t.Error("compression was asked for")
			}
			if i == 0 {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			}
		}
	})
	c := client(t, s.url())
	for i, r := range []Request{post([]byte("{}")), post([]byte("{}"))} {
		r.Header = http.Header{"Idempotency-Key": {"k"}, "x-idempotency-key": {"k"}}
		_, err := c.Do(t.Context(), r)
		if (err == nil) != (i == 0) {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if whole, _ := s.seen(); whole != 2 {
		t.Errorf("the server saw %d requests, want the 2 that were made", whole)
	}
	s2 := newRawServer(t, func(s *rawServer, conn net.Conn) {
		in := bufio.NewReader(conn)
		if _, ok := s.read(in); ok {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			s.read(in)
		}
	})
	c = client(t, s2.url())
	for range 2 { // GET too: a poll counts against the account's limit
		_, _ = c.Do(t.Context(), Request{Method: http.MethodGet, Path: "/status"})
	}
	if whole, _ := s2.seen(); whole != 2 {
		t.Errorf("the server saw %d GETs, want the 2 that were made", whole)
	}
}

// What Start refuses leaves no byte on the wire, header included: it must not
// count against a limit.
func TestStartLetsNothingLeave(t *testing.T) {
	t.Parallel()
	missed := errors.New("missed")
	for _, size := range []int{0, 1, 2, 5000, 1 << 20} {
		var bytesSeen atomic.Int64
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				n, _ := io.Copy(io.Discard, conn)
				bytesSeen.Add(n)
				conn.Close()
			}
		}()
		asked := 0
		r := post(bytes.Repeat([]byte("x"), size))
		r.Start = func() error { asked++; return missed }
		_, err = client(t, "http://"+ln.Addr().String()).Do(t.Context(), r)
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Unavailable || !errors.Is(err, missed) || asked != 1 {
			t.Errorf("%d bytes: got %v after asking %d times, want unavailable, wrapping Start's error", size, err, asked)
		}
		ln.Close()
		<-ended
		if n := bytesSeen.Load(); n != 0 {
			t.Errorf("%d bytes: %d bytes arrived", size, n)
		}
	}
}

func TestFenceWithholdsTheLastByte(t *testing.T) {
	t.Parallel()
	late := errors.New("too late")
	for _, size := range []int{1, 2, 5000, 1 << 20} {
		s := newRawServer(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
		asked := 0
		r := post(bytes.Repeat([]byte("x"), size))
		r.Fence = func() error { asked++; return late }
		_, err := client(t, s.url()).Do(t.Context(), r)
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Unavailable || !errors.Is(err, late) {
			t.Errorf("%d bytes: got %v, want unavailable, wrapping the fence's error", size, err)
		}
		s.drain()
		whole, arrived := s.seen()
		if whole != 0 || arrived >= size || asked != 1 {
			t.Errorf("%d bytes: %d requests, %d bytes arrived, the fence was asked %d times", size, whole, arrived, asked)
		}
	}
}

func TestFenceLetsPass(t *testing.T) {
	t.Parallel()
	s := newRawServer(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	c := client(t, s.url())
	for i, size := range []int{0, 1, 2, 5000, 1 << 20} {
		asked := 0
		r := post(bytes.Repeat([]byte("x"), size))
		r.Fence = func() error { asked++; return nil }
		if _, err := c.Do(t.Context(), r); err != nil || asked != 1 {
			t.Errorf("%d bytes: %v, the fence was asked %d times", size, err, asked)
		}
		if whole, _ := s.seen(); whole != i+1 {
			t.Errorf("%d bytes: %d requests arrived, want %d", size, whole, i+1)
		}
	}
	r := Request{Method: http.MethodGet, Path: "/", Fence: func() error { return errors.New("late") }}
	if _, err := c.Do(t.Context(), r); err == nil {
		t.Error("a fence holds for requests without a body too")
	}
}
