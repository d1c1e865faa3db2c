package status_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func store(t *testing.T, b *bus.Bus, o bus.Out, v any) bus.Ack {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	o.Data = data
	ack, err := b.Publish(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func run(t *testing.T, b *bus.Bus, tenants, accounts []string) *status.Store {
	t.Helper()
	s := status.New(status.Options{Now: func() time.Time { return start }})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, b, tenants, accounts) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	until(t, s.Ready)
	return s
}

func refresh(t *testing.T, s *status.Store) {
	t.Helper()
	if err := s.Refresh(t.Context(), "acme"); err != nil {
		t.Error(err)
	}
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened")
		}
	}
}

func TestRebuiltFromTheStreams(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, []string{"acme"}, []string{"a"})
	direct := store(t, b, bus.Out{Subject: bus.QueueSubject("a", "high", "acme")}, piece("DIRECT", 0))
	whole := store(t, b, bus.Out{Subject: bus.AcceptedSubject("acme", "bulk")}, piece("WHOLE", 0, 1, 2))
	cut := piece("WHOLE", 1)
	cut.Origin = &envelope.Origin{Stream: whole.Stream, Epoch: 1, Seq: whole.Seq}
	store(t, b, bus.Out{Subject: bus.QueueSubject("a", "bulk", "acme")}, cut)
	store(t, b, bus.Out{Subject: bus.SubmitSubject("acme", "bulk")}, piece("RAW", 0)) // nobody accepted that yet
	held := piece("HELD", 0)
	held.Origin = &envelope.Origin{Stream: "SMS_SUBMIT_acme", Epoch: 1, Seq: 99}
	store(t, b, bus.Out{Subject: bus.DueSubmitSubject("acme", "bulk"), SchedID: "HELD", At: time.Now().Add(time.Hour)}, held)
	store(t, b, bus.Out{Subject: bus.EventSubject("acme", "scheduled")}, event(envelope.Scheduled, 0, "HELD-0"))
	store(t, b, bus.Out{Subject: bus.EventSubject("acme", "submitted")}, event(envelope.Submitted, time.Second, "DIRECT-0", "WHOLE-1"))

	s := run(t, b, []string{"acme"}, []string{"a"})
	for id, want := range map[string]envelope.Status{
		"DIRECT-0": envelope.Submitted, "WHOLE-0": envelope.Accepted, "WHOLE-1": envelope.Submitted, "HELD-0": envelope.Scheduled,
	} {
		if m, ok := s.Message("acme", id); !ok || m.Status != want {
			t.Errorf("%s: %q, want %s", id, m.Status, want)
		}
	}
	if _, ok := s.Message("acme", "RAW-0"); ok {
		t.Error("knows what was not accepted")
	}
	epoch, err := b.Epoch(t.Context(), direct.Stream)
	if o, _, ok := s.Origin("acme", "DIRECT"); err != nil || !ok || o != (envelope.Origin{Stream: direct.Stream, Epoch: epoch, Seq: direct.Seq}) {
		t.Errorf("origin %+v, %v, %v", o, ok, err)
	}
	if o, n, _ := s.Origin("acme", "WHOLE"); o.Seq != whole.Seq || len(n) != 3 {
		t.Errorf("origin %+v of %v", o, n)
	}

	// What comes later is seen too.
	store(t, b, bus.Out{Subject: bus.AcceptedSubject("acme", "bulk")}, piece("LATER", 0))
	store(t, b, bus.Out{Subject: bus.EventSubject("acme", "delivered")}, event(envelope.Delivered, time.Minute, "DIRECT-0"))
	until(t, func() bool {
		_, ok := s.Message("acme", "LATER-0")
		now, _ := s.Current("DIRECT-0")
		return ok && now == envelope.Delivered
	})
}

// Events are kept for seven days, and a send time may be thirty ahead.
func TestScheduledWithoutItsEvent(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, []string{"acme"}, []string{"a"})
	due := start.Add(20 * 24 * time.Hour)
	held := piece("HELD", 0)
	held.Origin, held.SendAt = &envelope.Origin{Stream: "SMS_SUBMIT_acme", Epoch: 1, Seq: 99}, &due
	store(t, b, bus.Out{Subject: bus.DueSubmitSubject("acme", "bulk"), SchedID: "submit.acme.HELD", At: time.Now().Add(time.Hour)}, held)
	again := piece("RETRY", 0)
	store(t, b, bus.Out{Subject: bus.DueQueueSubject("a", "bulk", "acme"), SchedID: "retry.RETRY", At: time.Now().Add(time.Hour)}, again)
	s := run(t, b, []string{"acme"}, []string{"a"})
	m, ok := s.Message("acme", "HELD-0")
	if !ok || m.Status != envelope.Scheduled || m.Waiting == nil || m.Waiting.Reason != "schedule" || !m.Waiting.Until.Equal(due) {
		t.Errorf("%+v %+v", m, m.Waiting)
	}
	if n := len(m.History); n != 2 || m.History[n-1].Status != envelope.Scheduled {
		t.Errorf("history %+v", m.History)
	}
	if e, _ := s.Envelope("acme", "HELD"); e.Counts[envelope.Scheduled] != 1 {
		t.Errorf("counts %v", e.Counts)
	}
	if page, _, _ := s.Messages("acme", "HELD", envelope.Scheduled, "", 0); len(page) != 1 {
		t.Errorf("%d listed", len(page))
	}
	if now, _ := s.Current("RETRY-0"); now != envelope.Accepted {
		t.Errorf("what is to be tried again is %s", now)
	}
	store(t, b, bus.Out{Subject: bus.EventSubject("acme", "submitted")}, event(envelope.Submitted, time.Second, "HELD-0"))
	until(t, func() bool { now, _ := s.Current("HELD-0"); return now == envelope.Submitted })
}

func TestEventsAfterTheirStreamFellBack(t *testing.T) {
	t.Parallel()
	server := natstest.Server(t)
	b := natstest.Connect(t, server, nil, nil)
	for range 3 {
		store(t, b, bus.Out{Subject: bus.EventSubject("acme", "submitted")}, event(envelope.Submitted, time.Second, "E-0"))
	}
	s := run(t, b, nil, nil)
	if err := natstest.ByHand(t, server).DeleteStream(t.Context(), bus.EventStream); err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureStreams(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	store(t, b, bus.Out{Subject: bus.EventSubject("acme", "delivered")}, event(envelope.Delivered, time.Minute, "E-0"))
	until(t, func() bool { now, _ := s.Current("E-0"); return now == envelope.Delivered })
}

func TestEventsAloneAnswerCurrent(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, nil, nil)
	store(t, b, bus.Out{Subject: bus.EventSubject("acme", "submitted")}, event(envelope.Submitted, time.Second, "E-3"))
	s := run(t, b, nil, nil)
	if got, ok := s.Current("E-3"); !ok || got != envelope.Submitted {
		t.Errorf("%s %v", got, ok)
	}
}

func TestNotReadyBeforeItHasRead(t *testing.T) {
	t.Parallel()
	if s, _ := newStore(); s.Ready() {
		t.Error("ready without having read anything")
	}
}

// What a process stored itself it has registered: that is not read again, and
// what others stored before, between and after it is.
func TestQueueIsReadWhereNobodyRegistered(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, []string{"acme"}, []string{"a"})
	queue := bus.Out{Subject: bus.QueueSubject("a", "high", "acme")}
	s := run(t, b, []string{"acme"}, []string{"a"})
	epoch, err := b.Epoch(t.Context(), bus.QueueStream("a"))
	if err != nil {
		t.Fatal(err)
	}
	mine := func(id string) {
		ack := store(t, b, queue, piece(id, 0, 1)) // one message more than is registered
		s.Register(piece(id, 0), envelope.Origin{Stream: ack.Stream, Epoch: epoch, Seq: ack.Seq})
	}
	for range 3 {
		refresh(t, s)
		store(t, b, queue, piece("BEFORE", 0))
		mine("MINE1")
		store(t, b, queue, piece("BETWEEN1", 0))
		store(t, b, queue, piece("BETWEEN2", 0))
		mine("MINE2")
		mine("MINE3")
		store(t, b, queue, piece("AFTER", 0))
		refresh(t, s)
		for _, id := range []string{"BEFORE-0", "MINE1-0", "BETWEEN1-0", "BETWEEN2-0", "MINE2-0", "MINE3-0", "AFTER-0"} {
			if _, ok := s.Message("acme", id); !ok {
				t.Errorf("%s is not known", id)
			}
		}
	}
	// Refresh and the reading by itself may have met what was stored and not yet
	// registered; what is registered in time is never read.
	read := 0
	for _, id := range []string{"MINE1-1", "MINE2-1", "MINE3-1"} {
		if _, ok := s.Message("acme", id); ok {
			read++
		}
	}
	if read == 3 {
		t.Error("everything was read although it was registered")
	}
}

// What is stored is known after Refresh, wherever it lies; and Refresh says so if
// it cannot ask.
func TestRefreshIsCertainOrSaysSo(t *testing.T) {
	t.Parallel()
	server := natstest.Server(t)
	b := natstest.Connect(t, server, []string{"acme"}, []string{"a"})
	if err := status.New(status.Options{}).Refresh(t.Context(), "acme"); err == nil {
		t.Error("certain before anything was read")
	}
	s := run(t, b, []string{"acme"}, []string{"a"})
	store(t, b, bus.Out{Subject: bus.AcceptedSubject("acme", "bulk")}, piece("WHOLE", 0))
	store(t, b, bus.Out{Subject: bus.DueSubmitSubject("acme", "bulk"), SchedID: "HELD", At: time.Now().Add(time.Hour)}, piece("HELD", 0))
	store(t, b, bus.Out{Subject: bus.QueueSubject("a", "high", "acme")}, piece("CUT", 0))
	refresh(t, s)
	for _, id := range []string{"WHOLE-0", "HELD-0", "CUT-0"} {
		if _, ok := s.Message("acme", id); !ok {
			t.Errorf("%s is not known", id)
		}
	}
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Refresh(ctx, "acme"); err == nil {
		t.Error("certain without a bus")
	}
}
