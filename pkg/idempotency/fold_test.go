package idempotency

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// journal applies records one after the other and returns the last one's effect.
func journal(f *Fold, records ...Record) (e Effect) {
	for _, r := range records {
		e = f.Apply(f.Last()+1, r)
	}
	return e
}

func singles(seq uint64, run uint32) []Span { return []Span{{Stream: "Q", Seq: seq, Run: run}} }

func say(runs ...Run) Record { return Record{Kind: Outcome, Intent: 1, Runs: runs} }

func stateOf(f *Fold, seq uint64) MessageState { return f.State(Key{Stream: "Q", Seq: seq}) }

func wantEffect(t *testing.T, got, want Effect) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("effect (-want +got):\n%s", diff)
	}
}

func wantState(t *testing.T, f *Fold, seq uint64, want MessageState) {
	t.Helper()
	if got := stateOf(f, seq); got != want {
		t.Errorf("message %d: %+v, want %+v", seq, got, want)
	}
}

func TestFirstIntentWins(t *testing.T) {
	t.Parallel()
	f := NewFold()
	wantEffect(t, journal(f, Record{Kind: Intent, Account: "a", Owner: "x", LeaseMillis: 1500, Spans: singles(1, 3)}), Effect{Acted: 3})
	wantEffect(t, journal(f, Record{Kind: Intent, Account: "b", Spans: singles(2, 4)}), Effect{Acted: 2, Lost: []uint32{0, 1}})
	wantEffect(t, journal(f, Record{Kind: Intent, Account: "b", Spans: singles(1, 5)}), Effect{Lost: []uint32{0, 1, 2, 3, 4}})
	if _, ok := f.Intent(3); ok {
		t.Error("an intent that won nothing is open")
	}
	in, _ := f.Intent(1)
	want := OpenIntent{Seq: 1, Account: "a", Owner: "x", Lease: 1500 * time.Millisecond, Spans: singles(1, 3), Messages: 3, Taken: 3}
	if diff := cmp.Diff(want, in); diff != "" {
		t.Error(diff)
	}
}

func TestPausedAccountWinsNothing(t *testing.T) {
	t.Parallel()
	f := NewFold()
	e := journal(f, Record{Kind: Mode, Account: "a", Paused: true}, Record{Kind: Intent, Account: "a", Spans: singles(1, 2)})
	wantEffect(t, e, Effect{Lost: []uint32{0, 1}})
	wantEffect(t, journal(f, Record{Kind: Intent, Account: "b", Spans: singles(1, 2)}), Effect{Acted: 2})
	wantEffect(t, journal(f, Record{Kind: Mode, Account: "a"}, Record{Kind: Intent, Account: "a", Spans: singles(3, 2)}), Effect{Acted: 2})
}

// TestLateOutcome: others gave the owner up, and then it did have an answer.
func TestLateOutcome(t *testing.T) {
	t.Parallel()
	f := NewFold()
	journal(f, Record{Kind: Intent, Account: "a", Spans: singles(1, 3)}, say(Run{3, Unsettled}))
	if f.UnsettledBy("a") != 3 || f.Taken() != 0 {
		t.Errorf("unsettled %d, taken %d", f.UnsettledBy("a"), f.Taken())
	}
	wantEffect(t, journal(f, say(Run{1, Closed}, Run{1, Free}, Run{1, Unsettled})), Effect{Acted: 1, Lost: []uint32{1, 2}})
	wantState(t, f, 1, MessageState{State: Closed})
	wantState(t, f, 2, MessageState{State: Unsettled, Intent: 1})
	if in, ok := f.Intent(1); !ok || in.Taken != 0 || in.Unsettled != 2 {
		t.Errorf("intent %+v, %v", in, ok)
	}
	f.Open(func(o OpenIntent) bool { t.Errorf("open: %+v", o); return false })
}

// TestOneRelease: a message is released once, and what another intent has taken
// since is nothing to its first intent's outcome.
func TestOneRelease(t *testing.T) {
	t.Parallel()
	f := NewFold()
	release := func(intent uint64) Record { return Record{Kind: Release, Intent: intent, Spans: singles(1, 1)} }
	journal(f, Record{Kind: Intent, Account: "a", Spans: singles(1, 1)}, say(Run{1, Unsettled}))
	wantEffect(t, journal(f, release(1)), Effect{Acted: 1})
	wantState(t, f, 1, MessageState{Released: true})
	again := f.Last() + 1
	wantEffect(t, journal(f, Record{Kind: Intent, Account: "a", Spans: singles(1, 1)}), Effect{Acted: 1})
	wantEffect(t, journal(f, say(Run{1, Free})), Effect{})
	wantState(t, f, 1, MessageState{State: Taken, Intent: again, Released: true})
	wantEffect(t, journal(f, Record{Kind: Outcome, Intent: again, Runs: []Run{{1, Unsettled}}}, release(again)), Effect{Lost: []uint32{0}})
	wantState(t, f, 1, MessageState{State: Unsettled, Intent: again, Released: true})
}

func TestCloseStandsUntilFreed(t *testing.T) {
	t.Parallel()
	f := NewFold()
	shut := func(reason string) Record { return Record{Kind: Close, Reason: reason, Spans: singles(1, 4)} }
	journal(f, Record{Kind: Intent, Account: "a", Spans: singles(1, 3)})
	wantEffect(t, journal(f, shut("canceled")), Effect{Acted: 1, Lost: []uint32{0, 1, 2}})
	journal(f, shut("expired"))
	wantState(t, f, 1, MessageState{State: Taken, Intent: 1, CloseStands: "canceled"})
	wantEffect(t, journal(f, say(Run{1, Free}, Run{1, Closed}, Run{1, Unsettled})), Effect{Acted: 3, Freed: []uint32{0}, Reasons: []string{"canceled"}})
	wantState(t, f, 1, MessageState{State: Closed})
	wantState(t, f, 3, MessageState{State: Unsettled, Intent: 1, CloseStands: "canceled"})
	wantEffect(t, journal(f, Record{Kind: Release, Intent: 1, Spans: singles(3, 1)}), Effect{Acted: 1, Freed: []uint32{0}, Reasons: []string{"canceled"}})
	wantState(t, f, 3, MessageState{State: Closed})
}

// What may have been sent is never called expired: not while it is taken or
// uncertain, and not when it is free for its second try.
func TestExpiredActsOnWhatWasNeverUncertain(t *testing.T) {
	t.Parallel()
	f := NewFold()
	over := Record{Kind: Close, Reason: "expired", Spans: singles(1, 2)}
	journal(f, Record{Kind: Intent, Account: "a", Spans: singles(1, 2)})
	wantEffect(t, journal(f, over), Effect{Lost: []uint32{0, 1}})
	journal(f, say(Run{1, Unsettled}, Run{1, Free}))
	wantState(t, f, 2, MessageState{State: Free})
	wantEffect(t, journal(f, over), Effect{Acted: 1, Lost: []uint32{0}})
	journal(f, Record{Kind: Release, Intent: 1, Spans: singles(1, 1)})
	wantEffect(t, journal(f, over), Effect{Lost: []uint32{0, 1}})
	wantState(t, f, 1, MessageState{State: Free, Released: true})
}

// A report on the first attempt settles a message whose second is uncertain.
func TestReportedClosesWhatIsUncertain(t *testing.T) {
	t.Parallel()
	f := NewFold()
	journal(f, Record{Kind: Intent, Account: "a", Spans: singles(1, 3)})
	journal(f, say(Run{2, Unsettled}))
	wantEffect(t, journal(f, Record{Kind: Close, Reason: "reported", Spans: singles(1, 3)}), Effect{Acted: 2, Lost: []uint32{2}})
	wantState(t, f, 1, MessageState{State: Closed})
	wantState(t, f, 3, MessageState{State: Taken, Intent: 1, CloseStands: "reported"})
	if f.Unsettled() != 0 || f.UnsettledBy("a") != 0 || f.Taken() != 1 {
		t.Errorf("%d uncertain, %d taken", f.Unsettled(), f.Taken())
	}
	journal(f, say(Run{2, Closed}, Run{1, Free}))
	if _, known := f.Intent(1); known {
		t.Error("an intent that holds nothing is kept")
	}
}

func TestNewestSubmissionOfAKeyStays(t *testing.T) {
	t.Parallel()
	f := NewFold()
	submit := func(id string, at int64, seq uint64) Record {
		return Record{Kind: Supersede, SupersedeKey: "k", ID: id, At: at, Spans: []Span{{Stream: "Q", Seq: seq, End: 3}}}
	}
	wantEffect(t, journal(f, submit("b", 10, 1)), Effect{})
	taken := []Span{{Stream: "Q", Seq: 1, First: 1}}
	journal(f, Record{Kind: Intent, Account: "a", Spans: taken})
	wantEffect(t, journal(f, submit("a", 10, 2)), Effect{Acted: 3, Superseded: []Span{{Stream: "Q", Seq: 2, End: 3}}, SupersededID: "a"})
	wantEffect(t, journal(f, submit("b", 11, 1)), Effect{})
	wantEffect(t, journal(f, submit("c", 11, 3)), Effect{Acted: 2, Superseded: []Span{{Stream: "Q", Seq: 1}, {Stream: "Q", Seq: 1, First: 2}}, SupersededID: "b"})
	wantEffect(t, journal(f, Record{Kind: Outcome, Intent: 2, Runs: []Run{{1, Free}}}), Effect{Acted: 1, Freed: []uint32{0}, Reasons: []string{"superseded"}})
	wantState(t, f, 3, MessageState{})
}

func TestSupersedeKeysPass(t *testing.T) {
	t.Parallel()
	f := NewFold()
	at := func(d time.Duration) int64 { return int64(1e18) + int64(d) }
	submit := func(key string, d, until time.Duration) {
		r := Record{Kind: Supersede, SupersedeKey: key, ID: key, At: at(d)}
		if until > 0 {
			r.Until = at(until)
		}
		journal(f, r)
	}
	submit("short", 0, 0)
	submit("scheduled", 0, 30*24*time.Hour)
	submit("clock gone wrong", 1e6*time.Hour, 0)
	if len(f.current) != 3 {
		t.Errorf("one clock dropped others' keys: %d left", len(f.current))
	}
	for h := range 76 {
		submit("tick", time.Duration(h)*time.Hour, 0)
	}
	if _, ok := f.current["short"]; ok {
		t.Error("a key outlived its submission")
	}
	if _, ok := f.current["scheduled"]; !ok {
		t.Error("a key passed before its submission")
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	const border = 3 << segmentBits
	f := NewFold()
	var records []Record
	for seq := uint64(1); seq < border+1000; seq += 7 {
		records = append(records, Record{Kind: Close, Spans: []Span{{Stream: "Q", Seq: seq, End: 3}}})
	}
	journal(f, records...)
	open := f.Last() + 1
	held := Span{Stream: "Q", Seq: 100_000, First: 5, End: 7}
	journal(f, Record{Kind: Intent, Account: "a", Spans: []Span{{Stream: "Q", Seq: 100_002, Run: 2}, held}})
	f.Forget("Q", 0, border+500)
	f = throughCheckpoint(t, f)
	for key, want := range map[Key]State{
		{"Q", 0, 0, 0}: Closed, {"Q", 0, border + 499, 9}: Closed, {"Q", 0, 150_000, 77}: Closed,
		held.Key(0): Taken, {"Q", 0, 100_002, 0}: Taken,
		{"Q", 0, border + 500, 0}: Free, {"Q", 0, border + 501, 1}: Free, {"Q", 1, 1, 0}: Free,
	} {
		if got := f.State(key).State; got != want {
			t.Errorf("%v: state %d, want %d", key, got, want)
		}
	}
	if b := f.books[origin{"Q", 0}]; len(b.narrow.segments) != 2 || len(b.wide.segments) != 2 {
		t.Errorf("segments left: %d and %d, want the border's and the taken ones'", len(b.narrow.segments), len(b.wide.segments))
	}
	journal(f, Record{Kind: Outcome, Intent: open, Runs: []Run{{4, Closed}}})
	f.Forget("Q", 0, 10) // it was further already
	f.Forget("Q", 0, border+500)
	if b := f.books[origin{"Q", 0}]; len(b.narrow.segments) != 1 || len(b.wide.segments) != 1 || len(b.narrow.full.runs) != 1 {
		t.Errorf("segments left: %d and %d, want the border's", len(b.narrow.segments), len(b.wide.segments))
	}
	f.Forget("Q", 0, 1<<64-1)
	throughCheckpoint(t, f)
}

func TestUnknownKindsAreCounted(t *testing.T) {
	t.Parallel()
	f := NewFold()
	wantEffect(t, journal(f, Record{Kind: "restarted", Spans: singles(1, 1)}, Record{Kind: Intent, Spans: singles(1, 1)}, Record{Kind: Outcome, Intent: 2, Runs: []Run{{1, 7}}}), Effect{Lost: []uint32{0}})
	if f.Ignored() != 2 || f.Last() != 3 {
		t.Errorf("ignored %d, last %d", f.Ignored(), f.Last())
	}
}
