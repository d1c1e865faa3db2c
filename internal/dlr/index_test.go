package dlr

import (
	"context"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// filled is an index that knows n intents of the last hour, all of them numbered.
func filled(n int) *index {
	x := newIndex("gw")
	now := time.Now()
	for i := range n {
		x.watch(uint64(i+1), now, &idempotency.Record{Kind: idempotency.Intent, Account: "gw"}, nil)
	}
	x.numbered = uint64(n)
	return x
}

func BenchmarkReportByNumber(b *testing.B) {
	x := filled(1_000_000)
	for b.Loop() {
		if _, err := x.withNumber(context.Background(), "+254700000001", time.Now(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// A batch that cannot be read back whole holds up those after it only for as long
// as a server may lag, not until something else is sent.
func TestNumbersBehindABatchThatIsGone(t *testing.T) {
	t.Parallel()
	x := newIndex("gw")
	at := time.Now()
	for seq := range uint64(2) {
		x.watch(seq+1, at, &idempotency.Record{Kind: idempotency.Intent, Account: "gw"}, nil)
	}
	read := func(_ context.Context, seq uint64) ([]string, bool, error) {
		return []string{"+254700000001"}, seq != 1, nil
	}
	for _, c := range []struct {
		later time.Duration
		want  int
	}{{0, 0}, {settling, 2}} {
		got, err := x.withNumber(t.Context(), "+254700000001", at.Add(c.later), read)
		if err != nil || len(got) != c.want {
			t.Errorf("%s later: %v, %v", c.later, got, err)
		}
	}
}
