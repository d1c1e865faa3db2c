package ingest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

const ndjson = "application/x-ndjson"

func TestLinesSummary(t *testing.T) {
	t.Parallel()
	r := start(t)
	body := strings.Join([]string{
		one, "", `{"to":"+12025550123","from":"ACME","text":"x"}`, "{", `{"recipients":[{"to":"bad"},{"to":"+12025550124"}],"from":"ACME","text":"x"}`,
		`{"to":"+12025550125","from":"","text":"x"}`, strings.Repeat("x", 5<<20), `{"to":"+12025550126","from":"ACME","text":"x"}`,
	}, "\n")
	a := r.post(body, "Content-Type", ndjson)
	var got ingest.Answer
	a.into(t, &got)
	if a.status != http.StatusAccepted || got.Accepted != 4 || got.Rejected != 4 || strings.Contains(a.body, `"messages"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	want := []string{"4 invalid_envelope", "5 invalid_number", "6 invalid_sender", "7 too_large"}
	for i, e := range got.Errors {
		if s := fmt.Sprintf("%d %s", e.Line, e.Code); s != want[i] {
			t.Errorf("%s, want %s", s, want[i])
		}
	}
	r.queue("ke", 1)
	r.queue("world", 3)
}

func TestLinesAllRefused(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.post("{}\n{}", "Content-Type", ndjson)
	if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, `"rejected":2`) || !strings.Contains(a.body, `"accepted":0`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.post("\n\n", "Content-Type", ndjson); a.status != http.StatusBadRequest {
		t.Errorf("no lines: %d %s", a.status, a.body)
	}
	if a := r.post(strings.Repeat("{}\n", 1500), "Content-Type", ndjson); !strings.Contains(a.body, `"rejected":1500`) || strings.Count(a.body, `"line"`) != 1000 {
		t.Errorf("the first 1,000 errors: %d", strings.Count(a.body, `"line"`))
	}
}

func TestLinesDryRun(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.do("k-acme", http.MethodPost, "/v1/messages?dry_run=true", one+"\n"+one, "Content-Type", ndjson)
	if a.status != http.StatusOK || !strings.Contains(a.body, `"batches":{"ke":2}`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.queue("ke", 0)
}

// Answers come while the body is still being sent, in the order of the lines.
func TestLinesStreamBothWays(t *testing.T) {
	t.Parallel()
	r := start(t)
	body, client := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/messages", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer k-acme")
	req.Header.Set("Content-Type", ndjson)
	req.Header.Set("Accept", ndjson)
	lines := []string{one, "{", one}
	go func() { _, _ = io.WriteString(client, lines[0]+"\n") }()
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answers := bufio.NewScanner(resp.Body)
	for i := range lines {
		if i > 0 {
			if _, err := io.WriteString(client, lines[i]+"\n"); err != nil {
				t.Fatal(err)
			}
		}
		if !answers.Scan() {
			t.Fatalf("no answer to line %d: %v", i+1, answers.Err())
		}
		var a ingest.LineAnswer
		if err := json.Unmarshal(answers.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if a.Line != i+1 || (a.Status == 202) != (lines[i] == one) || (a.ID != "") != (lines[i] == one) {
			t.Errorf("line %d: %s", i+1, answers.Bytes())
		}
	}
	_ = client.Close()
	if answers.Scan() {
		t.Errorf("more: %s", answers.Bytes())
	}
	r.queue("ke", 2)
}

func TestManyLines(t *testing.T) {
	t.Parallel()
	r := start(t)
	const n = 2000
	body, client := io.Pipe()
	go func() {
		w := bufio.NewWriter(client)
		for i := range n {
			_, _ = fmt.Fprintf(w, `{"to":"+1202%07d","from":"ACME","text":"x","ref":"%d"}`+"\n", i, i)
		}
		_ = w.Flush()
		_ = client.Close()
	}()
	a := r.send("k-acme", http.MethodPost, "/v1/messages", body, "Content-Type", ndjson)
	if a.status != http.StatusAccepted || !strings.Contains(a.body, `"accepted":2000`) {
		t.Fatalf("%d %.300s", a.status, a.body)
	}
	refs := map[string]bool{}
	for _, p := range r.queue("world", n) {
		refs[p.Ref] = true
	}
	if len(refs) != n {
		t.Errorf("%d of %d lines queued", len(refs), n)
	}
}

func TestLinesOverTheRateWait(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Quota = &slowQuota{} })
	a := r.do("k-beta", http.MethodPost, "/v1/messages", strings.Repeat(`{"to":"+12025550123","from":"BETA","text":"x"}`+"\n", 4), "Content-Type", ndjson)
	if a.status != http.StatusAccepted || !strings.Contains(a.body, `"accepted":4`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// What a line's key makes of it when the same body comes again.
func TestLinesKeys(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Keys = newKeys() })
	post := func() []ingest.LineAnswer {
		a := r.post(one+"\n"+one, "Content-Type", ndjson, "Accept", ndjson, "Idempotency-Key", "batch-7")
		var out []ingest.LineAnswer
		for _, l := range strings.Split(strings.TrimSpace(a.body), "\n") {
			var la ingest.LineAnswer
			if err := json.Unmarshal([]byte(l), &la); err != nil {
				t.Fatal(err)
			}
			out = append(out, la)
		}
		return out
	}
	first, second := post(), post()
	if len(first) != 2 || first[0].ID == first[1].ID {
		t.Fatalf("%+v", first)
	}
	for i := range first {
		if first[i].ID != second[i].ID {
			t.Errorf("line %d: %s, then %s", i+1, first[i].ID, second[i].ID)
		}
	}
	r.queue("ke", 2)
	if a := r.post(`{"to":"+254712345678","from":"ACME","text":"x","idempotency_key":"other"}`, "Content-Type", ndjson, "Idempotency-Key", "batch-8"); !strings.Contains(a.body, string(envelope.InvalidEnvelope)) {
		t.Errorf("a line's own key: %s", a.body)
	}
}

func TestPanicOverALineEndsItsRequestOnly(t *testing.T) {
	t.Parallel()
	r := start(t)
	bad := `{"to":"+12025550123","from":"ACME","text":"panic"}`
	for _, path := range []string{"/v1/messages", "/v1/messages?dry_run=true"} {
		for _, key := range []string{"", "k-1"} {
			header := []string{"Content-Type", ndjson}
			if key != "" {
				header = append(header, "Idempotency-Key", key)
			}
			a := r.do("k-acme", http.MethodPost, path, bad, header...)
			if a.status != http.StatusInternalServerError || strings.Contains(a.body, "+1202") {
				t.Errorf("%s with key %q: %d %s", path, key, a.status, a.body)
			}
		}
	}
	if strings.Contains(r.logs.String(), "+1202") || !strings.Contains(r.logs.String(), "panic") {
		t.Errorf("logged %s", r.logs)
	}
	r.accepted(one)
}

// Lines may be large. However many fit one request's turn, what is read of it and
// not answered yet is bounded by bytes: sixteen such requests of one tenant would
// take gigabytes.
func TestLargeLinesAreReadFewAtATime(t *testing.T) {
	t.Parallel()
	r := start(t)
	large := strings.Repeat(" ", 3<<20) + `{"recipients":[{"to":"+12025550123"},{"to":"+12025550124"},{"to":"+12025550125"}],"from":"BETA","text":"x"}` + "\n"
	body, in := io.Pipe()
	var read atomic.Int64
	var writing sync.WaitGroup
	writing.Go(func() {
		defer func() { _ = in.Close() }()
		for range 40 { // over beta's rate: all but the first wait
			n, err := io.WriteString(in, large)
			if read.Add(int64(n)); err != nil {
				return
			}
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/v1/messages", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer k-beta")
	req.Header.Set("Content-Type", ndjson)
	var asking sync.WaitGroup
	asking.Go(func() {
		if resp, err := r.client.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	})
	const most = 40 << 20 // 16 MiB, and what the connection holds
	for still, last := 0, int64(-1); still < 20 && read.Load() <= most; time.Sleep(50 * time.Millisecond) {
		if now := read.Load(); now == last && now > 0 {
			still++
		} else {
			still, last = 0, now
		}
	}
	if got := read.Load(); got > most {
		t.Errorf("%d MiB are read and wait", got>>20)
	}
	leave()
	_ = body.Close()
	asking.Wait()
	writing.Wait()
}
