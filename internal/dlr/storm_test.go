package dlr_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

// line is the way to a server, which can be held up.
type line struct {
	mu   sync.Mutex
	held chan struct{} // closed: nothing is held up
}

func (l *line) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = make(chan struct{})
}

func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held)
}

func (l *line) wait() {
	l.mu.Lock()
	held := l.held
	l.mu.Unlock()
	<-held
}

// newLine returns a line to a server, and the address of its other end.
func newLine(t *testing.T, to string) (*line, string) {
	t.Helper()
	l := &line{held: make(chan struct{})}
	close(l.held)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { ln.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				return
			}
			running.Go(func() { _, _ = io.Copy(c, s); c.Close() })
			running.Go(func() {
				defer s.Close()
				for b := make([]byte, 64<<10); ; {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					l.wait()
					if _, err := s.Write(b[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return l, ln.Addr().String()
}

// handlerOn is a collector's handler at the end of a line; it takes atOnce
// callbacks at once.
func handlerOn(t *testing.T, p *gateway, atOnce int) (*bus.Bus, *line, string) {
	t.Helper()
	server := natstest.Server(t)
	own := natstest.Connect(t, server, []string{tenant}, []string{account})
	way, addr := newLine(t, strings.TrimPrefix(server.ClientURL(), "nats://"))
	b, err := bus.Connect(bus.Options{URL: "nats://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := dlr.New(dlr.Options{
		Bus: b, Journal: journal.New(b, journal.Options{}), Statuses: status.New(status.Options{}), AtOnce: atOnce,
		Accounts: []dlr.Account{{Name: account, Provider: p, Secrets: []string{secret}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(c.Handler())
	t.Cleanup(front.Close)
	return own, way, front.URL
}

// Callbacks that the bus does not take in time wait, as many as may; all others
// are told at once to come again, and nothing is kept of them.
func TestStormIsBounded(t *testing.T) {
	t.Parallel()
	const room, callers = 8, 40
	own, way, url := handlerOn(t, &gateway{}, room)
	way.hold()
	answers := make(chan *http.Response, callers)
	var calling sync.WaitGroup
	for i := range callers {
		calling.Go(func() {
			resp, err := http.Post(url+"/dlr/gw/"+secret, "application/json", strings.NewReader(fmt.Sprintf(`[{"MessageID":"%d"}]`, i)))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			answers <- resp
		})
	}
	for range callers - room {
		if a := <-answers; a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("answered %d, Retry-After %q", a.StatusCode, a.Header.Get("Retry-After"))
		}
	}
	select {
	case a := <-answers:
		t.Errorf("answered %d before it was stored", a.StatusCode)
	default:
	}
	way.release()
	calling.Wait()
	close(answers)
	for a := range answers {
		if a.StatusCode != http.StatusOK {
			t.Errorf("answered %d", a.StatusCode)
		}
	}
	if s, err := own.State(t.Context(), bus.CallbackStream); err != nil || s.Messages != room {
		t.Errorf("%d stored, %v", s.Messages, err)
	}
}

// Who knows no token and sends nothing takes no room of those who do.
func TestUnprovedCallersHaveTheirOwnRoom(t *testing.T) {
	t.Parallel()
	const room = 3
	_, _, url := handlerOn(t, &gateway{signs: true}, room)
	silent := func() {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "POST /dlr/gw HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	}
	post := func(path string) int {
		req, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader(`[{"MessageID":"`+path+time.Now().String()+`"}]`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Webhook-Signature", "good")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for deadline := time.Now().Add(4 * time.Second); post("/dlr/gw") != http.StatusServiceUnavailable; silent() {
		if time.Now().After(deadline) {
			t.Fatal("they take no room at all")
		}
	}
	if got := post("/dlr/gw/" + secret); got != http.StatusOK {
		t.Errorf("who knows the token was answered %d", got)
	}
}
