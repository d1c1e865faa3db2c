package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// output is standard output. A command whose words cannot be written, because the
// disk is full or nobody reads them any more, ends at once and has failed: an id or
// a key that nobody saw is lost. Used by one goroutine.
type output struct {
	w      io.Writer
	broken context.CancelCauseFunc
	err    error // the first
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	if err != nil {
		o.err = fmt.Errorf("standard output: %w", err)
		o.broken(o.err)
	}
	return n, o.err
}

// ended is how a command has ended, whose own error is err. Nothing is said of a
// reader that has gone, as of head, which has seen what it wanted.
func (o *output) ended(err error) error {
	switch {
	case o.err == nil:
		return err
	case errors.Is(o.err, syscall.EPIPE):
		return errTold
	}
	return failed(o.err)
}

// Signals returns a context that ends when the process is told to stop: by SIGINT,
// SIGTERM or, unless it was started to outlive its terminal (nohup), SIGHUP. Work
// under way is finished on each of them, and a second one changes nothing. That who
// read our output or log has gone is an error of writing to it, not an end.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	signal.Ignore(syscall.SIGPIPE)
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	return signal.NotifyContext(ctx, ends...)
}
