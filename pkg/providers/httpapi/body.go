package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// requestBody hands a request's body to the transport and knows how much of it
// left. It is no type that net/http can rewind.
type requestBody struct {
	mu       sync.Mutex
	data     []byte
	off      int
	start    func() error // asked at the first Read; nil once asked
	fence    func() error
	fenceErr error  // what start or fence said
	ends     func() // told once, when the end is taken
	ended    bool
	sealed   bool
}

var errSealed = errors.New("httpapi: the request is over")

// Read asks start, returns everything but the last byte, then asks the fence,
// then returns the last byte.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rest := len(b.data) - b.off
	switch {
	case b.ended: // even if sealed: net/http looks for the end after a fast gateway has answered, and any other error costs the answer
		return 0, io.EOF
	case b.sealed:
		return 0, errSealed
	case rest == 0:
		b.end() // of an empty body
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if b.start != nil {
		b.fenceErr, b.start = b.start(), nil
	}
	switch {
	case b.fenceErr != nil:
		return 0, b.fenceErr
	case rest == 1:
		if b.fence != nil {
			b.fenceErr = b.fence()
		}
		if b.fenceErr != nil {
			return 0, b.fenceErr
		}
		p[0] = b.data[b.off]
		b.off++
		b.end()
		return 1, nil
	}
	n := copy(p, b.data[b.off:len(b.data)-1])
	b.off += n
	return n, nil
}

func (b *requestBody) end() {
	if !b.ended && b.ends != nil {
		b.ends()
	}
	b.ended = true
}

// Close does nothing: the bytes are the caller's.
func (b *requestBody) Close() error { return nil }

// seal ends the body: the transport gets no further byte. It reports whether
// the whole body was taken, and what the fence said if it withheld the end.
func (b *requestBody) seal() (whole bool, fenceErr error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sealed = true
	return b.ended, b.fenceErr
}

// wire watches the connection that a request leaves on. It is asked after
// RoundTrip failed, when net/http no longer writes the request.
type wire struct {
	start func() error // asked before the first byte; may be nil

	mu       sync.Mutex
	conn     *watchedConn
	before   int64 // writes that had succeeded when the transport took the body's end
	startErr error
}

func (w *wire) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		conn := info.Conn
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.conn, _ = conn.(*watchedConn); w.conn != nil && w.start != nil {
			w.conn.arm(w.ask)
		}
	}}
}

// ask asks start, and remembers what it says.
func (w *wire) ask() error {
	err := w.start()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.startErr = err
	return err
}

// unwatched asks start where no watched connection has: at the body's first
// byte, when somebody else's transport may have sent the header already.
func (w *wire) unwatched() error {
	w.mu.Lock()
	watched := w.conn != nil
	w.mu.Unlock()
	if w.start == nil || watched {
		return nil
	}
	return w.ask()
}

// refused is what start said, if it let nothing leave.
func (w *wire) refused() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.startErr
}

// bodyEnds is called when the transport takes the end of the body.
func (w *wire) bodyEnds() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.before = w.conn.writes.Load()
	}
}

// withheld reports whether no write succeeded after the transport took the
// body's end: then the end never left, for no earlier write can have held it.
// Failed writes prove nothing: the alert that closes a TLS connection fails on a
// dead one, long after the request. It is false when nobody watched.
func (w *wire) withheld() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conn != nil && w.conn.writes.Load() == w.before
}

// watchedConn counts the writes that the kernel took whole.
// One that is armed asks before the next write; if the answer is an error,
// nothing is written.
type watchedConn struct {
	net.Conn
	writes atomic.Int64
	armed  atomic.Pointer[func() error]
}

func (c *watchedConn) arm(ask func() error) { c.armed.Store(&ask) }

// Write writes and counts.
func (c *watchedConn) Write(p []byte) (int, error) {
	if ask := c.armed.Swap(nil); ask != nil {
		if err := (*ask)(); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(p)
	if n == len(p) {
		c.writes.Add(1)
	}
	return n, err
}

// plainError is a transport's error in words that repeat nothing of what was
// sent or received: net/http quotes lines of a broken answer, and a gateway may
// echo a text or a number there.
type plainError struct {
	words string
	err   error
}

func (e *plainError) Error() string { return e.words }
func (e *plainError) Unwrap() error { return e.err }

func plain(ctx context.Context, err error) error {
	var (
		op   *net.OpError
		cert *tls.CertificateVerificationError
		host x509.HostnameError
	)
	words := "no readable HTTP answer"
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		words = "timed out"
	case errors.Is(ctx.Err(), context.Canceled), errors.Is(err, context.Canceled):
		words = "canceled"
	case errors.As(err, &op):
		words = op.Error()
	case errors.As(err, &host), errors.As(err, &cert):
		words = "the gateway's certificate cannot be verified"
	case errors.Is(err, io.ErrUnexpectedEOF):
		words = "the answer was cut"
	case errors.Is(err, io.EOF):
		words = "connection closed without an answer"
	}
	return &plainError{words, err}
}
