package e2e

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// Ingest is killed under load, and its clients repeat their keys until they are
// answered: once the claims of the dead are over, everything is accepted, and
// nothing was accepted twice or under two ids.
func TestKilledIngestAndKeys(t *testing.T) {
	t.Parallel()
	const batch = 50
	r := up(t, rig.Settings{Batch: batch}, 1)
	l := rig.NewLoad(r.Cluster)
	var envelopes []map[string]any
	count := few(150, 90)
	all := 0
	for i := range count {
		n := []int{1, batch, 3 * batch}[i%3] // stored at once, or whole
		envelopes = append(envelopes, rig.Campaign(rig.Numbers(10_000_000+i*1000, n)))
		all += n
	}
	submitted := make(chan struct{})
	go func() {
		defer close(submitted)
		l.Submit(t, "killed", envelopes...)
	}()
	rig.Eventually(t, 30*time.Second, "a third is accepted", func() (bool, string) {
		n := l.Messages()
		return n > all/3, rig.Sprint(n)
	})
	r.Ingest.Kill()
	r.Ingest = r.Again(r.Ingest)
	<-submitted
	if t.Failed() {
		return
	}
	got := l.Settled(t, 60*time.Second)
	t.Logf("statuses %v, answers but 202 %v", got, l.Refusals)
	if got["delivered"] != all || l.Messages() != all || len(l.Envelopes) != count {
		t.Errorf("%d envelopes with %d messages accepted, %v; submitted were %d with %d", len(l.Envelopes), l.Messages(), got, count, all)
	}
	if l.Refusals["409"] == 0 {
		t.Error("nobody had a submission under way when ingest was killed: the story proves less than it says")
	}
	l.OnceEach(t, nil)
}
