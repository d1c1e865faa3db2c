package providertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// fixture is one set of sibling files.
type fixture struct {
	path   string // without its extension
	source map[string]string
}

// fixtures finds those of one folder, by the file that every one of it has.
func fixtures(t testing.TB, dir, folder, mark string) []fixture {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, folder, "*"+mark))
	if err != nil {
		t.Fatal(err)
	}
	var out []fixture
	for _, name := range names {
		f := fixture{path: strings.TrimSuffix(name, mark)}
		f.source = f.readSource(t)
		out = append(out, f)
	}
	return out
}

func (f fixture) name() string { return filepath.Base(f.path) }

func (f fixture) readSource(t testing.TB) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range strings.Lines(string(f.read(t, ".source"))) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = strings.TrimSpace(value)
		}
	}
	kinds := []string{"docs-verbatim", "constructed", "sandbox-capture"}
	if !slices.Contains(kinds, fields["kind"]) || fields["api"] == "" || fields["section"] == "" {
		t.Errorf("%s.source: needs kind (one of %v), api and section", f.path, kinds)
	}
	return fields
}

func (f fixture) read(t testing.TB, ext string) []byte {
	t.Helper()
	b, err := os.ReadFile(f.path + ext)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// compare holds got against a file, or writes it anew when asked to.
func (f fixture) compare(t testing.TB, ext string, got []byte) {
	t.Helper()
	if os.Getenv("UPDATE_FIXTURES") != "" {
		if err := os.WriteFile(f.path+ext, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := f.read(t, ext); !bytes.Equal(got, want) {
		t.Errorf("%s%s\n--- got\n%s\n--- want\n%s", f.path, ext, got, want)
	}
}

// replay is a RoundTripper that answers with a fixture and keeps what was asked.
type replay struct {
	status   int
	header   http.Header
	body     []byte
	requests [][]byte // canonical
}

// Answer returns a transport that reads every request whole and gives it this
// answer, for an adapter's own tests. It is not for use by many goroutines.
func Answer(status int, body string) http.RoundTripper {
	return &replay{status: status, header: http.Header{}, body: []byte(body)}
}

func (r *replay) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.requests = append(r.requests, canonical(req, body))
	return &http.Response{
		StatusCode: r.status, Header: r.header, Request: req,
		ContentLength: int64(len(r.body)), Body: io.NopCloser(bytes.NewReader(r.body)),
	}, nil
}

// canonical writes a request so that people and diffs can read it: sorted
// headers, JSON indented, a form's fields on a line each, in their order.
func canonical(r *http.Request, body []byte) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s\n", r.Method, r.URL.RequestURI())
	header := r.Header.Clone()
	header.Del("User-Agent")
	_ = header.Write(&out) // sorted; a buffer does not fail
	text := strings.ReplaceAll(out.String(), "\r\n", "\n")
	if len(body) == 0 {
		return []byte(text)
	}
	text += "\n"
	if strings.HasPrefix(header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return []byte(text + strings.ReplaceAll(string(body), "&", "\n&") + "\n")
	}
	var indented bytes.Buffer
	if json.Indent(&indented, body, "", "  ") == nil {
		body = indented.Bytes()
	}
	return []byte(text + strings.TrimRight(string(body), "\n") + "\n")
}

var statusLine = regexp.MustCompile(`(?i)^(?:HTTP/[\d.]+|Status ?Code:?)\s+(\d{3})\b`)

// response reads an answer as documents print it; see the package comment.
func (f fixture) response(t testing.TB) *replay {
	t.Helper()
	r := &replay{status: 200, header: http.Header{}}
	if s := f.source["status"]; s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s.source: status: %v", f.path, err)
		}
		r.status = n
	}
	text := f.read(t, ".response.http")
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		line = bytes.TrimSpace(line)
		if len(line) > 0 && bytes.IndexByte([]byte("{[<"), line[0]) >= 0 {
			break
		}
		text = rest
		if len(line) == 0 {
			break
		}
		if m := statusLine.FindSubmatch(line); m != nil {
			r.status, _ = strconv.Atoi(string(m[1])) // three digits
		} else if key, value, ok := bytes.Cut(line, []byte(":")); ok && !bytes.ContainsAny(key, " \t") {
			r.header.Add(string(key), string(bytes.TrimSpace(value)))
		}
	}
	r.body = text
	return r
}

var requestLine = regexp.MustCompile(`^(GET|POST|PUT) (\S+)`)

// callback reads a callback as documents print it: a body alone (a POST), or a
// request line, headers, a blank line and a body.
func (f fixture) callback(t testing.TB) *providers.Callback {
	t.Helper()
	cb := &providers.Callback{Method: http.MethodPost, Header: http.Header{}, Query: url.Values{}, Time: Now()}
	if s := f.source["time"]; s != "" {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatalf("%s.source: time: %v", f.path, err)
		}
		cb.Time = at
	}
	text := f.read(t, ".request.http")
	m := requestLine.FindSubmatch(text)
	if m == nil {
		cb.Body = text
		return cb
	}
	u, err := url.Parse(string(m[2]))
	if err != nil {
		t.Fatalf("%s.request.http: %v", f.path, err)
	}
	cb.Method, cb.Query = string(m[1]), u.Query()
	in := bufio.NewReader(bytes.NewReader(text))
	for first := true; ; first = false {
		line, err := in.ReadString('\n')
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, ":"); ok && !first {
			cb.Header.Add(key, strings.TrimSpace(value))
		}
		if line == "" || err != nil {
			break
		}
	}
	cb.Body, err = io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return cb
}

func callbackOf(method, query, contentType string, body []byte) *providers.Callback {
	values, _ := url.ParseQuery(query) // the readable part, as net/http does
	return &providers.Callback{
		Method: method, Query: values, Body: body, Time: Now(),
		Header: http.Header{"Content-Type": {contentType}},
	}
}
