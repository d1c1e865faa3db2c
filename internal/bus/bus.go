// Package bus is Tuma's only way to NATS JetStream: streams and subjects as
// data, publishing that ends with a stored message or a typed error, consumers
// that hand out messages to be settled, and tails that follow a stream.
package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of this package; all others are wrapped causes.
var (
	// ErrFull says that the stream refuses new messages. Nothing was stored.
	ErrFull = errors.New("bus: stream is full")
	// ErrUnavailable says that no answer came in time. The message may have been
	// stored: publish it again with the same MsgID.
	ErrUnavailable = errors.New("bus: no answer from the stream")
	// ErrTooLarge says that the server takes no message of this size.
	ErrTooLarge = errors.New("bus: message is too large")
	// ErrNotFound says that there is no such message, stream or consumer.
	ErrNotFound = errors.New("bus: not found")
	// ErrOvertaken says that a message was to be stored after another, or in its place,
	// and that the stream has gone on since. Nothing was stored.
	ErrOvertaken = errors.New("bus: it has changed meanwhile")
)

// Header carries a message's headers. Keys are case-sensitive on this bus.
type Header = map[string][]string

// Options says how to reach the bus.
type Options struct {
	URL         string
	Name        string // of this connection, for operators
	Credentials string // path of a NATS .creds or nkey seed file; empty: none
	User        string // empty: none, or the URL's
	Password    string
	TLS         *tls.Config // nil: only where the URL or the server says so, with the system's authorities
	// Inbox is the prefix of the subjects that answers come to, so that a server
	// can permit this user no other; empty: the client's own (_INBOX).
	Inbox     string
	Replicas  int                        // of every stream; default 1
	Journal   int64                      // bytes that the journal may take; 0: 64 GiB, or as many of these as the server has
	InProcess nats.InProcessConnProvider // an embedded server; URL is ignored
	Log       *slog.Logger
}

// Bus is one connection. It is safe for concurrent use.
type Bus struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	out      *outbox
	replicas int
	journal  int64
	log      *slog.Logger

	mu      sync.Mutex
	streams map[string]jetstream.Stream // cached handles, by stream name
	looked  map[string]time.Time        // when each was asked for
}

// Connect returns a Bus at once, reachable or not: it connects, and reconnects
// for ever, in the background. There is no reconnect buffer: what is published
// while the server is away fails, so that nobody mistakes memory for a store.
func Connect(o Options) (*Bus, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	opts := []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ReconnectBufSize(-1), nats.ReconnectWait(250 * time.Millisecond), nats.Timeout(2 * time.Second),
		// A wrong password may be mended at the server: without this the client gives
		// up for good when it is refused twice.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if refused(err) {
				o.Log.Error("nats refuses this program's credentials", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { o.Log.Info("nats connected again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			// A reader whose pool is full leaves its buffer full, and the server's
			// heartbeats find no room: nothing that was asked for is lost.
			if errors.Is(err, nats.ErrSlowConsumer) {
				o.Log.Debug("nats", "error", err)
				return
			}
			o.Log.Warn("nats", "error", err)
		}),
	}
	who, err := identity(o)
	if err != nil {
		return nil, err
	}
	opts = append(opts, who...)
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	nc, err := nats.Connect(o.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("bus: connect: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(publishTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("bus: jetstream: %w", err)
	}
	out, err := newOutbox(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("bus: publishing: %w", err)
	}
	nc.SetDisconnectErrHandler(func(_ *nats.Conn, err error) {
		if err != nil {
			o.Log.Warn("nats connection lost", "error", err)
		}
		out.disconnected()
	})
	return &Bus{nc: nc, js: js, out: out, replicas: max(1, o.Replicas), journal: o.Journal, log: o.Log, streams: map[string]jetstream.Stream{}, looked: map[string]time.Time{}}, nil
}

// MaxPayload is the most bytes of one message, headers included, that the
// server takes; 0 before the first connection.
func (b *Bus) MaxPayload() int64 { return b.nc.MaxPayload() }

// Connected reports whether the server can be reached right now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Trouble says why there is no connection; empty: there is one.
func (b *Bus) Trouble() string {
	switch {
	case b.nc.IsConnected():
		return ""
	case refused(b.nc.LastError()):
		return "credentials refused"
	}
	return "not connected"
}

// WaitConnected blocks until the server answers or ctx is done.
func (b *Bus) WaitConnected(ctx context.Context) error {
	for !b.nc.IsConnected() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// Close ends the connection after what was published has left.
func (b *Bus) Close() {
	if b.nc.IsConnected() {
		_ = b.nc.FlushTimeout(time.Second) // best effort: every promise hangs on an ack, not on this
	}
	b.out.close()
	b.nc.Close()
}

// stream returns the cached handle of a stream.
func (b *Bus) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	b.mu.Lock()
	s, ok := b.streams[name]
	b.mu.Unlock()
	if ok {
		return s, nil
	}
	return b.fetch(ctx, name)
}

// fetch asks the server for a stream's handle, and caches it.
func (b *Bus) fetch(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, typed("stream "+name, err)
	}
	b.mu.Lock()
	b.streams[name], b.looked[name] = s, time.Now()
	b.mu.Unlock()
	return s, nil
}

// lookAgain is how old what is known of a stream may be where it matters which
// incarnation is read.
const lookAgain = time.Second

// incarnation is Epoch of what is there now, give or take a second.
func (b *Bus) incarnation(ctx context.Context, stream string) (int64, error) {
	b.mu.Lock()
	old := time.Since(b.looked[stream]) > lookAgain
	b.mu.Unlock()
	if !old {
		return b.Epoch(ctx, stream)
	}
	s, err := b.fetch(ctx, stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().Created.UnixNano(), nil
}

// Epoch tells incarnations of a stream apart: a stream that is deleted and made
// again starts its sequences at 1 under another epoch. It is that of the last
// look at the stream; a Puller looks whenever it begins to read.
func (b *Bus) Epoch(ctx context.Context, stream string) (int64, error) {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().Created.UnixNano(), nil
}

// Connections tells of each connection after a loss, until stop is called.
func (b *Bus) Connections() (up <-chan nats.Status, stop func()) {
	c := b.nc.StatusChanged(nats.CONNECTED)
	return c, func() { b.nc.RemoveStatusListener(c) }
}

// State is what a stream holds.
type State struct {
	Messages, Bytes   uint64
	FirstSeq, LastSeq uint64
	MaxBytes          int64
	Epoch             int64
}

// State asks the server what a stream holds.
func (b *Bus) State(ctx context.Context, stream string) (State, error) {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return State{}, err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return State{}, typed("info "+stream, err)
	}
	return State{info.State.Msgs, info.State.Bytes, info.State.FirstSeq, info.State.LastSeq, info.Config.MaxBytes, info.Created.UnixNano()}, nil
}

// typed turns the client's errors into this package's.
func typed(what string, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && (api.ErrorCode == codeStoreFailed || api.ErrorCode == codeResources):
		return fmt.Errorf("%w: %s: %w", ErrFull, what, err)
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return fmt.Errorf("%w: %s: %w", ErrOvertaken, what, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %s: %w", ErrTooLarge, what, err)
	case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("%w: %s: %w", ErrNotFound, what, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("bus: %s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, what, err)
}

// Server error codes that mean "refused, not stored".
const (
	codeStoreFailed jetstream.ErrorCode = 10077 // limits of a discard-new stream
	codeResources   jetstream.ErrorCode = 10023 // the account's storage
)

// publishTimeout bounds the wait for a stored message's ack.
const publishTimeout = 5 * time.Second

// ServerInfo is what a client can see of the server.
type ServerInfo struct {
	Version    string
	MaxPayload int64
	Streams    int
}

// Server asks the server about itself; it fails if JetStream does not answer.
func (b *Bus) Server(ctx context.Context) (ServerInfo, error) {
	info, err := b.js.AccountInfo(ctx)
	if err != nil {
		return ServerInfo{}, typed("account info", err)
	}
	return ServerInfo{b.nc.ConnectedServerVersion(), b.nc.MaxPayload(), info.Streams}, nil
}
