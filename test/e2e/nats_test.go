package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// The NATS server is restarted under load, once asked to stop and once killed:
// who submits meanwhile is told so, and nothing accepted is lost or sent twice.
func TestNATSRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	const limit = 20
	r := up(t, rig.Settings{Requests: limit, Batch: 20}, 2)
	r.Sim.Faults(t, `[{"kind": "latency", "delay": "50ms", "jitter": "100ms"}]`)
	publisher := r.Publisher()
	l := rig.NewLoad(r.Cluster)
	stopSubmitting := l.Trickle(t, "nats", 10_000_000)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		r.Sim.Taken(t, "cloudrebue", r.Sim.Summary(t, "cloudrebue").AcceptedMessages+few(500, 100), 30*time.Second)
		rig.Stop(r.NATSServer, sig)
		code, body, err := r.Request(http.MethodPost, "/v1/messages", nil, rig.Encode(t, rig.Single("+254733000000")), nil)
		if err != nil || code != http.StatusServiceUnavailable {
			t.Errorf("without NATS a submission gets %d %s %v, want 503", code, body, err)
		}
		if _, err := publisher.Publish(rig.Timeout(t, 3*time.Second), "sms.submit.demo.high", []byte(rig.Encode(t, rig.Single("+254733000001")))); err == nil {
			t.Error("without NATS a publisher is not told")
		}
		for _, n := range append(r.Dispatchers, r.Ingest, r.Collector) {
			rig.Eventually(t, 5*time.Second, n.Name+" not ready without NATS", func() (bool, string) {
				code, h := n.Readyz()
				return code == http.StatusServiceUnavailable, rig.Sprint(h)
			})
		}
		r.StartNATS()
		r.Ready(append(r.Dispatchers, r.Ingest, r.Collector)...)
	}
	r.Sim.Taken(t, "cloudrebue", r.Sim.Summary(t, "cloudrebue").AcceptedMessages+few(500, 100), 30*time.Second)
	stopSubmitting()
	got := l.Settled(t, 60*time.Second)
	t.Logf("statuses %v, answers but 202 %v, gateway %+v", got, l.Refusals, r.Sim.Summary(t, "cloudrebue"))
	if all := l.Messages(); got["delivered"] != all {
		t.Errorf("%v, want %d delivered", got, all)
	}
	l.OnceEach(t, nil)
	r.Sim.Within(t, "cloudrebue", limit)
}
