package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// gateways are the simulated gateways, seen through their control routes.
type gateways struct {
	t      *testing.T
	addr   string
	client *http.Client
}

// entry is one request that a gateway saw.
type entry struct {
	MonoNS     int64 `json:"mono_ns"`
	Type       string
	Method     string
	Accepted   bool
	Status     int
	Reason     string
	Recipients []struct{ To, From, Text, ID, Refused string }
}

type summary struct {
	Requests         int
	AcceptedMessages int `json:"accepted_messages"`
	Distinct         int
	Duplicates       int
	MaxPerSecond     int `json:"max_per_second"`
	Violations       map[string]int
	Statuses         map[string]int
	Reasons          map[string]int
	BatchSizes       map[string]int `json:"batch_sizes"`
}

func (g *gateways) call(t *testing.T, method, path string, body string) []byte {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+g.addr+"/_sim/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("simulator: %s %s: %d %s %v", method, path, resp.StatusCode, data, err)
	}
	return data
}

// faults replaces the faults in force.
func (g *gateways) faults(t *testing.T, list string) { t.Helper(); g.call(t, "POST", "faults", list) }

func (g *gateways) summary(t *testing.T, typ string) summary {
	t.Helper()
	var s summary
	if err := json.Unmarshal(g.call(t, "GET", "summary?type="+typ, ""), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// ledger returns every request, in order of arrival.
func (g *gateways) ledger(t *testing.T) []entry {
	t.Helper()
	var out []entry
	for dec := json.NewDecoder(strings.NewReader(string(g.call(t, "GET", "ledger", "")))); ; {
		var e entry
		if err := dec.Decode(&e); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
}

// counts says how often each number was taken.
func (g *gateways) counts(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, e := range g.ledger(t) {
		for _, r := range e.Recipients {
			if r.Refused == "" {
				out[r.To]++
			}
		}
	}
	return out
}

// taken waits until a gateway has taken so many messages.
func (g *gateways) taken(t *testing.T, typ string, n int, within time.Duration) {
	t.Helper()
	eventually(t, within, fmt.Sprintf("%s takes %d messages", typ, n), func() (bool, string) {
		s := g.summary(t, typ)
		return s.AcceptedMessages >= n, sprint(s)
	})
}

// within checks that no half-open second held more requests than the limit. The
// simulator notes the instant when it gets to read a header, which on a busy
// machine is later than its arrival.
func (g *gateways) within(t *testing.T, typ string, limit int) {
	t.Helper()
	s := g.summary(t, typ)
	if s.MaxPerSecond > limit {
		t.Errorf("%s: %d requests within a second, the limit is %d: %+v", typ, s.MaxPerSecond, limit, s)
	}
}
