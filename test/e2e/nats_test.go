package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The NATS server is restarted under load, once asked to stop and once killed:
// who submits meanwhile is told so, and nothing accepted is lost or sent twice.
func TestNATSRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	const limit = 20
	r := up(t, settings{requests: limit, batch: 20}, 2)
	r.sim.faults(t, `[{"kind": "latency", "delay": "50ms", "jitter": "100ms"}]`)
	publisher := r.publisher(t)
	l := newLoad(r.cluster)
	stopSubmitting := l.trickle(t, "nats", 10_000_000)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		r.sim.taken(t, "cloudrebue", r.sim.summary(t, "cloudrebue").AcceptedMessages+few(500, 100), 30*time.Second)
		stop(r.nats, sig)
		code, body, err := r.request(http.MethodPost, "/v1/messages", nil, encode(t, single("+254733000000")), nil)
		if err != nil || code != http.StatusServiceUnavailable {
			t.Errorf("without NATS a submission gets %d %s %v, want 503", code, body, err)
		}
		if _, err := publisher.Publish(timeout(t, 3*time.Second), "sms.submit.demo.high", []byte(encode(t, single("+254733000001")))); err == nil {
			t.Error("without NATS a publisher is not told")
		}
		for _, n := range append(r.dispatchers, r.ingest, r.collector) {
			eventually(t, 5*time.Second, n.name+" not ready without NATS", func() (bool, string) {
				code, h := n.readyz()
				return code == http.StatusServiceUnavailable, sprint(h)
			})
		}
		r.startNATS()
		r.ready(append(r.dispatchers, r.ingest, r.collector)...)
	}
	r.sim.taken(t, "cloudrebue", r.sim.summary(t, "cloudrebue").AcceptedMessages+few(500, 100), 30*time.Second)
	stopSubmitting()
	got := l.settled(t, 60*time.Second)
	t.Logf("statuses %v, answers but 202 %v, gateway %+v", got, l.refusals, r.sim.summary(t, "cloudrebue"))
	if all := l.messages(); got["delivered"] != all {
		t.Errorf("%v, want %d delivered", got, all)
	}
	l.onceEach(t, nil)
	r.sim.within(t, "cloudrebue", limit)
}

// publisher is a NATS client that is none of ours.
func (c *cluster) publisher(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("nats://"+c.natsAddr, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
