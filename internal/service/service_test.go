package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// diary is what parts did, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, s)
}

func (d *diary) part(name string) Part {
	ready := make(chan struct{})
	return Part{Name: name, Ready: ready, Run: func(ctx context.Context) error {
		d.add("start " + name)
		close(ready)
		<-ctx.Done()
		time.Sleep(time.Second) // synctest: finishing takes its time
		d.add("stop " + name)
		return nil
	}}
}

var errBoom = errors.New("boom")

func TestStopsInReverse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := Run(ctx, time.Minute, d.part("bus"), d.part("dispatch"), d.part("http")); err != nil {
			t.Error(err)
		}
		want := []string{"start bus", "start dispatch", "start http", "stop http", "stop dispatch", "stop bus"}
		if !slices.Equal(d.lines, want) {
			t.Errorf("got %v", d.lines)
		}
	})
}

// What is early does not wait for what others wait for, and stops in its place.
func TestEarlyPartsWaitForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		never := Part{Name: "never ready", Ready: make(chan struct{}), Run: func(ctx context.Context) error { <-ctx.Done(); d.add("stop waiting"); return nil }}
		door := d.part("door")
		door.Early = true
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := Run(ctx, time.Minute, d.part("bus"), never, d.part("hop"), door); err != nil {
			t.Error(err)
		}
		slices.Sort(d.lines[:2]) // they start side by side
		want := []string{"start bus", "start door", "stop door", "stop waiting", "stop bus"}
		if !slices.Equal(d.lines, want) {
			t.Errorf("got %v", d.lines)
		}
	})
}

func TestFirstErrorStopsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		bad := Part{Name: "bad", Run: func(context.Context) error { time.Sleep(time.Second); return errBoom }}
		err := Run(t.Context(), time.Minute, d.part("bus"), bad, d.part("http"))
		if !errors.Is(err, errBoom) || err.Error() != "bad: boom" {
			t.Errorf("got %v", err)
		}
		if want := []string{"start bus", "start http", "stop http", "stop bus"}; !slices.Equal(d.lines, want) {
			t.Errorf("got %v", d.lines)
		}
	})
}

func TestErrorBeforeReadyStartsNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		bad := Part{Name: "bad", Ready: make(chan struct{}), Run: func(context.Context) error { return errBoom }}
		if err := Run(t.Context(), time.Minute, d.part("bus"), bad, d.part("http")); !errors.Is(err, errBoom) {
			t.Errorf("got %v", err)
		}
		if slices.Contains(d.lines, "start http") {
			t.Error("a part was started after one that failed")
		}
	})
}

func TestEndingByItselfIsAFailure(t *testing.T) {
	t.Parallel()
	err := Run(t.Context(), time.Second, Part{Name: "p", Run: func(context.Context) error { return nil }})
	if !errors.Is(err, ErrEnded) {
		t.Errorf("got %v", err)
	}
}

func TestErrorWhileStopping(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	bad := Part{Name: "bad", Run: func(ctx context.Context) error { <-ctx.Done(); return errBoom }}
	honest := Part{Name: "honest", Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	if err := Run(ctx, time.Second, bad, honest); !errors.Is(err, errBoom) {
		t.Errorf("got %v", err)
	}
	if err := Run(ctx, time.Second, honest); err != nil {
		t.Errorf("a cancelled context is how a part is stopped: %v", err)
	}
}

func TestTwoContexts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var aliveAfterStop bool
		var cutAfter time.Duration
		slow := Part{Name: "slow", Run: func(ctx context.Context) error {
			<-Stopping(ctx)
			stopped := time.Now()
			aliveAfterStop = Work(ctx).Err() == nil
			<-Work(ctx).Done()
			cutAfter = time.Since(stopped)
			return nil
		}}
		cancel()
		err := Run(ctx, 10*time.Second, slow)
		if !aliveAfterStop || cutAfter != 10*time.Second {
			t.Errorf("alive %v, cut after %s", aliveAfterStop, cutAfter)
		}
		if err == nil || !strings.Contains(err.Error(), "not finished after 10s: slow") {
			t.Errorf("got %v", err)
		}
	})
}

func TestStuckPartIsLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		stuck := Part{Name: "stuck", Run: func(context.Context) error { <-release; return nil }}
		begin := time.Now()
		err := Run(ctx, time.Second, stuck)
		if err == nil || time.Since(begin) != time.Second+grace {
			t.Errorf("got %v after %s", err, time.Since(begin))
		}
		close(release)
	})
}

func TestOutsideRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	<-Stopping(ctx)
	if Work(ctx) != ctx {
		t.Error("Work made something up")
	}
}
