package strength

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// stamped notes when the kernel got each request's first bytes. The ledger notes
// when the gateway came to read them, which on a machine that is busy with
// something else may be much later: a server that stalls would seem to have been
// sent a burst. A sender answers for the former.
type stamped struct {
	net.Listener

	mu sync.Mutex
	at []time.Time
}

// Accept returns a connection whose reads are noted.
func (s *stamped) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1) }); err != nil || set != nil {
		return c, nil // then the ledger's time has to do
	}
	return &stampedConn{tcp, raw, s}, nil
}

func (s *stamped) note(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, at)
}

// arrived returns the instants noted so far, nil where the kernel tells none.
func (s *stamped) arrived() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.at...)
}

type stampedConn struct {
	*net.TCPConn
	raw syscall.RawConn
	s   *stamped
}

// Read reads and, where a request begins, notes the kernel's time of it.
func (c *stampedConn) Read(p []byte) (n int, err error) {
	var oob [64]byte
	got := 0
	rerr := c.raw.Read(func(fd uintptr) bool {
		n, got, _, _, err = syscall.Recvmsg(int(fd), p, oob[:], 0)
		return err != syscall.EAGAIN
	})
	switch {
	case rerr != nil:
		return 0, rerr
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	if bytes.HasPrefix(p[:n], []byte("POST ")) || bytes.HasPrefix(p[:n], []byte("GET ")) {
		c.s.note(stamp(oob[:got]))
	}
	return n, nil
}

// stamp is the time in a control message; without one, now.
func stamp(oob []byte) time.Time {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range msgs {
		if m.Header.Level == syscall.SOL_SOCKET && m.Header.Type == syscall.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}
