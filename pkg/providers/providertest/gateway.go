package providertest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// gateway is a raw TCP server on loopback that reads whole requests and then
// behaves as it was told.
type gateway struct {
	listener net.Listener
	behave   func(conn net.Conn, r *http.Request, body []byte)
	arrived  chan struct{} // one for each whole request

	mu    sync.Mutex
	conns []net.Conn
	whole int // requests whose every byte arrived
	wg    sync.WaitGroup
}

func newGateway(t testing.TB, behave func(net.Conn, *http.Request, []byte)) *gateway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{listener: l, behave: behave, arrived: make(chan struct{}, 64)}
	g.wg.Go(g.accept)
	t.Cleanup(g.close)
	return g
}

func (g *gateway) url() string { return "http://" + g.listener.Addr().String() + "/base" }

func (g *gateway) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		g.conns = append(g.conns, conn)
		g.mu.Unlock()
		g.wg.Go(func() { g.serve(conn) })
	}
}

func (g *gateway) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		g.mu.Lock()
		g.whole++
		g.mu.Unlock()
		g.arrived <- struct{}{}
		g.behave(conn, r, body)
	}
}

func (g *gateway) requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.whole
}

// drain takes no more connections and waits until the client has closed its own.
func (g *gateway) drain() {
	_ = g.listener.Close()
	g.wg.Wait()
}

func (g *gateway) close() {
	_ = g.listener.Close()
	g.mu.Lock()
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// answer is a behaviour: one well-formed HTTP answer.
func answer(status int, header, body string) func(net.Conn, *http.Request, []byte) {
	return func(conn net.Conn, _ *http.Request, _ []byte) { writeAnswer(conn, status, header, body) }
}

func writeAnswer(conn net.Conn, status int, header, body string) {
	if header != "" {
		header = strings.TrimRight(header, "\r\n") + "\r\n"
	}
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d Status\r\n%sContent-Length: %d\r\n\r\n%s", status, header, len(body), body)
}

// raw is a behaviour: these bytes, then the connection is closed.
func raw(text string) func(net.Conn, *http.Request, []byte) {
	return func(conn net.Conn, _ *http.Request, _ []byte) {
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	}
}

// reset is a behaviour: the request is read whole, then the connection is reset.
func reset(conn net.Conn, _ *http.Request, _ []byte) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// onlyHost refuses requests to any other host than the gateway under test.
type onlyHost struct {
	t    testing.TB
	host string
	next http.RoundTripper
}

func (o onlyHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != o.host {
		o.t.Errorf("a request went to %s: an adapter dials no host but its base URL's", r.URL.Host)
	}
	return o.next.RoundTrip(r)
}
