package dlr

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// A batch says of its messages what was read, however little of it is kept.
func TestBatchIsItsMembers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "messages")
		word := rapid.SampledFrom([]string{"", "a", "b"})
		members := make([]journal.Member, n)
		seen := map[string]bool{}
		for i := range members {
			m := &members[i]
			env, index := "E"+word.Draw(t, "envelope"), rapid.IntRange(0, 60).Draw(t, "index")
			if m.ID = envelope.MessageID(env, index); seen[m.ID] || rapid.IntRange(0, 9).Draw(t, "gone") == 0 {
				members[i] = journal.Member{}
				continue
			}
			seen[m.ID] = true
			m.EnvelopeID, m.To, m.Tenant, m.Found = env, fmt.Sprintf("+2547%08d", rapid.IntRange(0, 9).Draw(t, "to")), "t"+word.Draw(t, "tenant"), true
			m.Ref, m.Traceparent, m.ReplayOf = word.Draw(t, "ref"), word.Draw(t, "trace"), word.Draw(t, "replay")
			m.Segments, m.Attempts = rapid.IntRange(0, 300).Draw(t, "segments"), rapid.IntRange(0, 2).Draw(t, "attempts")
		}
		spans := []idempotency.Span{{Stream: "S", Seq: 7, Run: uint32(n / 2)}, {Stream: "S", Seq: 99, First: 3, End: uint32(3 + n - n/2)}}
		if n < 4 {
			spans = []idempotency.Span{{Stream: "S", Seq: 99, First: 3, End: uint32(3 + n)}}
		}
		b := newBatch(1, time.Time{}, &idempotency.Record{Spans: spans}, members)
		whole, pos := true, 0
		for _, s := range spans {
			for at := range s.Len() {
				if got := b.placed(pos); got != (idempotency.PlacedKey{Key: s.Key(at), At: s.Place(at)}) {
					t.Fatalf("message %d is %v", pos, got)
				}
				pos++
			}
		}
		for i, m := range members {
			if whole = whole && m.Found; b.found(i) != m.Found {
				t.Fatalf("message %d found: %v", i, b.found(i))
			}
			if !m.Found {
				continue
			}
			if diff := cmp.Diff(m.EventMessage, b.message(i)); diff != "" || b.tenant(i) != m.Tenant || b.to(i) != m.To {
				t.Fatalf("message %d, tenant %s: %s", i, b.tenant(i), diff)
			}
			if at, ok := b.withID(m.ID); !ok || at != i {
				t.Fatalf("%s is at %d, not %d", m.ID, at, i)
			}
		}
		for i := range 10 {
			number := fmt.Sprintf("+2547%08d", i)
			var want []uint16
			for pos, m := range members {
				if m.To == number {
					want = append(want, uint16(pos))
				}
			}
			got := slices.Sorted(slices.Values(b.withNumber(number)))
			if !slices.Equal(got, want) || slices.Contains(b.numbers(), number) != (len(want) > 0) {
				t.Fatalf("%s is of %v, not %v", number, got, want)
			}
		}
		for _, id := range []string{"", "E-61", "F-0", "E", "E-01"} {
			if pos, ok := b.withID(id); ok {
				t.Fatalf("%q is at %d", id, pos)
			}
		}
		if b.whole != whole {
			t.Fatalf("whole: %v", b.whole)
		}
	})
}

// What batches at hand may take is about what they do take, of single messages
// and of large envelopes.
func TestBatchesAtHandAreBounded(t *testing.T) {
	for name, each := range map[string]int{"single messages": 1, "one envelope": 100} {
		t.Run(name, func(t *testing.T) {
			const capacity = 4 << 20
			c := newBatches(nil, capacity)
			before := heap()
			messages := 0
			for seq := range uint64(1000) {
				var members []journal.Member
				for i := range 100 {
					m := journal.Member{Tenant: "acme", Found: true}
					m.EnvelopeID = fmt.Sprintf("01M7WGB2FQ%06d%010d", seq, i/each)
					m.ID, m.To = envelope.MessageID(m.EnvelopeID, i%each), fmt.Sprintf("+2547%08d", i)
					m.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-" + m.EnvelopeID[:16] + "-01"
					members = append(members, m)
				}
				b := newBatch(seq, time.Time{}, &idempotency.Record{Spans: []idempotency.Span{{Stream: "S", Seq: seq, Run: 100}}}, members)
				b.withID(members[0].ID)
				b.withNumber(members[0].To)
				c.keep(b)
				if c.size > capacity {
					t.Fatalf("%d bytes", c.size)
				}
			}
			for _, e := range c.bySeq {
				messages += len(e.Value.(*batch).members)
			}
			took := int(heap() - before)
			t.Logf("%d messages in %d KiB, counted as %d", messages, took>>10, c.size>>10)
			if took > capacity*5/4 || c.size < capacity/2 {
				t.Errorf("%d bytes taken, %d counted, of %d", took, c.size, capacity)
			}
			if c.kept(999) == nil || c.kept(0) != nil {
				t.Error("it is not the last ones that are kept")
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
