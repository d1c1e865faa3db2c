package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Load is what a story has submitted: its envelopes, and how many messages each
// has. Submitting goes on through outages, as a careful client does it: the same
// envelope again, under the same idempotency key, until the answer is 202.
type Load struct {
	c *Cluster
	// Forget makes clients give an envelope up when the connection breaks: whether
	// it was accepted is not known then, and its messages may be sent or not.
	Forget bool

	mu        sync.Mutex
	Envelopes map[string]int  // accepted: id -> messages
	Numbers   map[string]int  // accepted: number -> how often
	Unknown   map[string]bool // numbers of what was given up
	Refusals  map[string]int  // answers other than 202
}

// NewLoad returns one that has submitted nothing.
func NewLoad(c *Cluster) *Load {
	return &Load{c: c, Envelopes: map[string]int{}, Numbers: map[string]int{}, Unknown: map[string]bool{}, Refusals: map[string]int{}}
}

// Messages counts the messages that were accepted.
func (l *Load) Messages() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, k := range l.Envelopes {
		n += k
	}
	return n
}

// Submit hands envelopes over, several at a time, until all are accepted.
func (l *Load) Submit(t testing.TB, name string, envelopes ...map[string]any) {
	t.Helper()
	const clients = 8
	var group sync.WaitGroup
	next := make(chan int)
	for range clients {
		group.Go(func() {
			for i := range next {
				if err := l.Insist(fmt.Sprintf("%s-%d", name, i), envelopes[i]); err != nil {
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

// Trickle submits a small envelope every now and then, from
// several clients, until it is told to stop. The returned function tells it, and
// waits until all are accepted.
func (l *Load) Trickle(t testing.TB, name string, first int) (stop func()) {
	const clients, every, size = 4, 25 * time.Millisecond, 5
	var group sync.WaitGroup
	over := make(chan struct{})
	for c := range clients {
		group.Go(func() {
			for i := 0; ; i++ {
				n := first + (c*10_000+i)*size
				if err := l.Insist(fmt.Sprintf("%s-%d-%d", name, c, i), Campaign(Numbers(n, size))); err != nil {
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

// Insist hands one envelope over, again and again under one key, until it is accepted.
func (l *Load) Insist(key string, env map[string]any) error {
	data, err := json.Marshal(env)
	if err != nil {
		return err
	}
	header := http.Header{"Idempotency-Key": {key}}
	if l.Forget {
		header = nil // net/http repeats a request by itself if it has one
	}
	for deadline := time.Now().Add(40 * time.Second); ; {
		var a Answer
		code, body, err := l.c.Request(http.MethodPost, "/v1/messages", header, string(data), &a)
		if err == nil && code == http.StatusAccepted {
			l.Accepted(a)
			return nil
		}
		l.note(code, err)
		if code == 0 && l.Forget && !errors.Is(err, syscall.ECONNREFUSED) {
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

// Accepted notes what an answer says was accepted.
func (l *Load) Accepted(a Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Envelopes[a.ID] = a.Accepted
	for _, m := range a.Messages {
		l.Numbers[m.To]++
	}
}

func (l *Load) giveUp(env map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range env["recipients"].([]map[string]any) {
		l.Unknown[r["to"].(string)] = true
	}
}

func (l *Load) note(code int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what := fmt.Sprint(code)
	if err != nil {
		what = "no answer"
	}
	l.Refusals[what]++
}

// Settled waits until every accepted message is as far as it can come, and
// returns how many are in each status. Reports are waited for too.
func (l *Load) Settled(t testing.TB, within time.Duration) map[string]int {
	t.Helper()
	return l.Reach(t, within, func(status string) bool {
		return slices.Contains([]string{"delivered", "undelivered", "failed", "expired", "canceled", "uncertain"}, status)
	})
}

// Reach waits until every accepted message is in one of some statuses.
func (l *Load) Reach(t testing.TB, within time.Duration, enough func(status string) bool) map[string]int {
	t.Helper()
	l.mu.Lock()
	open := slices.Collect(maps.Keys(l.Envelopes))
	l.mu.Unlock()
	over := map[string]int{}
	Eventually(t, within, "every accepted message reaches its end", func() (bool, string) {
		now := maps.Clone(over)
		var left []string
		for i, id := range open {
			var e EnvelopeView
			code, ok := l.c.Get("/v1/envelopes/"+id, &e)
			if !ok {
				now[fmt.Sprintf("envelope %d", code)] += l.Envelopes[id]
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
			if done < l.Envelopes[id] {
				left = append(left, id)
				continue
			}
			for s, n := range e.Counts {
				over[s] += n
			}
		}
		open = left
		return len(open) == 0, fmt.Sprintf("%d of %d envelopes open, messages by status %v", len(open), len(l.Envelopes), now)
	})
	return over
}

// InStatus lists the numbers of the accepted messages in a status.
func (l *Load) InStatus(t testing.TB, status string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for id := range l.Envelopes {
		for cursor := ""; ; {
			var page struct {
				Messages []Message
				Next     string
			}
			if code, ok := l.c.Get("/v1/envelopes/"+id+"/messages?limit=1000&status="+status+"&cursor="+cursor, &page); !ok {
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

// OnceEach holds what the gateways took against what was accepted: every accepted
// number once, except those in maybe, which may be missing but not there twice,
// and nothing else.
func (l *Load) OnceEach(t testing.TB, maybe map[string]bool) {
	t.Helper()
	taken := l.c.Sim.Counts(t)
	var problems []error
	for n, want := range l.Numbers {
		switch got := taken[n]; {
		case got == want, got < want && maybe[n]:
		case got < want:
			problems = append(problems, fmt.Errorf("%s was lost: sent %d times of %d", n, got, want))
		default:
			problems = append(problems, fmt.Errorf("%s was sent %d times instead of %d", n, got, want))
		}
	}
	for n, got := range taken {
		if l.Numbers[n] == 0 && !(l.Unknown[n] && got == 1) {
			problems = append(problems, fmt.Errorf("%s was sent %d times and never accepted", n, got))
		}
	}
	if len(problems) > 0 {
		shown := problems[:min(5, len(problems))]
		t.Errorf("%d of %d numbers are wrong, among them:\n%v", len(problems), len(l.Numbers), errors.Join(shown...))
	}
}
