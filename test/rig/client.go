package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// Answer is what a submission is answered with.
type Answer struct {
	ID       string
	Accepted int
	Rejected int
	Messages []struct {
		ID, To   string
		Segments int
	}
	Errors []map[string]any
}

// Message is what GET answers for one.
type Message struct {
	ID, To, Status, Provider string
	EnvelopeID               string `json:"envelope_id"`
	History                  []struct{ Status, Detail string }
}

// EnvelopeView is what GET answers for an envelope.
type EnvelopeView struct {
	ID       string
	Messages int
	Counts   map[string]int
}

// Request makes one call of the API; a body of type string is sent as it is.
func (c *Cluster) Request(method, path string, header http.Header, body string, into any) (int, []byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+c.API+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+Key)
	req.Header.Set("Content-Type", "application/json")
	maps.Copy(req.Header, header)
	resp, err := c.Client.Do(req)
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

// Get reads one thing; false while there is none or nobody who knows.
func (c *Cluster) Get(path string, into any) (int, bool) {
	code, _, err := c.Request(http.MethodGet, path, nil, "", into)
	return code, err == nil && code == http.StatusOK
}

// Submit hands one envelope over and expects it to be accepted whole.
func (c *Cluster) Submit(env map[string]any) Answer {
	c.T.Helper()
	var a Answer
	code, body, err := c.Request(http.MethodPost, "/v1/messages", nil, Encode(c.T, env), &a)
	if err != nil || code != http.StatusAccepted || a.Rejected != 0 {
		c.T.Fatalf("submit: %d %s %v", code, body, err)
	}
	return a
}

// Encode writes JSON.
func Encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Numbers returns n Kenyan numbers; first tells stories' parts apart.
func Numbers(first, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("+2547%08d", first+i)
	}
	return out
}

// Campaign is an envelope to some numbers.
func Campaign(to []string) map[string]any {
	recipients := make([]map[string]any, len(to))
	for i, n := range to {
		recipients[i] = map[string]any{"to": n}
	}
	return map[string]any{"recipients": recipients, "from": "ACME", "text": "Habari"}
}

// Single is an envelope to one number.
func Single(to string) map[string]any {
	return map[string]any{"to": to, "from": "ACME", "text": "Habari"}
}

// Lines are envelopes as NDJSON.
func Lines(t testing.TB, envelopes ...map[string]any) string {
	t.Helper()
	var b bytes.Buffer
	for _, e := range envelopes {
		b.WriteString(Encode(t, e) + "\n")
	}
	return b.String()
}

// Decode reads JSON.
func Decode(t testing.TB, data string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), into); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
}
