package ingest_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

func (r *rig) cancel(path string) ingest.CancelCounts {
	r.t.Helper()
	a := r.do("k-acme", http.MethodDelete, path, "")
	if a.status != http.StatusOK {
		r.t.Fatalf("%d %s", a.status, a.body)
	}
	var c ingest.CancelCounts
	a.into(r.t, &c)
	return c
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.accepted(`{"recipients":[{"to":"+12025550121"},{"to":"+12025550122"},{"to":"+12025550123"},{"to":"+12025550124"}],"from":"ACME","text":"x"}`)
	r.queue("world", 1)
	r.eventually("known", func() bool { _, _, ok := r.status.Origin("acme", a.ID); return ok })
	o, _, _ := r.status.Origin("acme", a.ID)
	// One is on its way, one was sent.
	seq, _, err := r.journal.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Intent, Account: "world", LeaseMillis: 60_000, Spans: []idempotency.Span{{Stream: o.Stream, Epoch: o.Epoch, Seq: o.Seq, First: 0, End: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = r.journal.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Outcome, Account: "world", Intent: seq, Runs: []idempotency.Run{{N: 1, To: idempotency.Closed}, {N: 1, To: idempotency.Taken}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := r.cancel("/v1/messages/" + a.Messages[2].ID); c != (ingest.CancelCounts{Canceled: 1}) {
		t.Errorf("one message: %+v", c)
	}
	r.eventually("canceled", func() bool { s, _ := r.status.Current(a.Messages[2].ID); return s == envelope.Canceled })
	if c := r.cancel("/v1/messages/" + a.Messages[2].ID); c != (ingest.CancelCounts{}) {
		t.Errorf("again: %+v", c)
	}
	c := r.cancel("/v1/envelopes/" + a.ID)
	if c.Canceled != 1 || c.InFlight+c.TooLate != 2 {
		t.Errorf("the envelope: %+v", c)
	}
	ids := map[string]bool{}
	for _, e := range r.events("acme", envelope.Canceled, 2) {
		for _, m := range e.Messages {
			ids[m.ID] = true
		}
	}
	if !ids[a.Messages[2].ID] || !ids[a.Messages[3].ID] {
		t.Errorf("told %v", ids)
	}
}

func TestCancelScheduled(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.accepted(`{"to":"+254712345678","from":"ACME","text":"x","send_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}`)
	r.events("acme", envelope.Scheduled, 1)
	r.eventually("known", func() bool { _, _, ok := r.status.Origin("acme", a.ID); return ok })
	if c := r.cancel("/v1/envelopes/" + a.ID); c.Canceled != 1 {
		t.Errorf("%+v", c)
	}
	r.eventually("unscheduled", func() bool {
		s, err := r.bus.State(t.Context(), bus.DelayStream)
		return err == nil && s.Messages == 0
	})
	r.events("acme", envelope.Canceled, 1)
}

func TestEnvelopeMessagesByPage(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.accepted(`{"recipients":[{"to":"+12025550121"},{"to":"+12025550122"},{"to":"+12025550123"}],"from":"ACME","text":"x"}`)
	var ids []string
	cursor := ""
	for {
		var page ingest.MessagePage
		r.do("k-acme", http.MethodGet, "/v1/envelopes/"+a.ID+"/messages?status=accepted&limit=2&cursor="+cursor, "").into(t, &page)
		for _, m := range page.Messages {
			ids = append(ids, m.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(ids) != 3 || ids[2] != a.ID+"-2" {
		t.Errorf("%v", ids)
	}
	for _, q := range []string{"?status=sent", "?limit=0", "?limit=1001", "?limit=x"} {
		if a := r.do("k-acme", http.MethodGet, "/v1/envelopes/"+a.ID+"/messages"+q, ""); a.status != 400 {
			t.Errorf("%s: %d", q, a.status)
		}
	}
}

func (r *rig) bury(reason envelope.DeadReason) string {
	r.t.Helper()
	p := &envelope.Piece{
		ID: "01OLD", Origin: &envelope.Origin{Stream: "SMS_SUBMIT_acme", Seq: 1}, Tenant: "acme", Priority: envelope.High, Account: "ke", From: "ACME", Text: "x",
		Attempts: 3, ExpiresAt: time.Now().Add(-time.Hour), SupersedeKey: "k", Messages: []envelope.Message{{Index: 4, To: "+254712345678", Segments: 1}, {Index: 7, To: "+254712345679", Segments: 1}},
	}
	data, err := json.Marshal(envelope.DeadLetter{Time: time.Now(), Account: "ke", Reason: reason, Tenant: "acme", Piece: p, Error: &envelope.EventError{Code: "rejected"}})
	if err != nil {
		r.t.Fatal(err)
	}
	ack := r.publish(bus.DeadSubject("ke", string(reason)), string(data))
	return strconv.FormatUint(ack.Seq, 10)
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	r := start(t)
	refused, uncertain := r.bury(envelope.DeadRefused), r.bury(envelope.DeadUncertain)
	var first, second ingest.DeadPage
	r.do("k-ops", http.MethodGet, "/v1/dead?limit=1", "").into(t, &first)
	if len(first.Dead) != 1 || first.Dead[0].ID != uncertain || first.Dead[0].Letter != nil || first.Dead[0].Messages != 2 {
		t.Errorf("%+v", first)
	}
	r.do("k-ops", http.MethodGet, "/v1/dead?cursor="+first.Next, "").into(t, &second)
	if len(second.Dead) != 1 || second.Dead[0].ID != refused || second.Dead[0].MessageIDs[1] != "01OLD-7" || second.Next != "" {
		t.Errorf("%+v", second)
	}
	for query, want := range map[string]int{"?reason=refused": 1, "?account=ke": 2, "?account=none": 0, "?reason=refused&account=world": 0} {
		var page ingest.DeadPage
		r.do("k-ops", http.MethodGet, "/v1/dead"+query, "").into(t, &page)
		if len(page.Dead) != want || page.Next != "" {
			t.Errorf("%s: %+v", query, page)
		}
	}
	if a := r.do("k-ops", http.MethodGet, "/v1/dead/"+refused, ""); !strings.Contains(a.body, `"letter":{`) {
		t.Errorf("%s", a.body)
	}
	if a := r.do("k-ops", http.MethodPost, "/v1/dead/"+uncertain+"/replay", ""); a.status != http.StatusConflict {
		t.Errorf("replay of what may have been sent: %d %s", a.status, a.body)
	}
	a := r.do("k-ops", http.MethodPost, "/v1/dead/"+refused+"/replay", "")
	if a.status != http.StatusAccepted || strings.Count(a.body, `"replay_of":"01OLD-`) != 2 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, p := range r.queue("ke", 2) {
		if p.ID == "01OLD" || !strings.HasPrefix(p.ReplayOf, "01OLD-") || p.Attempts != 0 || !p.ExpiresAt.After(time.Now()) || p.Messages[0].Index != 0 {
			t.Errorf("%+v", p)
		}
	}
	if e := r.events("acme", envelope.Accepted, 2); e[0].Messages[0].ReplayOf == "" {
		t.Errorf("%+v", e)
	}
	for path, want := range map[string]int{"/v1/dead/" + refused: 404, "/v1/dead/0": 404, "/v1/dead/x": 404, "/v1/dead/999": 404, "/v1/dead?cursor=x": 400} {
		if a := r.do("k-ops", http.MethodGet, path, ""); a.status != want {
			t.Errorf("%s: %d, want %d", path, a.status, want)
		}
	}
	if a := r.do("k-ops", http.MethodPost, "/v1/dead/"+refused+"/replay", ""); a.status != 404 {
		t.Errorf("replayed twice: %d", a.status)
	}
	if a := r.do("k-ops", http.MethodDelete, "/v1/dead/"+uncertain, ""); a.status != http.StatusNoContent {
		t.Errorf("drop: %d", a.status)
	}
}

func TestMessageSaysWhyItWaits(t *testing.T) {
	t.Parallel()
	until := time.Date(2036, 1, 2, 3, 4, 5, 0, time.UTC)
	r := start(t, func(o *ingest.Options) {
		o.Waits = func(account string) (string, *time.Time) { return "rate of " + account, &until }
	})
	id := r.accepted(one).Messages[0].ID
	var m struct {
		Waiting struct {
			Reason string
			Until  *time.Time
		}
	}
	waiting := func() {
		t.Helper()
		m.Waiting.Until = nil
		r.do("k-acme", http.MethodGet, "/v1/messages/"+id, "").into(t, &m)
	}
	if waiting(); m.Waiting.Reason != "rate of ke" || m.Waiting.Until == nil || !m.Waiting.Until.Equal(until) {
		t.Errorf("%+v", m)
	}
	r.do("k-ops", http.MethodPost, "/v1/providers/ke/pause", "")
	if waiting(); m.Waiting.Reason != "paused" || m.Waiting.Until != nil {
		t.Errorf("%+v", m)
	}
}

// TestReplayLeavesAloneWhatWasSent: an uncertain message of which a report has
// come since is not sent again, whatever the operator forces.
func TestReplayLeavesAloneWhatWasSent(t *testing.T) {
	t.Parallel()
	r := start(t)
	reported := func(s envelope.Status, id string) {
		data := envelope.AppendEvent(nil, &envelope.Event{
			ID: string(s) + id, Time: time.Now(), Tenant: "acme", Status: s, Provider: "ke",
			Messages: []envelope.EventMessage{{ID: id, EnvelopeID: "01OLD", To: "+254712345678"}},
		})
		r.publish(bus.EventSubject("acme", string(s)), string(data))
		r.eventually("known", func() bool { got, _ := r.status.Current(id); return got == s })
	}
	list := func(query string) []ingest.DeadView {
		var page ingest.DeadPage
		r.do("k-ops", http.MethodGet, "/v1/dead"+query, "").into(t, &page)
		return page.Dead
	}
	replay := func(id string) (out ingest.ReplayAnswer) {
		t.Helper()
		a := r.do("k-ops", http.MethodPost, "/v1/dead/"+id+"/replay?force=true", "")
		if a.status != http.StatusAccepted {
			t.Fatalf("%d %s", a.status, a.body)
		}
		a.into(t, &out)
		return out
	}
	half := r.bury(envelope.DeadUncertain)
	reported(envelope.Delivered, "01OLD-4")
	if l := list(""); len(l) != 1 || l[0].Settled != 1 {
		t.Errorf("half of it is settled: %+v", l)
	}
	a := replay(half)
	if a.Messages != 1 || a.Skipped[envelope.Delivered] != 1 || a.Replayed[0].ReplayOf != "01OLD-7" {
		t.Errorf("%+v", a)
	}
	r.queue("ke", 1)

	whole := r.bury(envelope.DeadUncertain)
	reported(envelope.Submitted, "01OLD-7")
	if l := list(""); len(l) != 0 {
		t.Errorf("nothing is open: %+v", l)
	}
	if l := list("?settled=true"); len(l) != 1 || l[0].Settled != 2 {
		t.Errorf("asked for all: %+v", l)
	}
	if a := replay(whole); a.Messages != 0 || a.ID != "" || a.Skipped[envelope.Submitted] != 1 || a.Skipped[envelope.Delivered] != 1 {
		t.Errorf("%+v", a)
	}
	r.queue("ke", 1)
}

// TestReplayTwiceIsOnce: a letter that was written twice, or is replayed again long
// after, makes messages that the journal takes for one.
func TestReplayTwiceIsOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.shorten()
	replay := func(id string) (out ingest.ReplayAnswer) {
		t.Helper()
		r.do("k-ops", http.MethodPost, "/v1/dead/"+id+"/replay", "").into(t, &out)
		return out
	}
	first, second, third := r.bury(envelope.DeadRefused), r.bury(envelope.DeadRefused), r.bury(envelope.DeadRefused)
	a := replay(first)
	r.windowPasses()
	if b := replay(second); len(a.Replayed) != 2 || len(b.Replayed) != 2 || a.Replayed[0] != b.Replayed[0] || a.Replayed[1] != b.Replayed[1] || a.Replayed[0].ID == a.Replayed[1].ID {
		t.Errorf("%+v, and again %+v", a, b)
	}
	keys := map[idempotency.Key]int{}
	var spans []idempotency.Span
	for _, p := range r.queue("ke", 4) {
		k := idempotency.Key{Stream: p.Origin.Stream, Epoch: p.Origin.Epoch, Seq: p.Origin.Seq, Index: uint32(p.Messages[0].Index)}
		if keys[k]++; keys[k] == 1 {
			spans = append(spans, idempotency.Span{Stream: k.Stream, Epoch: k.Epoch, Seq: k.Seq})
		}
	}
	if len(keys) != 2 {
		t.Fatalf("%d messages in four copies: %v", len(keys), keys)
	}
	seq, _, err := r.journal.Append(t.Context(), idempotency.Record{Kind: idempotency.Intent, Account: "ke", LeaseMillis: 60_000, Spans: spans})
	if err == nil {
		_, _, err = r.journal.Append(t.Context(), idempotency.Record{Kind: idempotency.Outcome, Account: "ke", Intent: seq, Runs: []idempotency.Run{{N: 2, To: idempotency.Closed}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	if c := replay(third); c.Messages != 0 || len(c.Skipped) != 1 {
		t.Errorf("%+v", c)
	}
	if a := r.do("k-ops", http.MethodGet, "/v1/dead/"+third, ""); a.status != 404 {
		t.Errorf("the letter is still there: %d", a.status)
	}
}

// TestReplayAsksTheJournal: what was settled is known there when its statuses are
// forgotten.
func TestReplayAsksTheJournal(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.bury(envelope.DeadUncertain)
	seq, _, err := r.journal.Append(t.Context(), idempotency.Record{
		Kind: idempotency.Intent, Account: "ke", LeaseMillis: 60_000, Spans: []idempotency.Span{{Stream: "SMS_SUBMIT_acme", Seq: 1, First: 4, End: 5}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []idempotency.State{idempotency.Unsettled, idempotency.Closed} {
		_, _, err = r.journal.Append(t.Context(), idempotency.Record{
			Kind: idempotency.Outcome, Account: "ke", Intent: seq, Runs: []idempotency.Run{{N: 1, To: to}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var a ingest.ReplayAnswer
	r.do("k-ops", http.MethodPost, "/v1/dead/"+id+"/replay?force=true", "").into(t, &a)
	if a.Messages != 1 || a.Skipped[envelope.Submitted] != 1 || a.Replayed[0].ReplayOf != "01OLD-7" {
		t.Errorf("%+v", a)
	}
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.publish("sms.submit.beta.normal", `{"to":"+12025550123","from":"BETA","text":"x"}`)
	r.publish("sms.submit.acme.normal", one)
	first := r.events("acme", envelope.Accepted, 1)[0]
	r.events("beta", envelope.Accepted, 1)
	open := func(last, query string) *bufio.Scanner {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/v1/events"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer k-acme")
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
		}
		return bufio.NewScanner(resp.Body)
	}
	next := func(s *bufio.Scanner) (e envelope.Event) {
		for s.Scan() {
			if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Fatal(err)
				}
				return e
			}
		}
		t.Fatal("the stream ended")
		return e
	}
	again, refused := open("0", ""), open("", "?status=rejected,failed")
	if e := next(again); e.ID != first.ID {
		t.Errorf("from the beginning: %+v", e)
	}
	r.publish("sms.submit.acme.normal", "rubbish")
	if e := next(again); e.Status != envelope.Rejected || e.Tenant != "acme" {
		t.Errorf("then: %+v", e)
	}
	if e := next(refused); e.Status != envelope.Rejected {
		t.Errorf("of one status only: %+v", e)
	}
	if a := r.do("k-acme", http.MethodGet, "/v1/events", "", "Last-Event-ID", "x"); a.status != 400 {
		t.Errorf("bad Last-Event-ID: %d", a.status)
	}
}
