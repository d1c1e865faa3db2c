package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// message is one recipient that was submitted; its number names it.
type message struct {
	to, typ       string
	envelope      string          // "" while it is not known
	ids           map[string]bool // envelopes that were told of
	accepted      bool            // a 202, or an ack of the bus
	retry         bool            // its policy
	after, before time.Time       // send_at, expires_at; zero: none
}

// load is what clients have submitted and what they were answered. Clients are
// careful: they repeat a submission under its key until it is accepted.
type load struct {
	w     *world
	retry bool // the policy of everything that says nothing else
	apis  func() []string
	next  atomic.Int64 // number

	mu        sync.Mutex
	messages  map[string]*message // by number
	envelopes map[string][]*message
	canceled  map[string]int // envelope: how many a DELETE counted
	answers   map[string]int // other than 202
}

func newLoad(w *world) *load {
	return &load{w: w, apis: func() []string { return []string{w.API} },
		messages: map[string]*message{}, envelopes: map[string][]*message{}, canceled: map[string]int{}, answers: map[string]int{}}
}

// shapes of numbers that are routed to each type.
func shape(typ string) string {
	return map[string]string{
		"cloudrebue": "+2547%08d", "digitalservices": "+25078%07d", "smsbox": "+226%08d", "smsscheduler": "+336%08d", "bulksmsrates": "+4479%08d",
	}[typ]
}

// envelope makes an envelope to n new numbers of a type; more changes it.
func (l *load) envelope(typ, priority string, n int, more map[string]any) (map[string]any, []*message) {
	to := make([]map[string]any, n)
	ms := make([]*message, n)
	for i := range ms {
		ms[i] = &message{to: fmt.Sprintf(shape(typ), 10_000+l.next.Add(1)), typ: typ, retry: l.retry, ids: map[string]bool{}}
		to[i] = map[string]any{"to": ms[i].to}
	}
	policy := "hold"
	if l.retry {
		policy = "retry"
	}
	e := map[string]any{"recipients": to, "from": "ACME", "text": "Habari ya leo", "priority": priority, "on_uncertain": policy}
	for k, v := range more {
		if at, ok := v.(time.Time); ok {
			for _, m := range ms {
				if k == "send_at" {
					m.after = at
				} else {
					m.before = at
				}
			}
			v = at.Format(time.RFC3339Nano)
		}
		e[k] = v
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range ms {
		l.messages[m.to] = m
	}
	return e, ms
}

// submit hands an envelope over until it is accepted, or ctx is done: then nobody
// knows. With an empty key it is given up when the connection breaks.
func (l *load) submit(ctx context.Context, key string, e map[string]any, ms []*message) (id string, err error) {
	body, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	header := http.Header{}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	for {
		apis := l.apis()
		c := *l.w.Cluster
		c.API = apis[rand.IntN(len(apis))]
		var a rig.Answer
		code, data, err := c.Request(http.MethodPost, "/v1/messages", header, string(body), &a)
		switch {
		case err == nil && code == http.StatusAccepted:
			l.accept(a.ID, ms)
			return a.ID, nil
		case code == http.StatusUnprocessableEntity || code == http.StatusBadRequest:
			return "", fmt.Errorf("%d %s", code, data)
		}
		l.note(code, err)
		if key == "" && (code == 0 || code >= 500) { // it may be stored: only a key makes it safe to repeat
			return "", nil
		}
		select {
		case <-ctx.Done():
			return "", nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (l *load) accept(id string, ms []*message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.envelopes[id] = ms
	for _, m := range ms {
		m.accepted, m.envelope, m.ids[id] = true, id, true
	}
}

func (l *load) note(code int, err error) {
	what := fmt.Sprint(code)
	if err != nil {
		what = "no answer"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[what]++
}

// cancel cancels an envelope. What an answer says was cancelled counts; what was
// asked without an answer may have been cancelled.
func (l *load) cancel(ctx context.Context, id string) {
	for ctx.Err() == nil {
		apis := l.apis()
		c := *l.w.Cluster
		c.API = apis[rand.IntN(len(apis))]
		var a struct{ Canceled int }
		code, _, err := c.Request(http.MethodDelete, "/v1/envelopes/"+id, nil, "", &a)
		if err == nil && code == http.StatusOK {
			l.mu.Lock()
			l.canceled[id] += a.Canceled
			l.mu.Unlock()
			return
		}
		if code != 0 && code < 500 && code != http.StatusNotFound {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// publish submits over the bus, until JetStream has it.
func (l *load) publish(ctx context.Context, publish func(ctx context.Context, subject, id string, data []byte) error, key, priority string, e map[string]any, ms []*message) error {
	delete(e, "priority") // the subject's
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := publish(within, "sms.submit."+rig.Tenant+"."+priority, key, body)
		cancel()
		if err == nil {
			l.mu.Lock()
			for _, m := range ms {
				m.accepted = true
			}
			l.mu.Unlock()
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}
