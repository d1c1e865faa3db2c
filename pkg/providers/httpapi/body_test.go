package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestSealedBodyGivesNothing(t *testing.T) {
	t.Parallel()
	b := &requestBody{data: []byte("abc")}
	if n, err := b.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	if whole, _ := b.seal(); whole {
		t.Error("one byte of three is not the whole body")
	}
	if n, err := b.Read(make([]byte, 8)); n != 0 || err == nil {
		t.Errorf("a sealed body gave %d bytes, %v: what was counted must stay true", n, err)
	}
}

// A fast gateway answers before net/http has looked for the end of the body.
// Should it find an error there, it would close the connection under the answer,
// and what was taken would count as uncertain.
func TestSealedBodyStillEnds(t *testing.T) {
	t.Parallel()
	b := &requestBody{data: []byte("abc")}
	for _, size := range []int{2, 1} {
		if n, err := b.Read(make([]byte, size)); n != size || err != nil {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	if whole, _ := b.seal(); !whole {
		t.Error("all bytes were taken")
	}
	if n, err := b.Read(make([]byte, 8)); n != 0 || err != io.EOF {
		t.Errorf("the end of a body that was taken whole gave %d bytes, %v", n, err)
	}
}

func TestBodyIsReadWhole(t *testing.T) {
	t.Parallel()
	for size := range 5 {
		for piece := 1; piece < 6; piece++ {
			data := bytes.Repeat([]byte("x"), size)
			b := &requestBody{data: data}
			got, err := io.ReadAll(io.MultiReader(io.LimitReader(b, int64(piece)), b))
			whole, _ := b.seal()
			if !bytes.Equal(got, data) || err != nil || !whole {
				t.Errorf("%d bytes in pieces of %d: got %q, %v, whole %v", size, piece, got, err, whole)
			}
		}
	}
}

// shortConn takes so many writes and then no more.
type shortConn struct {
	net.Conn
	writes int
}

func (c *shortConn) Write(p []byte) (int, error) {
	if c.writes--; c.writes < 0 {
		return 0, errors.New("the kernel takes nothing")
	}
	return c.Conn.Write(p)
}

// The transport may take the whole body while the connection does not.
func TestDoKnowsWhatTheConnectionTook(t *testing.T) {
	t.Parallel()
	for writes := range 3 { // nothing; the header; all but the last byte
		s := newRawServer(t, answering(""))
		transport := NewTransport()
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &watchedConn{Conn: &shortConn{conn, writes}}, err
		}
		_, err := client(t, s.url(), func(o *Options) { o.Transport = transport }).Do(t.Context(), post(make([]byte, 1000)))
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != providers.Unavailable {
			t.Errorf("after %d writes: got %v, want unavailable", writes, err)
		}
	}
}
