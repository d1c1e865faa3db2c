package dlr_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/optout"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// following collects what is stored on a stream.
func following(w *world, stream string) <-chan *bus.Msg {
	got := make(chan *bus.Msg, 16)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.bus.Tail(ctx, bus.Tail{Stream: stream}, func(m *bus.Msg) { got <- m }, nil)
	}()
	w.Cleanup(func() { stop(); <-done })
	return got
}

func next[T any](w *world, from <-chan *bus.Msg) (subject string, v T) {
	w.Helper()
	select {
	case m := <-from:
		if err := json.Unmarshal(m.Data, &v); err != nil {
			w.Fatal(err)
		}
		return m.Subject, v
	case <-time.After(20 * time.Second):
		w.Fatal("nothing came")
	}
	return "", v
}

func TestNotices(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &herald{}, inbound: map[string]string{"15000": tenant}})
	optouts, events, inbound := following(w, bus.OptOutStream), following(w, bus.AccountStream), following(w, bus.InboundStream)
	body, err := json.Marshal([]providers.Notice{
		{Kind: providers.NoticeOptOut, Number: number(1)},
		{Kind: providers.NoticeOptOut}, // of nobody
		{Kind: providers.NoticeBalanceLow, Detail: "5.00 GBP"},
		{Kind: providers.NoticeInbound, MO: &providers.Inbound{ID: "i1", From: number(2), To: "15000", Text: "hi"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := w.send(http.MethodPost, "/dlr/"+account+"/"+secret, string(body), nil); status != http.StatusOK {
		t.Fatal(status)
	}
	if _, e := next[optout.Entry](w, optouts); e.Number != number(1) || e.Account != account || !e.Out || e.Source != "webhook" {
		t.Errorf("opt-out %+v", e)
	}
	if subject, e := next[dlr.AccountEvent](w, events); subject != "sms.account."+account+".balance_low" || e.Detail != "5.00 GBP" || e.ID == "" {
		t.Errorf("%s %+v", subject, e)
	}
	if subject, in := next[dlr.Inbound](w, inbound); subject != "sms.inbound."+tenant+"."+account || in.Text != "hi" {
		t.Errorf("%s %+v", subject, in)
	}
	if len(optouts) > 0 {
		t.Error("a number opted out that was not named")
	}
}

// A report that a number is blacklisted opts it out, when it is news; no other does.
func TestReportOptsOut(t *testing.T) {
	t.Parallel()
	gw := &poller{gateway: gateway{polls: map[string]pollAnswer{"b1": {[]providers.Report{
		{To: number(1), Status: providers.ReportUndelivered, Code: "26", OptOut: true},
		{To: number(2), Status: providers.ReportUndelivered, Code: "31"},
	}, false}}}}
	w := start(t, setup{provider: gw, poll: dlr.Poll{After: 10 * time.Millisecond, Every: 50 * time.Millisecond}})
	optouts := following(w, bus.OptOutStream)
	span := w.queue("E", number(1), number(2), number(3))
	w.outcome(w.intend(span), 3, idempotency.Closed, journal.MessageResult{Status: envelope.Submitted, ProviderID: "b1"})
	if _, e := next[optout.Entry](w, optouts); e.Number != number(1) || e.Account != account || !e.Out || e.Source != "report" {
		t.Errorf("opt-out %+v", e)
	}
	w.wantTold("submitted E-0", "submitted E-1", "submitted E-2", "undelivered E-0", "undelivered E-1")
	w.until(func() bool {
		gw.mu.Lock()
		defer gw.mu.Unlock()
		return gw.polled >= 3
	})
	if len(optouts) > 0 {
		t.Error("told again, or of another")
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &herald{}})
	for token, want := range map[string]int{"good": http.StatusOK, "bad": http.StatusNotFound} {
		resp, err := http.Get(w.url + "/inbound/" + account + "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=" + token)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != want || (string(body) == "1158201444") != (want == http.StatusOK) {
			t.Errorf("%s: %d %q", token, resp.StatusCode, body)
		}
	}
}
