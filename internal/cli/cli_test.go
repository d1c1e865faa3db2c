package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tuma-sms/tuma/internal/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

func testTypes() map[string]config.TypeDefaults {
	return map[string]config.TypeDefaults{"cloudrebue": {
		BaseURL: "https://bulk.cloudrebue.co.ke/api/v1", Batch: 100, MaxBatch: 100, Rate: 120, Credentials: []string{"token"},
	}}
}

// request is one that the API got.
type request struct {
	Method, URI, Body string
	Header            http.Header
}

// api answers with handlers by "METHOD /path" and remembers what it was asked.
type api struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
}

type answer func(n int, r request, w http.ResponseWriter)

// newAPI answers each route; n counts the requests of that route from 1.
func newAPI(t *testing.T, routes map[string]answer) *api {
	t.Helper()
	a := &api{}
	counts := map[string]int{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		req := request{r.Method, r.URL.RequestURI(), string(b), r.Header}
		route := r.Method + " " + r.URL.Path
		a.mu.Lock()
		a.requests = append(a.requests, req)
		counts[route]++
		n := counts[route]
		a.mu.Unlock()
		h, ok := routes[route]
		if !ok {
			http.Error(w, `{"code":"not_found"}`, http.StatusNotFound)
			return
		}
		h(n, req, w)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) got() []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// say answers with a status and body, whatever is asked.
func say(status int, body string) answer {
	return func(_ int, _ request, w http.ResponseWriter) { write(w, status, body) }
}

func write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// result is what one run of a command left.
type result struct {
	code        int
	out, errOut string
	waits       []time.Duration
}

// run runs tuma in this process; waits pass at once.
func run(t *testing.T, d Deps, args ...string) result {
	t.Helper()
	return runContext(t.Context(), d, args...)
}

func runContext(ctx context.Context, d Deps, args ...string) result {
	var out, errOut bytes.Buffer
	var r result
	d.Stdout, d.Stderr, d.Version = &out, &errOut, "1.2.3"
	if d.Types == nil {
		d.Types = testTypes()
	}
	if d.Now == nil {
		d.Now = func() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }
	}
	r.code = execute(ctx, args, d, func(ctx context.Context, d time.Duration) error {
		r.waits = append(r.waits, d)
		return ctx.Err()
	})
	r.out, r.errOut = out.String(), errOut.String()
	return r
}

func envOf(kv ...string) config.Lookup {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func decode[T any](t *testing.T, s string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return v
}

func TestUsageIsTwoAndOneLine(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"sned"},
		{"send", "--form", "x"},
		{"send"},
		{"send", "--from", "A", "--text", "x"},
		{"send", "--from", "A", "--text", "x", "--to", "+1", "--csv", "x.csv"},
		{"send", "--from", "A", "--text", "x", "--to", "+1", "--priority", "urgent"},
		{"send", "--from", "A", "--text", "x", "--to", "+1", "--send-at", "tomorrow"},
		{"send", "--from", "A", "--text", "x", "--to", "+1", "--on-uncertain", "pray"},
		{"send", "--from", "A", "--text", "x", "--to", "+1", "--var", "name"},
		{"send", "--from", "A", "--text", "x", "--csv", "/none.csv"},
		{"status"},
		{"status", "a", "b"},
		{"dead", "replay"},
		{"providers", "pause"},
		{"--url", "ftp://x", "status", "a"},
		{"bench", "--messages", "0"},
	} {
		r := run(t, Deps{}, args...)
		if r.code != 2 || strings.Count(r.errOut, "\n") != 1 || r.out != "" {
			t.Errorf("%v: code %d, %q, %q", args, r.code, r.errOut, r.out)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	if r := run(t, Deps{}, "--version"); r.code != 0 || r.out != "tuma 1.2.3\n" {
		t.Errorf("%+v", r)
	}
	r := run(t, Deps{Env: envOf("TUMA_KEY", "s3cr3t")}, "--help")
	if r.code != 0 || !strings.Contains(r.out, "send") || !strings.Contains(r.out, "bench") || strings.Contains(r.out, "s3cr3t") {
		t.Errorf("%+v", r)
	}
	if strings.Contains(r.out, "  up ") {
		t.Error("lists a command that cannot run")
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	r := run(t, Deps{}, "send", "--url", gone.URL, "--to", "+254712345678", "--from", "A", "--text", "x")
	if r.code != 1 || !strings.HasPrefix(r.errOut, "tuma send: cannot reach "+gone.URL+": ") || len(r.waits) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestURLAndKeyFromTheEnvironment(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"GET /v1/providers": say(200, `[]`)})
	for _, tt := range []struct {
		env  config.Lookup
		args []string
		want string
	}{
		{envOf("TUMA_URL", a.URL, "TUMA_KEY", "k1"), nil, "Bearer k1"},
		{envOf("TUMA_URL", a.URL), nil, "Bearer demo"},
		{envOf("TUMA_URL", "http://127.0.0.1:1", "TUMA_KEY", "k1"), []string{"--url", a.URL + "/", "--key", "k2"}, "Bearer k2"},
	} {
		r := run(t, Deps{Env: tt.env}, append(tt.args, "providers")...)
		got := a.got()
		if r.code != 0 || got[len(got)-1].Header.Get("Authorization") != tt.want {
			t.Errorf("%+v %+v", r, got)
		}
	}
}

func TestKeyNew(t *testing.T) {
	t.Parallel()
	r := run(t, Deps{}, "key", "new", "--json")
	k := decode[map[string]string](t, r.out)
	if r.code != 0 || !strings.HasPrefix(k["key"], "tuma_") || len(k["sha256"]) != 64 {
		t.Errorf("%+v", r)
	}
	_, err := config.Parse("", []byte("ingest: {tenants: [{name: a, keys_sha256: ["+k["sha256"]+"]}]}"), testTypes(), nil)
	if err != nil {
		t.Error(err)
	}
	if again := run(t, Deps{}, "key", "new"); strings.Contains(again.out, k["key"]) || !strings.Contains(again.out, "sha256  ") {
		t.Errorf("%+v", again)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	deps := Deps{Check: func(_ context.Context, p Params) ([]Finding, error) {
		f := []Finding{{Fine, "config", p.Config.File}}
		if p.Config.NATS.Replicas == 1 {
			f = append(f, Finding{Broken, "nats", "one replica without sync\x1b[2J"})
		}
		return f, nil
	}}
	good := file(t, "good.yaml", "nats: {replicas: 3}")
	if r := run(t, deps, "check", "--config", good); r.code != 0 || !strings.HasPrefix(r.out, "ok    config") {
		t.Errorf("%+v", r)
	}
	if r := run(t, deps, "check"); r.code != 1 || !strings.Contains(r.out, "FAIL  nats                         one replica without sync\n") {
		t.Errorf("%+v", r)
	}
	bad := file(t, "bad.yaml", "nats: {replicas: 3, foo: 1}")
	r := run(t, Deps{Check: deps.Check, Env: envOf("TUMA_CONFIG", bad)}, "check")
	if r.code != 2 || r.errOut != "tuma check: "+bad+":1: nats.foo: unknown key\n" {
		t.Errorf("%+v", r)
	}
	r = run(t, deps, "check", "--print", "--config", file(t, "c.yaml", "redis: {url: 'redis://:pw@h/0'}\nnats: {replicas: 3}"))
	if r.code != 0 || !strings.Contains(r.out, "redis://***@h/0") || strings.Contains(r.out, "pw") {
		t.Errorf("%+v", r)
	}
}

func TestUpAndSimulate(t *testing.T) {
	t.Parallel()
	var up Params
	var listen string
	deps := Deps{
		Default:  func() (*config.Config, error) { return config.Parse("built-in", nil, testTypes(), nil) },
		Up:       func(_ context.Context, p Params) error { up = p; return nil },
		Simulate: func(_ context.Context, _ Params, l string) error { listen = l; return nil },
	}
	if r := run(t, deps, "up", "--admin", "127.0.0.1:1"); r.code != 0 || up.Config.File != "built-in" {
		t.Errorf("%+v", r)
	}
	if got, err := up.AdminListen(); err != nil || got != "127.0.0.1:1" {
		t.Errorf("admin %q %v", got, err)
	}
	path := file(t, "t.yaml", "admin: {listen: '127.0.0.1:2'}")
	if r := run(t, deps, "up", "--config", path); r.code != 0 || up.Config.File != path {
		t.Errorf("%+v", r)
	}
	if got, _ := up.AdminListen(); got != "127.0.0.1:2" {
		t.Errorf("admin %q", got)
	}
	if r := run(t, deps, "simulate"); r.code != 0 || listen != "127.0.0.1:8090" {
		t.Errorf("%+v %s", r, listen)
	}
	deps.Up = func(context.Context, Params) error { return io.ErrUnexpectedEOF }
	if r := run(t, deps, "up"); r.code != 1 || r.errOut != "tuma up: unexpected EOF\n" {
		t.Errorf("%+v", r)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain é 日本":                       "plain é 日本",
		"\x1b[31mred\x1b[0m":               "red",
		"\x1b]0;title\x07x":                "x",
		"\x1b]8;;http://x\x1b\\link":       "link",
		"a\nb\tc\r":                        "a b c ",
		"bell\x07 del\x7f c1\u009b31m nul": "bell del c131m nul",
		"rtl\u202egnp":                     "rtlgnp",
		"marks\u200e\u200f\u061c\u2066":    "marks",
		"bad\xff":                          "bad\ufffd",
		"\x1bc":                            "",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	const in = "{\"a\":\"x\u009by\x7f\u202e\"}\n"
	got := cleanJSON([]byte(in))
	if got != "{\"a\":\"x\\u009by\\u007f\\u202e\"}\n" || decode[map[string]string](t, got)["a"] != "x\u009by\x7f\u202e" {
		t.Errorf("got %q", got)
	}
}
