package idempotency_test

import (
	"fmt"

	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// Two dispatchers hold the same three messages. The journal's order decides who
// sends; the one that dies leaves them unsettled, and one is sent once more.
func ExampleFold() {
	journal := []idempotency.Record{
		{Kind: idempotency.Intent, Account: "acme", Owner: "one", Spans: []idempotency.Span{{Stream: "SMS_QUEUE_ACME", Seq: 40, Run: 3}}},
		{Kind: idempotency.Intent, Account: "acme", Owner: "two", Spans: []idempotency.Span{{Stream: "SMS_QUEUE_ACME", Seq: 41, Run: 3}}},
		// "one" is not heard of again; whoever waits for its messages says so.
		{Kind: idempotency.Outcome, Owner: "two", Intent: 1, Runs: []idempotency.Run{{N: 3, To: idempotency.Unsettled}}},
		{Kind: idempotency.Release, Owner: "two", Intent: 1, Spans: []idempotency.Span{{Stream: "SMS_QUEUE_ACME", Seq: 42}}},
		{Kind: idempotency.Intent, Account: "acme", Owner: "two", Spans: []idempotency.Span{{Stream: "SMS_QUEUE_ACME", Seq: 42}}},
	}
	fold := idempotency.NewFold()
	for i, r := range journal {
		effect := fold.Apply(uint64(i+1), r)
		fmt.Println(r.Kind, "acted on", effect.Acted, "lost", effect.Lost)
	}
	fmt.Println(fold.Taken(), "taken", fold.Unsettled(), "unsettled")
	// Output:
	// intent acted on 3 lost []
	// intent acted on 1 lost [0 1]
	// outcome acted on 3 lost []
	// release acted on 1 lost []
	// intent acted on 1 lost []
	// 2 taken 2 unsettled
}

// A cancel that finds a message taken stands for when it comes back.
func ExampleFold_cancel() {
	spans := []idempotency.Span{{Stream: "SMS_QUEUE_ACME", Seq: 7, End: 2}}
	fold := idempotency.NewFold()
	fold.Apply(1, idempotency.Record{Kind: idempotency.Intent, Account: "acme", Spans: spans})
	fmt.Println(fold.Apply(2, idempotency.Record{Kind: idempotency.Close, Reason: "canceled", Spans: spans}).Lost)
	effect := fold.Apply(3, idempotency.Record{Kind: idempotency.Outcome, Intent: 1, Runs: []idempotency.Run{
		{N: 1, To: idempotency.Closed}, {N: 1, To: idempotency.Free},
	}})
	fmt.Println(effect.Freed, effect.Reasons)
	// Output:
	// [0 1]
	// [1] [canceled]
}

func ExampleSpans() {
	key := func(seq uint64, index uint32) idempotency.PlacedKey {
		return idempotency.PlacedKey{Key: idempotency.Key{Stream: "SMS_QUEUE_ACME", Seq: seq, Index: index}}
	}
	for _, s := range idempotency.Spans([]idempotency.PlacedKey{key(5, 0), key(6, 0), key(7, 0), key(9, 100), key(9, 101)}) {
		fmt.Println(s.Len(), "from", s.Key(0).Seq, s.Key(0).Index)
	}
	// Output:
	// 3 from 5 0
	// 2 from 9 100
}

func ExampleAppendRuns() {
	fmt.Println(idempotency.AppendRuns([]idempotency.State{idempotency.Closed, idempotency.Closed, idempotency.Free}))
	// Output: [{2 3} {1 0}]
}
