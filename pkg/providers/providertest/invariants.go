package providertest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// invariant is one way in which a gateway may behave, what must come out of it
// for every message, and why.
type invariant struct {
	name       string
	why        string
	behave     func(net.Conn, *http.Request, []byte)
	want       providers.Class
	retryAfter time.Duration
	timeout    time.Duration
}

const page = "<!doctype html><html><head><title>Maintenance</title></head><body>Back soon</body></html>"

func invariants() []invariant {
	const (
		pacing = "429 is pacing and costs no attempt; the wait is the gateway's to choose"
		fivexx = "a 5xx may come from a proxy that has handed the request on: nobody knows"
		creds  = "credentials or balance fail for every message alike: the account pauses, no message is burned"
		broken = "the whole request has left and no trusted answer came: it may have been sent"
		shape  = "a 2xx that is not this API's answer proves nothing"
		moved  = "a redirect is a wrong base URL, never followed: the request holds credentials"
	)
	at := Now().Add(90 * time.Second).Format(http.TimeFormat)
	list := []invariant{
		{"429 with seconds", pacing, answer(429, "Retry-After: 7", ""), providers.Throttled, 7 * time.Second, 0},
		{"429 with a date", pacing, answer(429, "Retry-After: "+at, ""), providers.Throttled, 90 * time.Second, 0},
		{"429 with nonsense", pacing, answer(429, "Retry-After: soon", page), providers.Throttled, 0, 0},
		{"401", creds, answer(401, "", ""), providers.Misconfigured, 0, 0},
		{"403", creds, answer(403, "", page), providers.Misconfigured, 0, 0},
		{"402", creds, answer(402, "", ""), providers.Misconfigured, 0, 0},
		{"302", moved, answer(302, "Location: http://192.0.2.1/", ""), providers.Misconfigured, 0, 0},
		{"307", moved, answer(307, "Location: /elsewhere", ""), providers.Misconfigured, 0, 0},
		{"308", moved, answer(308, "Location: /elsewhere", ""), providers.Misconfigured, 0, 0},
		{"404 page", "a wrong base URL must not burn messages", answer(404, "", page), providers.Misconfigured, 0, 0},
		{"reset after the request", broken, reset, providers.Uncertain, 0, 0},
		{"closed after the request", broken, raw(""), providers.Uncertain, 0, 0},
		{"no HTTP", broken, raw("220 smtp ready\r\n"), providers.Uncertain, 0, 0},
		{"no answer in time", broken, func(c net.Conn, _ *http.Request, _ []byte) { _, _ = c.Read(make([]byte, 1)) }, providers.Uncertain, 0, 100 * time.Millisecond},
		{"1xx without end", broken, raw(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100)), providers.Uncertain, 0, 0},
		{"101", shape, raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), providers.Uncertain, 0, 0},
		{"200 cut", broken, raw("HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{\"status\": true, \"mess"), providers.Uncertain, 0, 0},
		{"200 chunked and cut", broken, raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"status\""), providers.Uncertain, 0, 0},
		{"200 gzip not asked for", shape, answer(200, "Content-Encoding: gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00"), providers.Uncertain, 0, 0},
		{"200 of 5 MB", shape, answer(200, "", "["+strings.Repeat(" ", 5<<20)+"]"), providers.Uncertain, 0, 0},
		{"204", shape, raw("HTTP/1.1 204 No Content\r\n\r\n"), providers.Uncertain, 0, 0},
	}
	for _, status := range []string{"500", "502", "503", "504", "520", "522", "524", "599"} {
		list = append(list, invariant{status + " page", fivexx, raw("HTTP/1.1 " + status + " Bad\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n<p>"), providers.Uncertain, 0, 0})
	}
	for name, body := range map[string]string{"empty": "", "HTML": page, "null": "null", "array": "[]", "object": "{}", "string": `"ok"`, "number": "1", "bool": "true", "half": `{"status":`} {
		list = append(list, invariant{"200 " + name, shape, answer(200, "Content-Type: text/html", body), providers.Uncertain, 0, 0})
	}
	return list
}

func (s Suite) testInvariants(t *testing.T) {
	for _, inv := range invariants() {
		t.Run(inv.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, inv.behave)
			p := s.dial(t, g, func(o *providers.Options) {
				if inv.timeout > 0 {
					o.Timeout = inv.timeout
				}
			})
			b := s.batch(p, min(3, p.Limits().MaxBatch))
			classes, results, err := s.send(t.Context(), t, p, b)
			for i, c := range classes {
				if c != inv.want {
					t.Fatalf("message %d is %v, want %v: %s (%v)", i, c, inv.want, inv.why, err)
				}
			}
			if got := retryAfter(results, err); inv.want == providers.Throttled && got != inv.retryAfter {
				t.Errorf("RetryAfter is %v, want %v: %s", got, inv.retryAfter, inv.why)
			}
			if n := g.requests(); n != 1 {
				t.Errorf("the gateway saw %d requests: Send makes one, whatever comes back", n)
			}
		})
	}
	t.Run("accept", func(t *testing.T) { t.Parallel(); s.testAccept(t) })
	t.Run("refused connection", func(t *testing.T) { t.Parallel(); s.testRefused(t) })
	t.Run("canceled", func(t *testing.T) { t.Parallel(); s.testCanceled(t) })
	t.Run("fence", func(t *testing.T) { t.Parallel(); s.testFence(t) })
	t.Run("echo", func(t *testing.T) { t.Parallel(); s.testEcho(t) })
}

// dial builds the adapter against g, over a real connection, watched.
func (s Suite) dial(t testing.TB, g *gateway, change func(*providers.Options)) providers.Provider {
	t.Helper()
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	return s.build(t, func(o *providers.Options) {
		o.BaseURL = g.url()
		o.Transport = onlyHost{t, g.listener.Addr().String(), transport}
		change(o)
	})
}

func retryAfter(results []providers.Result, err error) time.Duration {
	var e *providers.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	if len(results) > 0 {
		return results[0].RetryAfter
	}
	return 0
}

func (s Suite) testAccept(t *testing.T) {
	g := newGateway(t, func(conn net.Conn, r *http.Request, body []byte) {
		if len(r.Header["Idempotency-Key"])+len(r.Header["X-Idempotency-Key"]) > 0 {
			t.Error("an Idempotency-Key makes net/http repeat a POST by itself")
		}
		writeAnswer(conn, 200, "Content-Type: application/json", s.Accept(r, body))
	})
	p := s.dial(t, g, func(*providers.Options) {})
	for i, n := range []int{1, p.Limits().MaxBatch} {
		asked := 0
		b := s.batch(p, n)
		b.Fence = func() error { asked++; return nil }
		classes, _, err := s.send(t.Context(), t, p, b)
		for j, c := range classes {
			if c != providers.Accepted {
				t.Fatalf("message %d of %d is %v, want accepted (%v)", j, n, c, err)
			}
		}
		if asked != 1 {
			t.Errorf("the fence was asked %d times, want once for a request", asked)
		}
		if got := g.requests(); got != i+1 {
			t.Errorf("the gateway saw %d requests after %d Sends", got, i+1)
		}
	}
}

func (s Suite) testRefused(t *testing.T) {
	g := newGateway(t, reset)
	p := s.dial(t, g, func(*providers.Options) {})
	if err := g.listener.Close(); err != nil {
		t.Fatal(err)
	}
	classes, _, err := s.send(t.Context(), t, p, s.batch(p, 1))
	if classes[0] != providers.Unavailable {
		t.Errorf("got %v, want unavailable: nothing was connected, so nothing was sent (%v)", classes[0], err)
	}
}

func (s Suite) testCanceled(t *testing.T) {
	hang := func(c net.Conn, _ *http.Request, _ []byte) { _, _ = io.Copy(io.Discard, c) }
	g := newGateway(t, hang)
	p := s.dial(t, g, func(o *providers.Options) { o.Timeout = time.Hour })
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		<-g.arrived
		cancel()
	}()
	classes, _, err := s.send(ctx, t, p, s.batch(p, 1))
	<-gone
	if classes[0] != providers.Uncertain {
		t.Errorf("canceled after the whole request: got %v, want uncertain (%v)", classes[0], err)
	}
	classes, _, err = s.send(ctx, t, p, s.batch(p, 1))
	if classes[0] != providers.Unavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled before: got %v, want unavailable, wrapping context.Canceled (%v)", classes[0], err)
	}
	if n := g.requests(); n != 1 {
		t.Errorf("the gateway saw %d requests, want 1", n)
	}
}

func (s Suite) testFence(t *testing.T) {
	g := newGateway(t, answer(200, "", "{}"))
	p := s.dial(t, g, func(*providers.Options) {})
	missed := errors.New("the slot has passed")
	early := s.batch(p, 1)
	early.Start = func() error { return missed }
	if classes, _, err := s.send(t.Context(), t, p, early); classes[0] != providers.Unavailable || !errors.Is(err, missed) {
		t.Errorf("got %v, want unavailable, wrapping Start's error (%v)", classes[0], err)
	}
	late := errors.New("the lease has passed")
	b := s.batch(p, 1)
	b.Fence = func() error { return late }
	classes, _, err := s.send(t.Context(), t, p, b)
	if classes[0] != providers.Unavailable || !errors.Is(err, late) {
		t.Errorf("got %v, want unavailable, wrapping the fence's error (%v)", classes[0], err)
	}
	g.drain()
	if n := g.requests(); n != 0 {
		t.Error("the gateway saw the whole request: the fence is asked before the last byte, through Request.Fence")
	}
}

// testEcho answers with what was asked, credentials and all.
func (s Suite) testEcho(t *testing.T) {
	for _, status := range []int{200, 400, 401, 402, 403, 404, 409, 422, 429, 500, 503} {
		g := newGateway(t, func(conn net.Conn, r *http.Request, body []byte) {
			var text strings.Builder
			_ = r.Header.Write(&text)
			text.WriteString(r.URL.String())
			text.Write(body)
			writeAnswer(conn, status, "Content-Type: text/plain", text.String())
		})
		p := s.dial(t, g, func(*providers.Options) {})
		s.send(t.Context(), t, p, s.batch(p, 1)) // send itself looks for what leaked
	}
	g := newGateway(t, func(conn net.Conn, r *http.Request, body []byte) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+r.Header.Get("Authorization")+" "+string(body)+"\r\n\r\n")
		_ = conn.Close()
	})
	p := s.dial(t, g, func(*providers.Options) {})
	s.send(t.Context(), t, p, s.batch(p, 1))
}
