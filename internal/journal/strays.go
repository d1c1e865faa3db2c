package journal

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// orphanFor is how long an intent may be on its way to the bus and still come. If
// it comes later, others call it uncertain.
const orphanFor = 15 * time.Minute

// abandon gives up waiting, unless the record came back in the last moment.
func (j *Journal) abandon(kind idempotency.Kind, id string, back <-chan applied, err error) (uint64, idempotency.Effect, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case a := <-back:
		return a.seq, a.effect, nil
	default:
	}
	delete(j.waiters, id)
	if kind == idempotency.Intent {
		now := j.o.Now()
		maps.DeleteFunc(j.orphans, func(_ string, since time.Time) bool { return now.Sub(since) > orphanFor })
		j.orphans[id] = now
	}
	return 0, idempotency.Effect{}, fmt.Errorf("journal: append: %w", err)
}

// settleStrays declares intents not sent that came back after their Append had
// given up, until ctx is done. Nobody else would: others leave this process's
// intents to it until their lease is over, and it leaves its own alone for good.
func (j *Journal) settleStrays(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.stray:
		}
		for _, o := range j.open() {
			d := OutcomeDetail{Time: j.o.Now().UTC()}
			r := idempotency.Record{
				Kind: idempotency.Outcome, Account: o.Account, Intent: o.Seq, Class: "unavailable", Owes: true, // a cancel may have stood
				Runs: []idempotency.Run{{N: uint32(o.Messages), To: idempotency.Free}}, Detail: d.Append(nil),
			}
			if _, _, err := j.Append(ctx, r); err != nil && ctx.Err() == nil {
				j.o.Log.Warn("orphaned intent not settled yet", "intent", o.Seq, "error", err)
				j.astray()
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		}
	}
}

// open returns the strays that still hold messages.
func (j *Journal) open() []idempotency.OpenIntent {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []idempotency.OpenIntent
	for seq := range j.strays {
		if o, open := j.fold.Intent(seq); open && o.Taken > 0 {
			out = append(out, o)
		} else {
			delete(j.strays, seq)
		}
	}
	return out
}

// astray wakes settleStrays.
func (j *Journal) astray() {
	select {
	case j.stray <- struct{}{}:
	default:
	}
}
