package dlr_test

import (
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// threeIDs is an answer that gave each of three messages an id of its own, as
// outcomes tell of it: the first message's result is the rule.
func threeIDs() *journal.OutcomeDetail {
	return &journal.OutcomeDetail{
		Time: time.Now().UTC(), Default: submitted("i0"), Each: map[uint32]journal.MessageResult{1: submitted("i1"), 2: submitted("i2")},
	}
}

// A report that has nothing but the gateway's id means the message that the
// answer gave it to, whether the URL says the batch or not.
func TestReportWithNothingButTheGatewaysID(t *testing.T) {
	t.Parallel()
	for name, urls := range map[string]bool{"by the batch's URL": true, "by the account's": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, setup{provider: &gateway{urls: urls}})
			in := w.intend(w.queue("E", number(1), number(2), number(3)))
			w.tellOutcome(in, 3, idempotency.Closed, threeIDs())
			path := "/dlr/" + account + "/" + secret
			if urls {
				path = w.path(in)
			}
			w.report(path, delivered(providers.Report{ProviderID: "i1"}))
			w.report(path, undelivered(providers.Report{ProviderID: "i0"}))
			w.until(func() bool { return w.counts.of(dlr.Matched) == 2 })
			for id, want := range map[string]string{"E-0": "undelivered", "E-1": "delivered", "E-2": "submitted"} {
				if now, _ := w.statuses.Current(id); string(now) != want {
					t.Errorf("%s is %s, want %s", id, now, want)
				}
			}
			if urls {
				w.report(path, delivered(providers.Report{ProviderID: "nobody's"}))
				w.until(func() bool { return w.counts.of(dlr.Quarantined) == 1 })
			}
		})
	}
}

// Nobody can tell whose the id is before the answer that gave it is recorded.
func TestReportWithTheGatewaysIDBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1), number(2), number(3)))
	w.report(w.path(in), delivered(providers.Report{ProviderID: "i2"}))
	w.until(func() bool { return w.stored("SMS_CALLBACKS") == 1 })
	w.tellOutcome(in, 3, idempotency.Closed, threeIDs())
	w.wantTold("submitted E-0", "submitted E-1", "submitted E-2", "delivered E-2")
}
