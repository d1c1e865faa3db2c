package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/test/rig"
)

// strict are the gateways whose reports always find their message: each batch has
// a callback URL of its own.
func strict(typ string) bool { return typ == "cloudrebue" || typ == "digitalservices" }

// seen is what the installation says of a message.
type seen struct {
	status   string
	attempts int
	told     map[string]time.Time // by status, when the first such event was told
	changes  map[string]int       // by status, events with different ids
}

// judgement is what came of a run.
type judgement struct {
	messages, unknown       int // accepted; and those of which the client knows nothing
	lost, twice, uncertain  int
	retried                 int // sent twice, as their policy says
	forgotten               int // accepted twice under one key: both who knew it had forgotten
	taken, matched, reports int // messages that gateways have; with their report; callbacks that were answered 2xx
	statuses                map[string]int
	most                    map[string]int // requests in any second, by type
	broken                  []string       // promises
	unreported              []string       // messages that were taken, and nothing is known of them
}

func (j *judgement) breaks(format string, args ...any) {
	j.broken = append(j.broken, fmt.Sprintf(format, args...))
}

// counts says how often each number was taken, and when.
func (w *world) counts() map[string][]time.Time {
	out := map[string][]time.Time{}
	for e := range w.sim.Ledger().Each("") {
		if !e.Accepted || e.Sandbox {
			continue
		}
		for _, r := range e.Recipients {
			if r.Refused == "" {
				out[r.To] = append(out[r.To], e.Taken)
			}
		}
	}
	return out
}

// drain waits until every message is as far as it can come, and returns what the
// installation says of each, by number. What is open after that, or does not change
// any more while no gateway has anything to report, is told by judge.
func (w *world) drain(t *testing.T, within time.Duration) map[string]*seen {
	t.Helper()
	deadline := time.Now().Add(within)
	out := map[string]*seen{}
	left, since := -1, time.Now()
	polled := strings.Contains(w.Settings.Types, "smsscheduler")
	for every := time.NewTicker(500 * time.Millisecond); ; <-every.C {
		w.readEvents(t, out)
		taken := w.counts()
		open := w.look(out, taken)
		pending := 0
		for _, typ := range types(w.Settings.Types) {
			pending += w.sim.Ledger().Summary(typ).Reports.Pending
		}
		if len(open) != left || pending > 0 {
			left, since = len(open), time.Now()
		}
		if left == 0 && pending == 0 || !polled && time.Since(since) > still || time.Now().After(deadline) {
			every.Stop()
			w.correct(t, out)
			return out
		}
	}
}

// correct asks again about messages that were over, and of which a report has told
// otherwise since.
func (w *world) correct(t *testing.T, out map[string]*seen) {
	t.Helper()
	w.readEvents(t, out)
	late := map[string]bool{}
	w.l.mu.Lock()
	for to, s := range out {
		if m := w.l.messages[to]; m != nil && s.status != "delivered" && s.changes["delivered"] > 0 {
			late[m.envelope] = true
		}
	}
	w.l.mu.Unlock()
	for id := range late {
		w.ask(id, out)
	}
}

// still is longer than anything waits by itself: for an ack, a lease, evidence of a
// message that is urgent, or a schedule that is stuck. A look-up whose collector died
// waits longer.
const still = 45 * time.Second

func types(list string) []string {
	if list == "" {
		return []string{"cloudrebue"}
	}
	return strings.Split(list, ",")
}

// look asks about every envelope that is not over, and returns those that are open.
func (w *world) look(out map[string]*seen, taken map[string][]time.Time) (open []string) {
	w.l.mu.Lock()
	envelopes := maps.Clone(w.l.envelopes)
	for _, m := range w.l.messages { // over the bus: known by their event
		if m.accepted && m.envelope == "" {
			open = append(open, m.to)
		}
	}
	w.l.mu.Unlock()
	for id, ms := range envelopes {
		over := true
		for _, m := range ms {
			s := out[m.to]
			over = over && s != nil && ended(m, s, len(taken[m.to]))
		}
		if over {
			continue
		}
		if !w.ask(id, out) {
			open = append(open, id)
			continue
		}
		for _, m := range ms {
			if s := out[m.to]; s == nil || !ended(m, s, len(taken[m.to])) {
				open = append(open, id)
				break
			}
		}
	}
	return open
}

// ended reports whether nothing more is to come of a message.
func ended(m *message, s *seen, taken int) bool {
	switch s.status {
	case "delivered":
		return true
	case "undelivered", "failed", "expired", "canceled", "rejected":
		return taken == 0 || !strict(m.typ)
	case "uncertain":
		return (!m.retry || s.attempts >= 2) && (taken == 0 || !strict(m.typ))
	}
	return false
}

// ask reads an envelope's messages.
func (w *world) ask(id string, out map[string]*seen) bool {
	apis := w.l.apis()
	c := *w.Cluster
	c.API = apis[0]
	for cursor := ""; ; {
		var page struct {
			Messages []struct {
				To, Status string
				Attempts   int
			}
			Next string
		}
		code, _, err := c.Request(http.MethodGet, "/v1/envelopes/"+id+"/messages?limit=1000&cursor="+cursor, nil, "", &page)
		if err != nil || code != http.StatusOK {
			return false
		}
		for _, m := range page.Messages {
			s := of(out, m.To)
			s.status, s.attempts = m.Status, m.Attempts
		}
		if cursor = page.Next; cursor == "" {
			return true
		}
	}
}

func of(out map[string]*seen, to string) *seen {
	if out[to] == nil {
		out[to] = &seen{told: map[string]time.Time{}, changes: map[string]int{}}
	}
	return out[to]
}

// readEvents reads all events from the first one on.
func (w *world) readEvents(t *testing.T, out map[string]*seen) {
	t.Helper()
	ctx := rig.Timeout(t, 20*time.Second)
	c, err := w.publisher().OrderedConsumer(ctx, "SMS_EVENTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		return // the next time
	}
	for _, s := range out {
		clear(s.told)
		clear(s.changes)
	}
	ids := map[string]bool{}
	for more := true; more; {
		batch, err := c.FetchNoWait(1000)
		if err != nil {
			return
		}
		more = false
		for m := range batch.Messages() {
			more = true
			w.readEvent(t, m.Data(), ids, out)
		}
	}
}

func (w *world) readEvent(t *testing.T, data []byte, ids map[string]bool, out map[string]*seen) {
	var e struct {
		ID, Status string
		Time       time.Time
		Messages   []struct {
			To         string
			EnvelopeID string `json:"envelope_id"`
		}
	}
	if err := json.Unmarshal(data, &e); err != nil {
		t.Errorf("event: %v", err)
		return
	}
	if ids[e.ID] {
		return
	}
	ids[e.ID] = true
	for _, m := range e.Messages {
		s := of(out, m.To)
		s.changes[e.Status]++
		if at, ok := s.told[e.Status]; !ok || e.Time.Before(at) {
			s.told[e.Status] = e.Time
		}
		w.l.learn(m.To, m.EnvelopeID)
	}
}

// learn notes which envelope a message is in that was submitted over the bus, or
// whose answer was lost.
func (l *load) learn(to, envelope string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[to]
	if m == nil || envelope == "" {
		return
	}
	m.ids[envelope] = true
	if m.envelope == "" {
		m.envelope = envelope
		l.envelopes[envelope] = append(l.envelopes[envelope], m)
	}
}

// judge holds the ledger against what was accepted and what was said.
func (w *world) judge(said map[string]*seen) *judgement {
	j := &judgement{statuses: map[string]int{}, most: map[string]int{}}
	taken := w.counts()
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	excused := 0 // reports that their gateway has given up, or has still to make
	for _, typ := range types(w.Settings.Types) {
		r := w.sim.Ledger().Summary(typ).Reports
		j.reports += r.Done
		excused += r.GivenUp + r.Pending
	}
	for _, m := range w.l.messages {
		s := said[m.to]
		if s == nil {
			s = &seen{}
		}
		j.message(m, s, taken[m.to])
	}
	if len(j.unreported) > excused {
		j.broken = append(j.broken, j.unreported...)
	}
	for to := range taken {
		if w.l.messages[to] == nil {
			j.breaks("%s was sent and never submitted", to)
		}
	}
	for id, n := range w.l.canceled {
		free := 0
		for _, m := range w.l.envelopes[id] {
			if len(taken[m.to]) == 0 {
				free++
			}
		}
		if free < n {
			j.breaks("of envelope %s %d were counted as cancelled, and only %d not sent", id, n, free)
		}
	}
	slices.Sort(j.broken)
	return j
}

// tolerance is between a status' time and the gateway's coming to take a request.
const tolerance = 500 * time.Millisecond

// message judges one.
func (j *judgement) message(m *message, s *seen, at []time.Time) {
	n := len(at)
	if j.taken += n; m.accepted {
		j.messages++
		j.statuses[s.status]++
	} else {
		j.unknown++
	}
	if len(m.ids) > 1 { // what became of each of them its number does not tell
		j.forgotten++
		if n > len(m.ids)*2 {
			j.breaks("sent %d times and accepted %d times: %s", n, len(m.ids), m.to)
		}
		if m.accepted && s.status == "" {
			j.breaks("answered with an id that nobody knows: %s of %s", m.to, m.envelope)
		}
		return
	}
	_, uncertain := s.told["uncertain"]
	if s.status == "uncertain" {
		j.uncertain++
	}
	if s.status == "delivered" && n > 0 {
		j.matched++
	}
	name := fmt.Sprintf("%s (%s, status %q, attempts %d, told %v, taken %d)", m.to, m.typ, s.status, s.attempts, s.changes, n)
	switch {
	case n > 2, n == 2 && !(m.retry && uncertain):
		j.twice++
		j.breaks("sent twice: %s", name)
	case n == 2:
		j.retried++
	}
	if uncertain && n > 0 {
		late := 0
		for _, t := range at {
			if t.After(s.told["uncertain"].Add(tolerance)) {
				late++
			}
		}
		if late > 1 || late == 1 && !m.retry {
			j.breaks("sent after it was called uncertain: %s", name)
		}
	}
	for _, t := range at {
		if !m.before.IsZero() && t.After(m.before.Add(tolerance)) || !m.after.IsZero() && t.Before(m.after.Add(-time.Millisecond)) {
			j.breaks("sent at %s, wanted after %s, before %s: %s", t, m.after, m.before, name)
		}
	}
	switch s.status {
	case "delivered", "submitted", "undelivered":
		if n == 0 {
			j.lost++
			j.breaks("lost: said to be sent: %s", name)
		}
	case "failed", "expired", "canceled", "rejected":
		if n > 0 && !uncertain {
			j.breaks("sent all the same: %s", name)
		}
	case "uncertain":
	default:
		if m.accepted {
			j.lost++
			j.breaks("lost: not at an end: %s", name)
		}
	}
	if m.accepted && n > 0 && s.status != "delivered" && (strict(m.typ) || s.status != "uncertain") {
		j.unreported = append(j.unreported, "its report changed nothing: "+name)
	}
}

// publisher is a connection to NATS that nothing disturbs.
func (w *world) publisher() jetstream.JetStream {
	if w.js == nil {
		w.js = w.Publisher()
	}
	return w.js
}
