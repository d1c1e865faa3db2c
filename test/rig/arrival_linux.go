package rig

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"syscall"
	"time"
)

// Accept returns a connection whose requests are noted, by the kernel's time of
// their arrival.
func (s *Stamped) Accept() (net.Conn, error) {
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

type stampedConn struct {
	*net.TCPConn
	raw syscall.RawConn
	s   *Stamped
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
	if bytes.HasPrefix(p[:n], []byte("POST /")) || bytes.HasPrefix(p[:n], []byte("GET /")) {
		c.s.note(p[:n], stamp(oob[:got]))
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
