package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
)

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func publish(t *testing.T, b *bus.Bus, n int) {
	t.Helper()
	for i := range n {
		if _, err := b.Publish(t.Context(), bus.Out{Subject: bus.QueueSubject("a", "bulk", "acme"), Data: []byte(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPublishOnceInsideTheWindow(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, []string{"acme"}, []string{"a"})
	o := bus.Out{Subject: bus.QueueSubject("a", "high", "acme"), Data: []byte("x"), MsgID: "id", Header: bus.Header{"traceparent": {"t"}}}
	first, err := b.Publish(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Publish(within(t), o)
	if err != nil || !again.Duplicate || again.Seq != first.Seq {
		t.Fatalf("again = %+v, %v; want a duplicate of %d", again, err, first.Seq)
	}
	m, err := b.Get(within(t), bus.QueueStream("a"), first.Seq)
	if err != nil || m.Get("traceparent") != "t" {
		t.Fatalf("Get = %+v, %v", m, err)
	}
	if _, err := b.Get(within(t), bus.QueueStream("a"), 99); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("Get of nothing = %v; want ErrNotFound", err)
	}
}

func TestConsumersShareAndNackedComesAgain(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	publish(t, b, 10)
	spec := bus.Consumer{Stream: bus.QueueStream("a"), Name: "bulk", Filters: []string{"sms.queue.a.bulk.>"}}
	ctx := within(t)
	p, err := b.Pull(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	seen := map[uint64]int{}
	for range 11 {
		m, err := p.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if seen[m.Seq]++; m.Seq == 3 && seen[3] == 1 {
			err = m.Nak(10 * time.Millisecond)
		} else {
			err = m.Ack()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 10 || seen[3] != 2 {
		t.Fatalf("seen = %v", seen)
	}
}

// What a reader has fetched and not read must not wait for its ack wait when the
// reader stops: a queue of 300 would stand still for that time.
func TestStopGivesBackWhatWasNotRead(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	const n = 300
	publish(t, b, n)
	spec := bus.Consumer{Stream: bus.QueueStream("a"), Name: "bulk", Filters: []string{"sms.queue.a.bulk.>"}, AckWait: time.Minute}
	ctx := within(t)
	seen := map[uint64]bool{}
	for range 3 {
		p, err := b.Pull(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		for range n / 3 {
			m, err := p.Next(ctx)
			if err != nil {
				t.Fatalf("after %d: %v", len(seen), err)
			}
			if seen[m.Seq] {
				t.Errorf("%d comes again after its ack", m.Seq)
			}
			seen[m.Seq] = true
			if err := m.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		p.Stop()
	}
}

// The server remarks on each request that has a byte bound. Remarks must not take
// the room of messages: what is dropped comes again after a whole ack wait.
func TestSlowReaderMissesNothing(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	const n = 3000
	publish(t, b, n)
	ctx := within(t)
	p, err := b.Pull(ctx, bus.Consumer{
		Stream: bus.QueueStream("a"), Name: "bulk", Filters: []string{"sms.queue.a.bulk.>"}, AckWait: time.Minute, Prefetch: 20, PrefetchBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	for i := range uint64(n) {
		if i%7 == 0 {
			time.Sleep(200 * time.Microsecond) // a slow reader is what it is about
		}
		m, err := p.Next(ctx)
		if err != nil || m.Seq != i+1 {
			t.Fatalf("message %d: %+v, %v", i+1, m, err)
		}
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestScheduleIsNeverEarlyAndCanBeCancelled(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, nil)
	ctx := within(t)
	at := time.Now().Add(1200 * time.Millisecond)
	for _, id := range []string{"keep", "drop"} {
		o := bus.Out{Subject: bus.DueSubmitSubject("acme", "high"), Data: []byte(id), SchedID: id, At: at, Header: bus.Header{"traceparent": {"t"}}}
		if _, err := b.Publish(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.CancelSchedule(ctx, bus.DelaySubmit, "drop", at); err != nil {
		t.Fatal(err)
	}
	p, err := b.Pull(ctx, bus.Consumer{Stream: bus.DelayStream, Name: "due", Filters: []string{"sms.due.submit.>"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	m, err := p.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if early := time.Until(at); early > 0 || string(m.Data) != "keep" || m.Get("traceparent") != "t" {
		t.Fatalf("got %q %v early, headers %v", m.Data, early, m.Header)
	}
}

func TestTailFollowsAndTellsWhenItHasCaughtUp(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	publish(t, b, 5)
	ctx, stop := context.WithCancel(within(t))
	caught, all := make(chan int64, 1), make(chan struct{})
	var n atomic.Int64
	ended := make(chan error, 1)
	go func() {
		ended <- b.Tail(ctx, bus.Tail{Stream: bus.QueueStream("a"), From: 2}, func(*bus.Msg) {
			if n.Add(1) == 7 {
				close(all)
			}
		}, func() { caught <- n.Load() })
	}()
	if got := <-caught; got != 4 {
		t.Fatalf("caught up after %d messages, want 4", got)
	}
	publish(t, b, 3)
	<-all
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// remarked returns a bus with one message in a queue, and three that look like words of
// the server's, as whoever may publish can make them.
func remarked(t *testing.T) *bus.Bus {
	t.Helper()
	b := natstest.Start(t, nil, []string{"a"})
	publish(t, b, 1)
	for _, h := range []bus.Header{{"Status": {"409"}, "Description": {"Consumer Deleted"}}, {"Status": {"100"}, "Description": {"Idle Heartbeat"}}, {"Status": {"404"}}} {
		if _, err := b.Publish(t.Context(), bus.Out{Subject: bus.QueueSubject("a", "normal", "acme"), Header: h}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestGetPassesOverRemarks(t *testing.T) {
	t.Parallel()
	b := remarked(t)
	for seq := range uint64(4) {
		if m, err := b.Get(t.Context(), bus.QueueStream("a"), seq+1); err != nil || m.Seq != seq+1 {
			t.Errorf("get %d: %+v, %v", seq+1, m, err)
		}
	}
	if _, err := b.Get(t.Context(), bus.QueueStream("a"), 5); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("get 5: %v", err)
	}
}

// A tail hands them over like any other, once it has found that its stream reaches
// further than what came. That takes seconds: the tails stand side by side.
func TestTailPassesOverRemarks(t *testing.T) {
	t.Parallel()
	for _, from := range []uint64{0, 2} {
		t.Run(fmt.Sprint("from ", from), func(t *testing.T) {
			t.Parallel()
			b := remarked(t)
			ctx, stop := context.WithCancel(within(t))
			defer stop()
			var seqs []uint64
			last := uint64(4)
			err := b.Tail(ctx, bus.Tail{Stream: bus.QueueStream("a"), From: from}, func(m *bus.Msg) {
				if seqs = append(seqs, m.Seq); m.Seq == last {
					stop()
				}
			}, nil)
			if want := []uint64{1, 2, 3, 4}[max(from, 1)-1:]; !errors.Is(err, context.Canceled) || !slices.Equal(seqs, want) {
				t.Errorf("%v, %v; want %v", seqs, err, want)
			}
		})
	}
	t.Run("and goes on", func(t *testing.T) {
		t.Parallel()
		b := remarked(t)
		publish(t, b, 2) // what comes after them is not kept back
		ctx, stop := context.WithCancel(within(t))
		defer stop()
		n := 0
		if err := b.Tail(ctx, bus.Tail{Stream: bus.QueueStream("a")}, func(*bus.Msg) { n++ }, stop); !errors.Is(err, context.Canceled) || n != 6 {
			t.Errorf("%d messages, %v", n, err)
		}
	})
}

func TestTailOfAnEmptyStreamIsCaughtUpAtOnce(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	ctx, stop := context.WithCancel(within(t))
	_ = b.Tail(ctx, bus.Tail{Stream: bus.QueueStream("a")}, func(*bus.Msg) {}, stop)
	if ctx.Err() != context.Canceled {
		t.Fatal("never told that it had caught up")
	}
}

func TestRangeReadsARunInOrder(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	publish(t, b, 20)
	if err := b.Delete(within(t), bus.QueueStream("a"), 7); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	if err := b.Range(within(t), bus.QueueStream("a"), 5, 4, func(m *bus.Msg) { got = append(got, m.Seq) }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != "[5 6 8 9]" {
		t.Fatalf("got %v", got)
	}
}

func TestContentsAreThoseOfTheSequences(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, []string{"a"})
	publish(t, b, 19)
	if _, err := b.Publish(within(t), bus.Out{Subject: bus.QueueSubject("a", "bulk", "acme"), MsgID: "id", Header: bus.Header{"traceparent": {"t"}}, Data: []byte("19")}); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(within(t), bus.QueueStream("a"), 7); err != nil {
		t.Fatal(err)
	}
	read := func(from uint64, n int, by func(context.Context, string, uint64, int, func(*bus.Msg)) error) (got []string) {
		if err := by(within(t), bus.QueueStream("a"), from, n, func(m *bus.Msg) {
			got = append(got, fmt.Sprintf("%s %d %d %s", m.Stream, m.Epoch, m.Seq, m.Data))
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for name, c := range map[string]struct {
		from   uint64
		n, all int
	}{
		"a run":               {8, 5, 5},
		"one":                 {20, 1, 1},
		"across what is gone": {5, 4, 4},
		"from what is gone":   {7, 2, 2},
		"beyond the end":      {18, 10, 3},
		"nothing there":       {21, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := read(c.from, c.n, b.Range), read(c.from, c.n, b.Contents)
			if diff := cmp.Diff(want, got); diff != "" || len(got) != c.all {
				t.Fatalf("%d of %d read: %s", len(got), c.all, diff)
			}
		})
	}
}

func TestPublishFailsAtOnceWithoutServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := embedded.Start(t.Context(), embedded.Options{Listen: "127.0.0.1:0", StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := natstest.Connect(t, s, nil, []string{"a"})
	s.Stop()
	for b.Connected() {
		time.Sleep(time.Millisecond)
	}
	if _, err := b.Publish(within(t), bus.Out{Subject: "sms.queue.a.bulk.x"}); !errors.Is(err, bus.ErrUnavailable) {
		t.Fatalf("err = %v; want ErrUnavailable", err)
	}
}

func TestEmbeddedSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := natstest.Server(t)
	addr := s.Addr().String()
	if _, err := embedded.Start(t.Context(), embedded.Options{Listen: addr, StoreDir: t.TempDir()}); err == nil {
		t.Fatal("started twice on " + addr)
	}
	if _, err := embedded.Start(t.Context(), embedded.Options{StoreDir: "/proc/nowhere"}); err == nil {
		t.Fatal("started without a store")
	}
}
