package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dispatch"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/ratelimit"
)

// BenchmarkDrain sends a backlog of single-recipient pieces to a gateway that
// answers at once, with the journal, events and acks on a real server.
func BenchmarkDrain(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) { drain(b, size) })
	}
}

func drain(b *testing.B, size int) {
	r := newBareRig(b, "a")
	n := max(b.N, 1)
	for i := range n {
		data, err := json.Marshal(r.piece(fmt.Sprintf("01M7WGB2FQ7XCZKE%010d", i), i, 1))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.bus.PublishAsync(bus.Out{Subject: bus.QueueSubject("a", string(envelope.Normal), "acme"), Data: data}); err != nil {
			b.Fatal(err)
		}
	}
	for state, err := r.bus.State(b.Context(), bus.QueueStream("a")); state.LastSeq < uint64(n); state, err = r.bus.State(b.Context(), bus.QueueStream("a")) {
		if err != nil {
			b.Fatal(err)
		}
	}
	g := &sink{limits: providers.Limits{MaxBatch: size}, want: int64(n), done: make(chan struct{})}
	slots, err := ratelimit.NewLocal(ratelimit.Options{Account: "a", Limits: []ratelimit.Limit{{Requests: 2000, Per: time.Second}}, MaxLate: 20 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	b.ReportAllocs()
	r.dispatcher("d1", dispatch.Account{
		Name: "a", Type: "fake", Provider: g, Slots: slots, Tenants: []string{"acme"}, BatchSize: size,
		Linger: 20 * time.Millisecond, Concurrency: 64, Timeout: 2 * time.Second, Failures: 5, OpenFor: time.Second,
	})
	<-g.done
	b.StopTimer()
	b.ReportMetric(float64(g.requests.Load()), "requests")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
}

// sink is a gateway that only counts.
type sink struct {
	gateway
	limits         providers.Limits
	sent, requests atomic.Int64
	want           int64
	done           chan struct{}
}

func (s *sink) Limits() providers.Limits { return s.limits }

func (s *sink) Send(_ context.Context, batch *providers.Batch) ([]providers.Result, error) {
	s.requests.Add(1)
	if s.sent.Add(int64(len(batch.Messages))) == s.want {
		close(s.done)
	}
	out := make([]providers.Result, len(batch.Messages))
	for i := range out {
		out[i].Class = providers.Accepted
	}
	return out, nil
}
