package strength

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// env is an envelope as clients write it.
type env map[string]any

func number(prefix string, i int) string { return fmt.Sprintf("%s%0*d", prefix, 13-len(prefix), i) }

// call makes one request of the API.
func (c *cluster) call(method, path, contentType string, body io.Reader, into any) int {
	c.T.Helper()
	req, err := http.NewRequestWithContext(c.T.Context(), method, "http://"+c.API+path, body)
	if err != nil {
		c.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer demo")
	req.Header.Set("Content-Type", contentType)
	resp, err := c.Client.Do(req)
	if err != nil {
		c.T.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.T.Fatal(err)
	}
	if into != nil && resp.StatusCode < 300 {
		if err := json.Unmarshal(data, into); err != nil {
			c.T.Fatal(err)
		}
	} else if resp.StatusCode >= 400 {
		c.T.Logf("%s %s: %s %.300s", method, path, resp.Status, data)
	}
	return resp.StatusCode
}

type answer struct {
	ID       string
	Accepted int
	Rejected int
}

// submit hands one envelope of the first tenant over, and returns when the 202
// was there.
func (c *cluster) submit(e env) (answer, time.Time) {
	c.T.Helper()
	var a answer
	if code := c.call("POST", "/v1/messages", "application/json", strings.NewReader(encode(e)), &a); code != http.StatusAccepted {
		c.T.Fatalf("submit: %d", code)
	}
	return a, time.Now()
}

func encode(e env) string {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // maps of texts and numbers
	}
	return string(b)
}

// lines hands n envelopes over in one body, and expects all of them accepted.
func (c *cluster) lines(n int, make func(i int) env) {
	c.T.Helper()
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriterSize(w, 64<<10)
		for i := range n {
			_, _ = b.WriteString(encode(make(i)) + "\n") // the reader's end shows in the answer
		}
		_ = b.Flush()
		_ = w.Close()
	}()
	var a answer
	if code := c.call("POST", "/v1/messages", "application/x-ndjson", r, &a); code != http.StatusAccepted || a.Rejected > 0 {
		c.T.Fatalf("submit: %d %+v", code, a)
	}
}

// operate pauses or resumes an account.
func (c *cluster) operate(a *acct, what string) {
	c.T.Helper()
	if code := c.call("POST", "/v1/providers/"+a.name+"/"+what, "application/json", nil, nil); code >= 300 {
		c.T.Fatalf("%s %s: %d", what, a.name, code)
	}
}

// cancel cancels an envelope and returns how many messages that were not sent.
func (c *cluster) cancel(id string) int {
	c.T.Helper()
	var a struct{ Canceled int }
	if code := c.call("DELETE", "/v1/envelopes/"+id, "application/json", nil, &a); code != http.StatusOK {
		c.T.Fatalf("cancel: %d", code)
	}
	return a.Canceled
}

// counts returns how many messages of an envelope are in which status.
func (c *cluster) counts(id string) map[string]int {
	c.T.Helper()
	var v struct{ Counts map[string]int }
	if code := c.call("GET", "/v1/envelopes/"+id, "application/json", nil, &v); code != http.StatusOK {
		return nil
	}
	return v.Counts
}

// campaign is an envelope to n numbers from the first on.
func campaign(prefix string, first, n int, more ...func(env)) env {
	to := make([]map[string]any, n)
	for i := range to {
		to[i] = map[string]any{"to": number(prefix, first+i)}
	}
	e := env{"recipients": to, "from": "ACME", "text": "Habari"}
	for _, m := range more {
		m(e)
	}
	return e
}

func priority(p string) func(env) { return func(e env) { e["priority"] = p } }

// taken waits until an account's gateway has taken so many messages.
func (c *cluster) taken(a *acct, n int, within time.Duration) {
	c.T.Helper()
	rig.Eventually(c.T, within, fmt.Sprintf("%s takes %d messages", a.name, n), func() (bool, string) {
		got := a.messages()
		return got >= n, fmt.Sprint(got)
	})
}
