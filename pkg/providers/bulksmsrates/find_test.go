package bulksmsrates_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

// messageLog is a gateway with a message log, in pages of 500.
type messageLog struct {
	items    []map[string]any
	campaign string // the body of GET /campaigns/{id}; empty: 404
	single   string // the body of GET /sms/{id}
	ignores  bool   // it ignores filters
	paths    []string
}

func (l *messageLog) RoundTrip(r *http.Request) (*http.Response, error) {
	q := r.URL.Query()
	l.paths = append(l.paths, strings.TrimPrefix(r.URL.Path, "/v1"))
	status, body := 200, l.campaign
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1/reports/"):
		from, _ := strconv.Atoi(q.Get("cursor"))
		var hits []map[string]any
		for _, m := range l.items {
			if l.ignores || (q.Get("campaign_id") == "" || q.Get("campaign_id") == m["campaign_id"]) && (q.Get("destination") == "" || q.Get("destination") == m["destination"]) {
				hits = append(hits, m)
			}
		}
		to := min(from+500, len(hits))
		raw, err := json.Marshal(map[string]any{"data": append([]map[string]any{}, hits[from:to]...), "pagination": map[string]any{
			"total": len(hits), "page_size": 500, "has_more": to < len(hits), "cursor": strconv.Itoa(to),
		}})
		if err != nil {
			return nil, err
		}
		body = string(raw)
	case strings.HasPrefix(r.URL.Path, "/v1/sms/"):
		body = l.single
	case body == "":
		status, body = 404, `{"error": {"code": "NOT_FOUND", "message": "Resource does not exist"}}`
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

const theBatch = "7f3e2a1c-0000-4000-8000-000000000001"

// logged returns n entries of a batch, numbers counting from 0.
func logged(n int, status string) (list []map[string]any) {
	for i := range n {
		list = append(list, map[string]any{
			"message_id": fmt.Sprint("g-", i), "destination": message(i, "", nil).To, "status": status, "campaign_id": theBatch, "client_ref": "batch-1",
		})
	}
	return list
}

func queryOf(n int, ids ...string) *providers.Query {
	q := &providers.Query{BatchID: "batch-1", ProviderIDs: ids, Sent: providertest.Now(), Size: n}
	for i := range n {
		m := message(i, "", nil)
		q.Messages = append(q.Messages, providers.Message{ID: m.ID, To: m.To})
	}
	return q
}

// lookUp reads all pages, and counts what they say by status.
func lookUp(t *testing.T, l *messageLog, q *providers.Query) (counts map[providers.ReportStatus]int, done bool) {
	t.Helper()
	finder := account(t, l, nil).(providers.Finder)
	counts, done = map[providers.ReportStatus]int{}, true
	seen := map[string]bool{}
	for range 100 {
		found, err := finder.Find(t.Context(), q, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found.Reports {
			if r.BatchID != q.BatchID || r.MessageID == "" || seen[r.MessageID] && len(q.ProviderIDs) > 0 {
				t.Fatalf("report %+v", r)
			}
			seen[r.MessageID] = true
			counts[r.Status]++
		}
		done = done && found.Done
		if q.Cursor = found.Cursor; q.Cursor == "" {
			return counts, done
		}
	}
	t.Fatal("it never ends")
	return nil, false
}

// TestCountsThatAddUpSettle: the answer told how many it took; once as many are in
// the log the others were refused, and not before.
func TestCountsThatAddUpSettle(t *testing.T) {
	t.Parallel()
	const n, taken = 1200, 1199
	for name, c := range map[string]struct {
		change  func(*messageLog, *providers.Query)
		refused int
		done    bool
	}{
		"as many":              {func(*messageLog, *providers.Query) {}, 1, true},
		"the log is behind":    {func(l *messageLog, _ *providers.Query) { l.items = l.items[:taken-1] }, 0, false},
		"the answer named no":  {func(_ *messageLog, q *providers.Query) { q.Accepted = 0 }, 0, false},
		"an unreadable number": {func(l *messageLog, _ *providers.Query) { l.items[7]["destination"] = "hidden" }, 0, false},
		"another's number":     {func(l *messageLog, _ *providers.Query) { l.items[7]["destination"] = "+12025550123" }, 0, false},
		"one told twice": {func(l *messageLog, _ *providers.Query) {
			l.items[8]["destination"] = l.items[7]["destination"]
		}, 0, false},
		"settled ones are open no more": {func(_ *messageLog, q *providers.Query) { q.Messages = q.Messages[600:] }, 1, true},
	} {
		l, q := &messageLog{items: logged(taken, "delivered")}, queryOf(n, theBatch)
		q.Accepted = taken
		c.change(l, q)
		counts, done := lookUp(t, l, q)
		if counts[providers.ReportRefused] != c.refused || done != c.done {
			t.Errorf("%s: %v, done %v", name, counts, done)
		}
		if len(l.paths) != 4 || l.paths[0] != "/campaigns/"+theBatch {
			t.Errorf("%s: asked %v, want the campaign and three pages", name, l.paths)
		}
	}
}

// TestFilterIgnored: a gateway that answers with everybody's messages tells nothing
// of ours.
func TestFilterIgnored(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(map[string]any){
		"of another campaign": func(m map[string]any) { m["campaign_id"], m["client_ref"] = theBatch+"0", "batch-2" },
		"of none":             func(m map[string]any) { delete(m, "campaign_id"); delete(m, "client_ref") },
	} {
		for _, q := range []*providers.Query{queryOf(5, theBatch), queryOf(5)} {
			l := &messageLog{items: logged(5, "failed"), ignores: true}
			for _, m := range l.items {
				change(m)
			}
			if counts, _ := lookUp(t, l, q); len(counts) != 0 {
				t.Errorf("%s, ids %v: %v", name, q.ProviderIDs, counts)
			}
		}
	}
}

// TestNoAnswer: an attempt without an answer is found by a number of it and the
// reference, then read by its campaign.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	l := &messageLog{items: logged(700, "sent")[2:]} // the first two were refused, or are late
	counts, done := lookUp(t, l, queryOf(700))
	if counts[providers.ReportPending] != 698+1 || counts[providers.ReportRefused] != 0 || done { // the probe's own is told twice
		t.Errorf("%v, done %v", counts, done)
	}
	if len(l.paths) != 3+2 {
		t.Errorf("%d requests: %v", len(l.paths), l.paths)
	}
	l = &messageLog{}
	if counts, done := lookUp(t, l, queryOf(700)); len(counts) != 0 || done || len(l.paths) != 3 {
		t.Errorf("nothing there: %v, done %v, %d requests", counts, done, len(l.paths))
	}
}

// TestOneOfTwoWasSent: an attempt of two messages, one of which somebody else had,
// was a single send, and its id is a message's.
func TestOneOfTwoWasSent(t *testing.T) {
	t.Parallel()
	l := &messageLog{single: `{"data": {"message_id": "m-1", "status": "delivered"}}`}
	q := queryOf(2, "m-1")
	q.Messages = q.Messages[:1]
	counts, _ := lookUp(t, l, q)
	if counts[providers.ReportDelivered] != 1 || len(l.paths) != 2 || l.paths[1] != "/sms/m-1" {
		t.Errorf("%v by %v", counts, l.paths)
	}
}

func TestFindNothingToAsk(t *testing.T) {
	t.Parallel()
	l := &messageLog{}
	q := queryOf(1)
	q.Messages[0].Channel = providers.WhatsApp
	if _, done := lookUp(t, l, q); !done || len(l.paths) != 0 {
		t.Errorf("WhatsApp without an id: done %v, %v", done, l.paths)
	}
	for _, cursor := range []string{"?", "e30", strings.Repeat("A", 50_000), "eyJzIjoicHJvYmUiLCJpIjotMX0", "eyJzIjoibG9nIn0"} {
		q := queryOf(2, theBatch)
		q.Cursor = cursor
		_, err := account(t, l, nil).(providers.Finder).Find(t.Context(), q, nil)
		var e *providers.Error
		if !errors.As(err, &e) || len(l.paths) != 0 {
			t.Errorf("cursor %.20q: %v, %v", cursor, err, l.paths)
		}
	}
}

// TestPageOfTheDocument: its example of a list, with items where it has a comment.
func TestPageOfTheDocument(t *testing.T) {
	t.Parallel()
	page := strings.Replace(document(t, "page.json"), "/* ... array of items ... */",
		`{"message_id": "m-1", "destination": "+447700900000", "status": "delivered", "campaign_id": "`+theBatch+`"}`, 1)
	found, err := account(t, answers{200, nil, page}, nil).(providers.Finder).Find(t.Context(), func() *providers.Query {
		q := queryOf(2, theBatch)
		q.Messages[0].To = "+447700900000"
		return q
	}(), nil)
	if err != nil || len(found.Reports) != 1 || found.Reports[0].Status != providers.ReportDelivered {
		t.Errorf("%+v, %v", found, err)
	}
	raw, err := decodeCursor(found.Cursor)
	if err != nil || !strings.Contains(raw, `"p":"eyJpZCI6IjU1MGU4NDAwLWUyOWItNDFkNC..."`) {
		t.Errorf("the next page is %s, %v", raw, err)
	}
}
