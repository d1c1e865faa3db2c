// Package service starts the parts of a program in order, stops them in
// reverse, and tells the outside how it does. It knows nothing of what runs.
package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Part is one thing that runs for as long as the program does.
type Part struct {
	Name string
	// Run blocks until ctx is cancelled or it fails. A cancelled ctx means: take
	// no more, finish what is in hand, return nil. What is in hand runs under
	// Work(ctx), which lives until the drain deadline. A nil before ctx is
	// cancelled counts as failure, since the program would go on without the part.
	Run func(ctx context.Context) error
	// Ready, if not nil, is closed by Run once the parts after this one may start.
	Ready <-chan struct{}
	// Early parts start before all others and wait for nobody. They stop in their
	// place all the same: a server that says meanwhile that it cannot help yet.
	Early bool
}

// grace is how long parts have to return once even their work is cancelled.
// After it they are left behind: a stuck part must not keep a process alive that
// its orchestrator wants gone.
const grace = 2 * time.Second

// ErrEnded is the failure of a part that returned without being told to.
var ErrEnded = errors.New("ended by itself")

// Run starts parts in order, early ones first, and blocks until all have stopped. They are stopped
// one by one in reverse order, so that whoever takes goes before what it writes
// to, when ctx is cancelled or as soon as one fails. Together they have drain
// for that; then the work in hand is cancelled too.
//
// It returns the first failure, with the part's name; nil after a clean stop; a
// clean stop that ran into the deadline is an error that names who was late.
func Run(ctx context.Context, drain time.Duration, parts ...Part) error {
	g := newGroup(ctx, parts)
	defer g.abandon()
	err := g.start(ctx)
	if err == nil {
		select {
		case <-ctx.Done():
		case i := <-g.ended:
			err = g.failure(i)
		}
	}
	late := g.stop(drain)
	if err == nil {
		err = g.firstError()
	}
	if err == nil && late != nil {
		err = fmt.Errorf("not finished after %s: %s", drain, strings.Join(late, ", "))
	}
	return err
}

// group is the state of one Run; only that goroutine uses it, except that
// running[i].err is written by part i before its done is closed.
type group struct {
	parts   []Part
	running []*running // nil: not started
	ended   chan int   // indices of parts whose Run returned
	work    context.Context
	abandon context.CancelFunc
}

type running struct {
	stop    context.CancelFunc
	stopped bool // stop was called
	done    chan struct{}
	err     error
}

func newGroup(ctx context.Context, parts []Part) *group {
	g := &group{parts: parts, running: make([]*running, len(parts)), ended: make(chan int, len(parts))}
	g.work, g.abandon = context.WithCancel(context.WithoutCancel(ctx))
	return g
}

func (g *group) start(ctx context.Context) error {
	for i, p := range g.parts {
		if p.Early {
			g.launch(i)
		}
	}
	for i, p := range g.parts {
		if !p.Early {
			g.launch(i)
		}
		if p.Ready == nil {
			continue
		}
		select {
		case <-p.Ready:
		case <-ctx.Done():
			return nil
		case j := <-g.ended:
			return g.failure(j)
		}
	}
	return nil
}

func (g *group) launch(i int) {
	take, stop := context.WithCancel(g.work)
	r := &running{stop: stop, done: make(chan struct{})}
	g.running[i] = r
	go func() {
		r.err = g.parts[i].Run(withScope(take, g.work))
		close(r.done)
		g.ended <- i
	}()
}

// stop returns the names of parts that did not finish in time.
func (g *group) stop(drain time.Duration) (late []string) {
	deadline := time.NewTimer(drain)
	defer deadline.Stop()
	for _, r := range slices.Backward(g.running) {
		if r == nil {
			continue
		}
		r.stopped = true
		r.stop()
		select {
		case <-r.done:
			continue
		case <-deadline.C:
		}
		break
	}
	for i, r := range g.running {
		if r == nil {
			continue
		}
		r.stopped = true
		r.stop()
		select {
		case <-r.done:
		default:
			late = append(late, g.parts[i].Name)
		}
	}
	g.abandon()
	last := time.NewTimer(grace)
	defer last.Stop()
	for _, r := range g.running {
		if r == nil {
			continue
		}
		select {
		case <-r.done:
		case <-last.C:
			return late
		}
	}
	return late
}

func (g *group) failure(i int) error {
	err := g.running[i].err
	if err == nil {
		err = ErrEnded
	}
	return fmt.Errorf("%s: %w", g.parts[i].Name, err)
}

// firstError returns a failure met while stopping, of the last started first.
func (g *group) firstError() error {
	for i, r := range slices.Backward(g.running) {
		if r == nil {
			continue
		}
		select {
		case <-r.done:
			if r.err != nil && !errors.Is(r.err, context.Canceled) {
				return g.failure(i)
			}
		default:
		}
	}
	return nil
}

// scope is what a part's context knows of the program's stop.
type scope struct{ take, work context.Context }

type scopeKey struct{}

func withScope(take, work context.Context) context.Context {
	return context.WithValue(take, scopeKey{}, scope{take, work})
}

// requestScope lives as long as Work(ctx) and knows of ctx's end.
func requestScope(ctx context.Context) context.Context {
	return context.WithValue(Work(ctx), scopeKey{}, scope{ctx, Work(ctx)})
}

// Work returns the context for work in hand of a part that was given ctx, or of
// a request to a Server: it outlives the order to stop taking, until the drain
// deadline. Outside Run it returns ctx.
func Work(ctx context.Context) context.Context {
	if s, ok := ctx.Value(scopeKey{}).(scope); ok {
		return s.work
	}
	return ctx
}

// Stopping returns a channel that is closed when the part was told to take no
// more. An answer that could go on forever (an event stream) ends on it.
// Outside Run it is ctx's own.
func Stopping(ctx context.Context) <-chan struct{} {
	if s, ok := ctx.Value(scopeKey{}).(scope); ok {
		return s.take.Done()
	}
	return ctx.Done()
}

// Sleep waits for d, or until ctx is done, and reports whether ctx is still alive.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
