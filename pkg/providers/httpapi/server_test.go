package httpapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rawServer hands every connection to serve, and counts what it tells.
type rawServer struct {
	listener net.Listener
	serve    func(*rawServer, net.Conn)

	mu        sync.Mutex
	conns     []net.Conn
	whole     int // requests that arrived whole
	bodyBytes int // bytes of bodies that arrived
	wg        sync.WaitGroup
}

func newRawServer(t *testing.T, serve func(*rawServer, net.Conn)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{listener: l, serve: serve}
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.wg.Go(func() {
				defer func() { _ = conn.Close() }()
				s.serve(s, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func (s *rawServer) url() string { return "http://" + s.listener.Addr().String() }

// drain waits until every connection has ended by itself.
func (s *rawServer) drain() {
	_ = s.listener.Close()
	s.wg.Wait()
}

func (s *rawServer) seen() (whole, bodyBytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole, s.bodyBytes
}

// read reads one request and tells whether it was whole.
func (s *rawServer) read(in *bufio.Reader) (*http.Request, bool) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, false
	}
	n, err := io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodyBytes += int(n)
	if err != nil {
		return r, false
	}
	s.whole++
	return r, true
}

// answering reads whole requests and answers each with text.
func answering(text string) func(*rawServer, net.Conn) {
	return func(s *rawServer, conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			if _, ok := s.read(in); !ok {
				return
			}
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

// once reads one whole request, answers with text and closes the connection.
func once(text string) func(*rawServer, net.Conn) {
	return func(s *rawServer, conn net.Conn) {
		if _, ok := s.read(bufio.NewReader(conn)); ok {
			_, _ = io.WriteString(conn, text)
		}
	}
}

func resetConn(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}
