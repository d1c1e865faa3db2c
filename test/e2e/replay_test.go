package e2e

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// The consumers are deleted, so that NATS hands out the whole queue again, half
// way through and after the end, to those who sent it and to a new dispatcher: the
// journal knows what was sent, and nothing is sent twice.
func TestFullReplay(t *testing.T) {
	t.Parallel()
	r := up(t, rig.Settings{Requests: 20, Batch: 50}, 2)
	l := rig.NewLoad(r.Cluster)
	count := few(60, 16)
	var envelopes []map[string]any
	for i := range count {
		envelopes = append(envelopes, rig.Campaign(rig.Numbers(10_000_000+i*100, 50)))
	}
	l.Submit(t, "replay", envelopes...)
	all := count * 50

	r.Sim.Taken(t, "cloudrebue", all/2, 30*time.Second)
	r.forget(t)
	if got := l.Settled(t, 60*time.Second); got["delivered"] != all {
		t.Errorf("%v, want %d delivered", got, all)
	}
	r.forget(t)
	r.replayed(t)
	l.OnceEach(t, nil)

	for _, d := range r.Dispatchers {
		if code, _ := d.Terminate(20 * time.Second); code != 0 {
			t.Errorf("SIGTERM: exit %d", code)
		}
	}
	r.forget(t)
	r.Ready(r.Launch("dispatcher"))
	r.replayed(t)
	l.OnceEach(t, nil)
}

var lanes = []string{"high-demo", "normal-demo", "bulk-demo"}

// forget deletes the dispatchers' consumers.
func (r running) forget(t *testing.T) {
	t.Helper()
	js := r.Publisher()
	for _, lane := range lanes {
		if err := js.DeleteConsumer(rig.Timeout(t, 5*time.Second), "SMS_QUEUE_cloudrebue-main", lane); err != nil {
			t.Fatal(err)
		}
	}
}

// replayed waits until somebody has made the consumers anew and has dealt with all
// that they brought.
func (r running) replayed(t *testing.T) {
	t.Helper()
	js := r.Publisher()
	rig.Eventually(t, 30*time.Second, "the queue is read again to its end", func() (bool, string) {
		for _, lane := range lanes {
			c, err := js.Consumer(rig.Timeout(t, 5*time.Second), "SMS_QUEUE_cloudrebue-main", lane)
			if err != nil {
				return false, err.Error()
			}
			info := c.CachedInfo()
			if info.NumPending > 0 || info.NumAckPending > 0 || (lane == "normal-demo" && info.AckFloor.Stream == 0) {
				return false, rig.Sprint(*info)
			}
		}
		return true, ""
	})
}
