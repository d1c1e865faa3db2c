package providertest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// recorder is a TB that keeps complaints to itself.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// complaints runs check with a recorder of its own.
func complaints(t *testing.T, check func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(r)
	}()
	<-done
	return strings.Join(r.said, "\n")
}

// The suite complains of what it is there for.
func TestOutcomeComplaints(t *testing.T) {
	t.Parallel()
	s := Suite{Credentials: map[string]string{"token": "canary-token"}}
	b := &providers.Batch{Messages: []providers.Message{s.message(0), s.message(1)}}
	ok := providers.Result{Class: providers.Accepted}
	failed := func(e providers.Error) error { e.Class = providers.Uncertain; return &e }
	tests := []struct {
		name    string
		results []providers.Result
		err     error
		want    string // part of the complaint; empty: none
	}{
		{"all well", []providers.Result{ok, ok}, nil, ""},
		{"an error that says nothing", nil, failed(providers.Error{Detail: "Bad sender"}), ""},
		{"a result missing", []providers.Result{ok}, nil, "1 results of 2"},
		{"a result without a class", []providers.Result{ok, {}}, nil, "no class"},
		{"an error of another type", nil, errors.New("x"), "*providers.Error"},
		{"an error that accepts", nil, &providers.Error{Class: providers.Accepted}, "none of an error"},
		{"a token", nil, failed(providers.Error{Detail: "bad canary-token"}), "credentials.token"},
		{"a text", nil, failed(providers.Error{Err: errors.New(s.message(1).Text)}), "text is repeated"},
		{"a number", nil, failed(providers.Error{Code: s.message(1).To[1:]}), "number is repeated"},
		{"a number in a result", []providers.Result{ok, {Class: providers.Rejected, Detail: s.message(0).To}}, nil, "number is repeated"},
		{"a long detail", []providers.Result{ok, {Class: providers.Rejected, Detail: strings.Repeat("x", 201)}}, nil, "200 bytes"},
	}
	for _, tt := range tests {
		got := complaints(t, func(tb testing.TB) { s.checkOutcome(tb, b, tt.results, tt.err) })
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: the suite says %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestOnlyHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"gateway.example": "", "other.example": "went to other.example"} {
		got := complaints(t, func(tb testing.TB) {
			r := httptest.NewRequest(http.MethodPost, "https://"+host+"/", http.NoBody)
			_, _ = onlyHost{tb, "gateway.example", &replay{status: 200}}.RoundTrip(r)
		})
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: the suite says %q, want %q", host, got, want)
		}
	}
}

func TestResponseFormats(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, source string
		status             int
		header             http.Header
		body               string
	}{
		{"body alone", "{\n}\n", "", 200, http.Header{}, "{\n}\n"},
		{"body alone, status beside", "{}", "status: 422", 422, http.Header{}, "{}"},
		{"prose", "StatusCode 401\nReason Invalid or Missing Token\nContent\n{\"a\": 1}", "", 401, http.Header{}, `{"a": 1}`},
		{"no blank line", "HTTP/1.1 200 OK \n{\n}", "", 200, http.Header{}, "{\n}"},
		{"headers", "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\n\r\nslow down", "", 429, http.Header{"Retry-After": {"7"}}, "slow down"},
		{"array", "StatusCode 200\nContent\n[\n]", "", 200, http.Header{}, "[\n]"},
		{"empty", "HTTP/1.1 204 No Content\n\n", "", 204, http.Header{}, ""},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "send", "x.response.http"), tt.text)
		write(t, filepath.Join(dir, "send", "x.source"), "kind: constructed\napi: a\nsection: s\n"+tt.source)
		all := fixtures(t, dir, "send", ".response.http")
		if len(all) != 1 {
			t.Fatalf("%s: %d fixtures", tt.name, len(all))
		}
		r := all[0].response(t)
		if r.status != tt.status || string(r.body) != tt.body {
			t.Errorf("%s: got %d %q, want %d %q", tt.name, r.status, r.body, tt.status, tt.body)
		}
		if diff := cmp.Diff(tt.header, r.header); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestCallbackFormats(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, method, query, header, body string }{
		{"body alone", `{"a": 1}`, "POST", "", "", `{"a": 1}`},
		{"query", "GET https://tuma.example/dlr?b=2&a=%2B1", "GET", "a=%2B1&b=2", "", ""},
		{"whole", "POST /dlr?x=1 HTTP/1.1\nContent-Type: text/plain\n\nline 1\n\nline 2", "POST", "x=1", "text/plain", "line 1\n\nline 2"},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "report", "x.request.http"), tt.text)
		write(t, filepath.Join(dir, "report", "x.source"), "kind: constructed\napi: a\nsection: s\ntime: 2026-01-02T03:04:05Z")
		cb := fixtures(t, dir, "report", ".request.http")[0].callback(t)
		got := []string{cb.Method, cb.Query.Encode(), cb.Header.Get("Content-Type"), string(cb.Body)}
		if diff := cmp.Diff([]string{tt.method, tt.query, tt.header, tt.body}, got); diff != "" || cb.Time.Year() != 2026 {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestSourceIsWanted(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"kind: docs-verbatim\napi: a\nsection: s": "",
		"kind: made up\napi: a\nsection: s":       "needs kind",
		"kind: constructed\nsection: s":           "needs kind",
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "x.source"), text)
		got := complaints(t, func(tb testing.TB) { fixture{path: filepath.Join(dir, "x")}.readSource(tb) })
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: the suite says %q, want %q", text, got, want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
