// Package embedded runs a real NATS server with JetStream inside the process:
// for `tuma up` and for tests.
package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options of the embedded server.
type Options struct {
	Listen   string // host:port for other clients; empty: in-process connections only
	StoreDir string // where the streams are kept
	Sync     bool   // fsync before every ack: survives power loss, costs speed
	// SyncEvery is how often files are flushed without Sync; 0: the server's own
	// default, two minutes.
	SyncEvery time.Duration
	// MaxPayload is the most bytes of one message; 0: 8 MiB.
	MaxPayload int32
}

// Server is a running NATS server. It is also what bus.Options.InProcess takes.
type Server struct{ *server.Server }

// Start starts the server and waits until it takes connections. A port in use
// and a store that cannot be written are reported as such.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := writable(o.StoreDir); err != nil {
		return nil, fmt.Errorf("nats.store_dir %s: %w", o.StoreDir, err)
	}
	opts := &server.Options{
		ServerName: "tuma", JetStream: true, StoreDir: o.StoreDir, SyncAlways: o.Sync, SyncInterval: o.SyncEvery,
		NoSigs: true, NoLog: true, DontListen: true, JetStreamMaxStore: 1 << 40, MaxPayload: cmp.Or(o.MaxPayload, 8<<20),
	}
	if o.Listen != "" {
		host, port, err := listenAddress(ctx, o.Listen)
		if err != nil {
			return nil, fmt.Errorf("nats.listen %s: %w", o.Listen, err)
		}
		opts.DontListen, opts.Host, opts.Port = false, host, port
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("nats server: not ready after 10 s")
	}
	return &Server{s}, nil
}

// Stop shuts the server down and waits until its files are closed.
func (s *Server) Stop() {
	s.Shutdown()
	s.WaitForShutdown()
}

// listenAddress checks that the port is free before the server tries: the
// server itself would end the whole process.
func listenAddress(ctx context.Context, addr string) (string, int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", 0, err
	}
	tcp := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		return "", 0, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	return host, tcp.Port, nil
}

func writable(dir string) error {
	if dir == "" {
		return errors.New("not set")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	probe := filepath.Join(dir, ".writable-"+strconv.Itoa(os.Getpid()))
	f, err := os.OpenFile(probe, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(probe))
}
