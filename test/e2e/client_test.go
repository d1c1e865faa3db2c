package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// answer is what a submission is answered with.
type answer struct {
	ID       string
	Accepted int
	Rejected int
	Messages []struct {
		ID, To   string
		Segments int
	}
	Errors []map[string]any
}

// message and envelope are what GET answers.
type message struct {
	ID, To, Status, Provider string
	EnvelopeID               string `json:"envelope_id"`
	History                  []struct{ Status, Detail string }
}

type envelopeView struct {
	ID       string
	Messages int
	Counts   map[string]int
}

// request makes one call of the API; a body of type string is sent as it is.
func (c *cluster) request(method, path string, header http.Header, body string, into any) (int, []byte, error) {
	req, err := http.NewRequest(method, "http://"+c.api+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	maps.Copy(req.Header, header)
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && into != nil && resp.StatusCode < 300 {
		err = json.Unmarshal(data, into)
	}
	return resp.StatusCode, data, err
}

// get reads one thing; false while there is none or nobody who knows.
func (c *cluster) get(path string, into any) (int, bool) {
	code, _, err := c.request(http.MethodGet, path, nil, "", into)
	return code, err == nil && code == http.StatusOK
}

// submit hands one envelope over and expects it to be accepted whole.
func (c *cluster) submit(env map[string]any) answer {
	c.t.Helper()
	var a answer
	code, body, err := c.request(http.MethodPost, "/v1/messages", nil, encode(c.t, env), &a)
	if err != nil || code != http.StatusAccepted || a.Rejected != 0 {
		c.t.Fatalf("submit: %d %s %v", code, body, err)
	}
	return a
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// numbers returns n Kenyan numbers; first tells stories' parts apart.
func numbers(first, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("+2547%08d", first+i)
	}
	return out
}

func campaign(to []string) map[string]any {
	recipients := make([]map[string]any, len(to))
	for i, n := range to {
		recipients[i] = map[string]any{"to": n}
	}
	return map[string]any{"recipients": recipients, "from": "ACME", "text": "Habari"}
}

func single(to string) map[string]any {
	return map[string]any{"to": to, "from": "ACME", "text": "Habari"}
}

// load is what a story has submitted: its envelopes, and how many messages each
// has. Submitting goes on through outages, as a careful client does it: the same
// envelope again, under the same idempotency key, until the answer is 202.
type load struct {
	c *cluster
	// forget makes clients give an envelope up when the connection breaks: whether
	// it was accepted is not known then, and its messages may be sent or not.
	forget bool

	mu        sync.Mutex
	envelopes map[string]int  // accepted: id -> messages
	numbers   map[string]int  // accepted: number -> how often
	unknown   map[string]bool // numbers of what was given up
	refusals  map[string]int  // answers other than 202
}

func newLoad(c *cluster) *load {
	return &load{c: c, envelopes: map[string]int{}, numbers: map[string]int{}, unknown: map[string]bool{}, refusals: map[string]int{}}
}

func (l *load) messages() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, k := range l.envelopes {
		n += k
	}
	return n
}

// submit hands envelopes over, several at a time, until all are accepted.
func (l *load) submit(t *testing.T, name string, envelopes ...map[string]any) {
	t.Helper()
	const clients = 8
	var group sync.WaitGroup
	next := make(chan int)
	for range clients {
		group.Go(func() {
			for i := range next {
				if err := l.insist(fmt.Sprintf("%s-%d", name, i), envelopes[i]); err != nil {
					t.Errorf("submit: %v", err)
				}
			}
		})
	}
	for i := range envelopes {
		next <- i
	}
	close(next)
	group.Wait()
}

// trickle submits a small envelope every now and then, from
// several clients, until it is told to stop. The returned function tells it, and
// waits until all are accepted.
func (l *load) trickle(t *testing.T, name string, first int) (stop func()) {
	const clients, every, size = 4, 25 * time.Millisecond, 5
	var group sync.WaitGroup
	over := make(chan struct{})
	for c := range clients {
		group.Go(func() {
			for i := 0; ; i++ {
				n := first + (c*10_000+i)*size
				if err := l.insist(fmt.Sprintf("%s-%d-%d", name, c, i), campaign(numbers(n, size))); err != nil {
					t.Errorf("submit: %v", err)
					return
				}
				select {
				case <-over:
					return
				case <-time.After(every):
				}
			}
		})
	}
	return func() { close(over); group.Wait() }
}

func (l *load) insist(key string, env map[string]any) error {
	data, err := json.Marshal(env)
	if err != nil {
		return err
	}
	header := http.Header{"Idempotency-Key": {key}}
	if l.forget {
		header = nil // net/http repeats a request by itself if it has one
	}
	for deadline := time.Now().Add(40 * time.Second); ; {
		var a answer
		code, body, err := l.c.request(http.MethodPost, "/v1/messages", header, string(data), &a)
		if err == nil && code == http.StatusAccepted {
			l.accepted(a)
			return nil
		}
		l.note(code, err)
		if code == 0 && l.forget && !errors.Is(err, syscall.ECONNREFUSED) {
			l.giveUp(env)
			return nil
		}
		if code != 0 && code != http.StatusConflict && code != http.StatusTooManyRequests && code < 500 {
			return fmt.Errorf("%d %s", code, body)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not accepted within 40 s: %d %s %w", code, body, err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (l *load) accepted(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.envelopes[a.ID] = a.Accepted
	for _, m := range a.Messages {
		l.numbers[m.To]++
	}
}

func (l *load) giveUp(env map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range env["recipients"].([]map[string]any) {
		l.unknown[r["to"].(string)] = true
	}
}

func (l *load) note(code int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what := fmt.Sprint(code)
	if err != nil {
		what = "no answer"
	}
	l.refusals[what]++
}

// settled waits until every accepted message is as far as it can come, and
// returns how many are in each status. Reports are waited for too.
func (l *load) settled(t *testing.T, within time.Duration) map[string]int {
	t.Helper()
	return l.reach(t, within, func(status string) bool {
		return slices.Contains([]string{"delivered", "undelivered", "failed", "expired", "canceled", "uncertain"}, status)
	})
}

// reach waits until every accepted message is in one of some statuses.
func (l *load) reach(t *testing.T, within time.Duration, enough func(status string) bool) map[string]int {
	t.Helper()
	l.mu.Lock()
	open := slices.Collect(maps.Keys(l.envelopes))
	l.mu.Unlock()
	over := map[string]int{}
	eventually(t, within, "every accepted message reaches its end", func() (bool, string) {
		now := maps.Clone(over)
		var left []string
		for i, id := range open {
			var e envelopeView
			code, ok := l.c.get("/v1/envelopes/"+id, &e)
			if !ok {
				now[fmt.Sprintf("envelope %d", code)] += l.envelopes[id]
				if code != http.StatusNotFound { // nobody there: no use in asking for the others
					left = append(left, open[i:]...)
					break
				}
				left = append(left, id)
				continue
			}
			done := 0
			for s, n := range e.Counts {
				if now[s] += n; enough(s) {
					done += n
				}
			}
			if done < l.envelopes[id] {
				left = append(left, id)
				continue
			}
			for s, n := range e.Counts {
				over[s] += n
			}
		}
		open = left
		return len(open) == 0, fmt.Sprintf("%d of %d envelopes open, messages by status %v", len(open), len(l.envelopes), now)
	})
	return over
}

// inStatus lists the numbers of the accepted messages in a status.
func (l *load) inStatus(t *testing.T, status string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for id := range l.envelopes {
		for cursor := ""; ; {
			var page struct {
				Messages []message
				Next     string
			}
			if code, ok := l.c.get("/v1/envelopes/"+id+"/messages?limit=1000&status="+status+"&cursor="+cursor, &page); !ok {
				t.Fatalf("messages of %s: %d", id, code)
			}
			for _, m := range page.Messages {
				out[m.To] = true
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	return out
}

// onceEach holds what the gateways took against what was accepted: every accepted
// number once, except those in maybe, which may be missing but not there twice,
// and nothing else.
func (l *load) onceEach(t *testing.T, maybe map[string]bool) {
	t.Helper()
	taken := l.c.sim.counts(t)
	var problems []error
	for n, want := range l.numbers {
		switch got := taken[n]; {
		case got == want, got < want && maybe[n]:
		case got < want:
			problems = append(problems, fmt.Errorf("%s was lost: sent %d times of %d", n, got, want))
		default:
			problems = append(problems, fmt.Errorf("%s was sent %d times instead of %d", n, got, want))
		}
	}
	for n, got := range taken {
		if l.numbers[n] == 0 && !(l.unknown[n] && got == 1) {
			problems = append(problems, fmt.Errorf("%s was sent %d times and never accepted", n, got))
		}
	}
	if len(problems) > 0 {
		shown := problems[:min(5, len(problems))]
		t.Errorf("%d of %d numbers are wrong, among them:\n%v", len(problems), len(l.numbers), errors.Join(shown...))
	}
}

// lines are envelopes as NDJSON.
func lines(t *testing.T, envelopes ...map[string]any) string {
	t.Helper()
	var b bytes.Buffer
	for _, e := range envelopes {
		b.WriteString(encode(t, e) + "\n")
	}
	return b.String()
}

func decode(t *testing.T, data string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), into); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
}
