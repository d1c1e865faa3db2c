package ingest_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
)

func TestAuthentication(t *testing.T) {
	t.Parallel()
	r := start(t)
	for name, c := range map[string]struct {
		header string
		want   int
	}{
		"none": {"", 401}, "foreign": {"Bearer nobody", 401}, "no scheme": {"k-acme", 401}, "basic": {"Basic k-acme", 401},
		"empty key": {"Bearer ", 401}, "prefix of a key": {"Bearer k-acm", 401}, "longer": {"Bearer k-acme-3", 401}, "the hash itself": {"Bearer 0e1c", 401},
		"none algorithm": {"Bearer eyJhbGciOiJub25lIn0.e30.", 401},
		"right":          {"Bearer k-acme", 202}, "second key": {"Bearer k-acme-2", 202}, "any case of the scheme": {"bearer k-acme", 202},
	} {
		a := r.post(one, "Authorization", c.header)
		if a.status != c.want {
			t.Errorf("%s: %d, want %d", name, a.status, c.want)
		}
		if c.want == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	if a := r.do("k-acme", http.MethodPost, "/v1/providers/ke/pause", ""); a.status != http.StatusForbidden {
		t.Errorf("a tenant pauses: %d", a.status)
	}
}

func TestMediaTypes(t *testing.T) {
	t.Parallel()
	r := start(t)
	for typ, want := range map[string]int{
		"application/json": 202, "application/json; charset=utf-8": 202, "application/json; charset=UTF-8": 202,
		"application/json; charset=utf-16": 415, "text/plain": 415, "": 415, "multipart/form-data; boundary=x": 415, "application/x-www-form-urlencoded": 415, "application/": 415,
	} {
		if a := r.post(one, "Content-Type", typ); a.status != want {
			t.Errorf("%q: %d, want %d", typ, a.status, want)
		}
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	if a := r.send("k-acme", http.MethodPost, "/v1/messages", &bomb, "Content-Encoding", "gzip"); a.status != 415 {
		t.Errorf("gzip: %d", a.status)
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/v1/messages", 405}, {http.MethodPut, "/v1/messages", 405}, {http.MethodTrace, "/v1/messages", 405},
		{http.MethodPatch, "/v1/messages/x", 405}, {http.MethodPost, "/v1/envelopes/x", 405},
		{http.MethodGet, "/", 404}, {http.MethodGet, "/v1", 404}, {http.MethodGet, "/v2/messages", 404}, {http.MethodGet, "/v1/admin", 404},
		{http.MethodGet, "/v1/messages/a%2Fb", 404}, {http.MethodGet, "/v1/messages/%00", 404}, {http.MethodGet, "/v1/messages/..%2f..%2fadmin", 404},
		{http.MethodGet, "/v1/messages/nobody-0", 404}, {http.MethodGet, "/v1/envelopes/nobody", 404}, {http.MethodDelete, "/v1/messages/nobody-0", 404},
		{http.MethodGet, "/v1/dead", 403}, {http.MethodGet, "/v1/providers", 200},
	} {
		a := r.do("k-acme", c.method, c.path, "")
		if a.status != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, a.status, c.want)
		}
		if c.want >= 400 && a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s", c.method, c.path, a.header.Get("Content-Type"))
		}
	}
	if a := r.post(one, "X-HTTP-Method-Override", "DELETE"); a.status != 202 {
		t.Errorf("method override is obeyed: %d", a.status)
	}
	for _, q := range []string{"?dry_run=maybe", "?dry_run=2"} {
		if a := r.do("k-acme", http.MethodPost, "/v1/messages"+q, one); a.status != 400 {
			t.Errorf("%s: %d", q, a.status)
		}
	}
}

// endless is a body without an end.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	for i := range n {
		p[i] = ' '
	}
	e.left -= n
	return n, nil
}

func TestSizes(t *testing.T) {
	t.Parallel()
	r := start(t)
	if a := r.send("k-acme", http.MethodPost, "/v1/messages", &endless{17 << 20}); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("17 MiB of body: %d", a.status)
	}
	if a := r.raw("POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("x", 2<<20) + "\r\n\r\n"); !strings.HasPrefix(a, "HTTP/1.1 431") {
		t.Errorf("2 MiB of headers: %.40q", a)
	}
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, "X-%d: 1\r\n", i)
	}
	if a := r.raw("POST /v1/messages HTTP/1.1\r\nHost: x\r\n" + many.String() + "\r\n"); !strings.HasPrefix(a, "HTTP/1.1 431") {
		t.Errorf("100,000 headers: %.40q", a)
	}
}

func TestSmuggling(t *testing.T) {
	t.Parallel()
	r := start(t)
	auth := "Authorization: Bearer k-acme\r\nContent-Type: application/json\r\nHost: x\r\n"
	for name, head := range map[string]string{
		"two lengths":         "Content-Length: 10\r\nContent-Length: 60\r\n",
		"bad coding":          "Transfer-Encoding: xchunked\r\n",
		"length not a number": "Content-Length: +48\r\n",
		"space before colon":  "Content-Length : 48\r\n",
	} {
		a := r.raw("POST /v1/messages HTTP/1.1\r\n" + auth + head + "\r\n" + one)
		if !strings.HasPrefix(a, "HTTP/1.1 4") && !strings.HasPrefix(a, "HTTP/1.1 501") {
			t.Errorf("%s: %.60q", name, a)
		}
	}
	r.queue("ke", 0)
}

// A body that ends before its length is nobody's submission.
func TestCutBodyIsNotTaken(t *testing.T) {
	t.Parallel()
	r := start(t)
	conn := r.dial()
	head := "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k-acme\r\nContent-Type: application/x-ndjson\r\nContent-Length: 10000\r\n\r\n"
	if _, err := io.WriteString(conn, head+one); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(conn)
	if len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.1 400")) {
		t.Errorf("%.100q", got)
	}
	r.queue("ke", 0)
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// raw sends bytes as they are and returns the beginning of the answer.
func (r *rig) raw(request string) string {
	r.t.Helper()
	conn := r.dial()
	go func() { _, _ = io.WriteString(conn, request) }() // ends with the connection
	b := make([]byte, 512)
	n, _ := conn.Read(b)
	_ = conn.Close()
	return string(b[:n])
}

func TestOpenAPIListsEveryRoute(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.do("", http.MethodGet, "/openapi.json", "")
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	a.into(t, &doc)
	described := map[string]bool{}
	for path, methods := range doc.Paths {
		for method := range methods {
			if method != "parameters" {
				described[strings.ToUpper(method)+" "+path] = true
			}
		}
	}
	for _, pattern := range r.in.Patterns() {
		if !described[pattern] {
			t.Errorf("not described: %s", pattern)
		}
		delete(described, pattern)
	}
	for pattern := range described {
		t.Errorf("described, and not there: %s", pattern)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %q", doc.OpenAPI)
	}
}

func TestProvidersAndPause(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) { o.Operate = states{} })
	if a := r.do("k-beta", http.MethodGet, "/v1/providers", ""); strings.TrimSpace(a.body) != `{"providers":[{"name":"world","type":"bulksmsrates","up":true,"paused":false}]}` {
		t.Errorf("a tenant sees %s", a.body)
	}
	if a := r.do("k-ops", http.MethodPost, "/v1/providers/ke/pause", ""); a.status != 200 || !strings.Contains(a.body, `"paused":true`) {
		t.Errorf("pause: %d %s", a.status, a.body)
	}
	a := r.do("k-ops", http.MethodGet, "/v1/providers", "")
	if !strings.Contains(a.body, `{"name":"ke","type":"cloudrebue","up":false,"paused":true,"breaker":"closed","rate_used":0.5,"balance":"KES 12"}`) {
		t.Errorf("an operator sees %s", a.body)
	}
	id := r.accepted(one).ID
	r.eventually("waiting", func() bool {
		return strings.Contains(r.do("k-acme", http.MethodGet, "/v1/messages/"+id+"-0", "").body, `"waiting":{"reason":"paused","until":null}`)
	})
	if a := r.do("k-ops", http.MethodPost, "/v1/providers/ke/resume", ""); a.status != 200 || !strings.Contains(a.body, `"up":true`) {
		t.Errorf("resume: %d %s", a.status, a.body)
	}
	if a := r.do("k-ops", http.MethodPost, "/v1/providers/nobody/pause", ""); a.status != 404 {
		t.Errorf("an unknown account: %d", a.status)
	}
}
