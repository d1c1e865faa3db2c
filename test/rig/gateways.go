package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Gateways are the simulated gateways, seen through their control routes.
type Gateways struct {
	Addr    string
	client  *http.Client
	arrived *Stamped // nil: they are a process of their own
}

// Entry is one request that a gateway saw.
type Entry struct {
	MonoNS     int64 `json:"mono_ns"`
	Type       string
	Method     string
	Accepted   bool
	Status     int
	Reason     string
	Recipients []struct{ To, From, Text, ID, Refused string }
}

// Summary adds one gateway's requests up.
type Summary struct {
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

// Call makes one request of the control routes.
func (g *Gateways) Call(t testing.TB, method, path string, body string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+g.Addr+"/_sim/"+path, strings.NewReader(body))
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

// Faults replaces the faults in force.
func (g *Gateways) Faults(t testing.TB, list string) { t.Helper(); g.Call(t, "POST", "faults", list) }

// Summary adds up what one gateway has seen.
func (g *Gateways) Summary(t testing.TB, typ string) Summary {
	t.Helper()
	var s Summary
	if err := json.Unmarshal(g.Call(t, "GET", "summary?type="+typ, ""), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Ledger returns every request, in order of arrival.
func (g *Gateways) Ledger(t testing.TB) []Entry {
	t.Helper()
	var out []Entry
	for dec := json.NewDecoder(strings.NewReader(string(g.Call(t, "GET", "ledger", "")))); ; {
		var e Entry
		if err := dec.Decode(&e); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
}

// Counts says how often each number was taken.
func (g *Gateways) Counts(t testing.TB) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, e := range g.Ledger(t) {
		for _, r := range e.Recipients {
			if r.Refused == "" {
				out[r.To]++
			}
		}
	}
	return out
}

// Taken waits until a gateway has taken so many messages.
func (g *Gateways) Taken(t testing.TB, typ string, n int, within time.Duration) {
	t.Helper()
	Eventually(t, within, fmt.Sprintf("%s takes %d messages", typ, n), func() (bool, string) {
		s := g.Summary(t, typ)
		return s.AcceptedMessages >= n, Sprint(s)
	})
}

// Within checks that no half-open second held more requests than the limit, by when
// they arrived. When a gateway came to read them is later on a busy machine, and
// not the sender's to answer for.
func (g *Gateways) Within(t testing.TB, typ string, limit int) {
	t.Helper()
	at := g.arrived.Arrived(typ)
	if n := Most(at, time.Second); n > limit || len(at) == 0 {
		t.Errorf("%s: %d requests within a second, the limit is %d, of %d requests: %+v", typ, n, limit, len(at), g.Summary(t, typ))
	}
}
