package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"golang.org/x/net/netutil"
)

// SetupError is what only whoever set the program up can mend: a port in use, a
// folder that cannot be written, a server that is not the one meant. Programs
// exit with 2 on it, so that it is not mistaken for a failure worth a restart.
type SetupError struct{ Err error }

// Error returns the cause's words.
func (e *SetupError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SetupError) Unwrap() error { return e.Err }

// ExitCode returns 2.
func (*SetupError) ExitCode() int { return 2 }

// Listen opens a TCP address; name is the key of the config. Its error is a *SetupError. It is done before anything runs, so that a port in
// use is an error of the start and not of the service.
func Listen(ctx context.Context, name, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, &SetupError{fmt.Errorf("%s: cannot listen on %s: %w", name, addr, err)}
	}
	return ln, nil
}

// ServerOptions are the bounds of one HTTP server.
type ServerOptions struct {
	// Body bounds how long a request may take to arrive, and Answer how long its
	// answer may take. 0: no bound, for bodies and answers that are streams; what
	// reads them must then have its own.
	Body, Answer time.Duration
	// Unread is how long a body may take that Body does not bound, until its handler
	// sets a bound of its own: also one that is never read, of a request that is
	// refused. 0: one minute.
	Unread time.Duration
	// Connections bounds how many are open at once; who comes then waits to be
	// let in. An eighth of the files that the process may open is the bound anyway:
	// without files nothing is stored or sent any more. 0: that bound alone.
	Connections int
	Log         *slog.Logger // of the server's own complaints; nil: none
}

// Server is the part that serves ln. A stop closes the listener, lets requests
// in flight finish, and cuts them off at the drain deadline. A request's context
// knows of it: see Work and Stopping.
func Server(name string, ln net.Listener, h http.Handler, o ServerOptions) Part {
	return Part{Name: name, Run: func(ctx context.Context) error {
		log := o.Log
		if log == nil {
			log = slog.New(slog.DiscardHandler)
		}
		srv := &http.Server{
			Handler:           oneMeaning(o.bounded(discreet(h, log))),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       o.Body,
			WriteTimeout:      o.Answer,
			IdleTimeout:       75 * time.Second,
			MaxHeaderBytes:    32 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
			// Not ctx: requests in flight outlive the order to stop.
			BaseContext: func(net.Listener) context.Context { return requestScope(ctx) },
		}
		if most := o.connections(files()); most > 0 {
			ln = netutil.LimitListener(ln, most)
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
		}
		err := srv.Shutdown(Work(ctx))
		if err != nil {
			srv.Close()
		}
		if serr := <-served; err == nil && !errors.Is(serr, http.ErrServerClosed) {
			err = serr
		}
		return err
	}}
}

// connections is the bound where so many files may be open; 0: none.
func (o ServerOptions) connections(files int) int {
	share := max(files/8, 1)
	if files == 0 || o.Connections > 0 && o.Connections < share {
		return o.Connections
	}
	return share
}

// bounded keeps a client from holding a connection by sending a body drop by drop:
// net/http reads on in what a handler left, without end unless the connection has
// one.
func (o ServerOptions) bounded(h http.Handler) http.Handler {
	if o.Body > 0 {
		return h
	}
	most := o.Unread
	if most == 0 {
		most = time.Minute
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // without one, the end of the wait would be taken for the client's
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(most)) // servers have deadlines
		}
		h.ServeHTTP(w, r)
	})
}

// oneMeaning ends the connection after a request in chunks. net/http hides whether
// it had a length too; if so, a proxy in front may have gone by that, and what
// follows be the body of its request, smuggled in (RFC 9112, section 6.3). The price
// is a connection for each request of clients that do not know how long theirs is.
func oneMeaning(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// discreet answers 500 where a handler panics, and logs where, but not the words:
// they may quote a message or a secret. An answer that has begun is cut off.
func discreet(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			err, _ := v.(error)
			aborted := errors.Is(err, http.ErrAbortHandler)
			if !aborted {
				log.ErrorContext(r.Context(), "request handler panicked", "kind", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			}
			if a.begun || aborted {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Connection", "close") // what was read of the body is not known
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		}()
		h.ServeHTTP(a, r)
	})
}

// answer knows whether it has begun. http.ResponseController sees through it.
type answer struct {
	http.ResponseWriter
	begun bool
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.begun = true
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// After answers 503 until ready is closed, so that whoever calls while a program
// waits for what it needs is told at once, and does not hang. Then it is h.
func After(ready <-chan struct{}, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-ready:
			h.ServeHTTP(w, r)
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, starting) // a client that is gone cannot be told anything
		}
	})
}

const starting = `{"type":"urn:tuma:problem:unavailable","title":"Service Unavailable","status":503,"detail":"the program is starting: /readyz says what it waits for","code":"unavailable"}` + "\n"

// Admin is the part that answers for the program's health and metrics.
func Admin(ln net.Listener, h *Health, metrics http.Handler) Part {
	return Server("admin", ln, h.Handler(metrics), ServerOptions{Body: 10 * time.Second, Answer: 30 * time.Second})
}
