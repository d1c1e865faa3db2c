package e2e

import (
	"testing"
	"time"
)

// Ingest is killed under load, and its clients repeat their keys until they are
// answered: once the claims of the dead are over, everything is accepted, and
// nothing was accepted twice or under two ids.
func TestKilledIngestAndKeys(t *testing.T) {
	t.Parallel()
	const batch = 50
	r := up(t, settings{batch: batch}, 1)
	l := newLoad(r.cluster)
	var envelopes []map[string]any
	count := few(150, 90)
	all := 0
	for i := range count {
		n := []int{1, batch, 3 * batch}[i%3] // stored at once, or whole
		envelopes = append(envelopes, campaign(numbers(10_000_000+i*1000, n)))
		all += n
	}
	submitted := make(chan struct{})
	go func() {
		defer close(submitted)
		l.submit(t, "killed", envelopes...)
	}()
	eventually(t, 30*time.Second, "a third is accepted", func() (bool, string) {
		n := l.messages()
		return n > all/3, sprint(n)
	})
	r.ingest.kill()
	r.ingest = r.again(r.ingest)
	<-submitted
	if t.Failed() {
		return
	}
	got := l.settled(t, 60*time.Second)
	t.Logf("statuses %v, answers but 202 %v", got, l.refusals)
	if got["delivered"] != all || l.messages() != all || len(l.envelopes) != count {
		t.Errorf("%d envelopes with %d messages accepted, %v; submitted were %d with %d", len(l.envelopes), l.messages(), got, count, all)
	}
	if l.refusals["409"] == 0 {
		t.Error("nobody had a submission under way when ingest was killed: the story proves less than it says")
	}
	l.onceEach(t, nil)
}
