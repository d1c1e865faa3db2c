package e2e

import (
	"testing"
	"time"
)

// The consumers are deleted, so that NATS hands out the whole queue again, half
// way through and after the end, to those who sent it and to a new dispatcher: the
// journal knows what was sent, and nothing is sent twice.
func TestFullReplay(t *testing.T) {
	t.Parallel()
	r := up(t, settings{requests: 20, batch: 50}, 2)
	l := newLoad(r.cluster)
	count := few(60, 16)
	var envelopes []map[string]any
	for i := range count {
		envelopes = append(envelopes, campaign(numbers(10_000_000+i*100, 50)))
	}
	l.submit(t, "replay", envelopes...)
	all := count * 50

	r.sim.taken(t, "cloudrebue", all/2, 30*time.Second)
	r.forget(t)
	if got := l.settled(t, 60*time.Second); got["delivered"] != all {
		t.Errorf("%v, want %d delivered", got, all)
	}
	r.forget(t)
	r.replayed(t)
	l.onceEach(t, nil)

	for _, d := range r.dispatchers {
		if code, _ := d.terminate(20 * time.Second); code != 0 {
			t.Errorf("SIGTERM: exit %d", code)
		}
	}
	r.forget(t)
	r.ready(r.launch("dispatcher"))
	r.replayed(t)
	l.onceEach(t, nil)
}

var lanes = []string{"high-demo", "normal-demo", "bulk-demo"}

// forget deletes the dispatchers' consumers.
func (r *running) forget(t *testing.T) {
	t.Helper()
	js := r.publisher(t)
	for _, lane := range lanes {
		if err := js.DeleteConsumer(timeout(t, 5*time.Second), "SMS_QUEUE_cloudrebue-main", lane); err != nil {
			t.Fatal(err)
		}
	}
}

// replayed waits until somebody has made the consumers anew and has dealt with all
// that they brought.
func (r *running) replayed(t *testing.T) {
	t.Helper()
	js := r.publisher(t)
	eventually(t, 30*time.Second, "the queue is read again to its end", func() (bool, string) {
		for _, lane := range lanes {
			c, err := js.Consumer(timeout(t, 5*time.Second), "SMS_QUEUE_cloudrebue-main", lane)
			if err != nil {
				return false, err.Error()
			}
			info := c.CachedInfo()
			if info.NumPending > 0 || info.NumAckPending > 0 || (lane == "normal-demo" && info.AckFloor.Stream == 0) {
				return false, sprint(*info)
			}
		}
		return true, ""
	})
}
