package rig

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
)

// Nothing is an environment without variables.
func Nothing(string) (string, bool) { return "", false }

// Config reads a config that a test has written.
func Config(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("tuma.yaml", []byte(text), app.TypeDefaults(), Nothing)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Inside runs a program in this process, until the test ends or stop is called,
// which waits for its end. What of p is not set is harmless: no variables, and
// output to nowhere.
func Inside(t testing.TB, run func(context.Context, cli.Params) error, p cli.Params) (stop func()) {
	t.Helper()
	if p.Env == nil {
		p.Env = Nothing
	}
	if p.Stdout == nil {
		p.Stdout = io.Discard
	}
	if p.Stderr == nil {
		p.Stderr = io.Discard
	}
	p.Version = "test"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, p) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Call makes one call with an API key, and a JSON body; 0: nobody answers.
func Call(t testing.TB, method, url, key, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, data
}

// Ready waits until a program says at its admin port that it is.
func Ready(t testing.TB, admin string, logs *Buffer) {
	t.Helper()
	Eventually(t, 30*time.Second, "ready", func() (bool, string) {
		code, _ := Call(t, http.MethodGet, "http://"+admin+"/readyz", "", "")
		return code == http.StatusOK, logs.Tail(40)
	})
}

// Buffer keeps what programs write. The zero value is ready for use, by many at
// once.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *Buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// String is all that was written.
func (s *Buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Tail is the last lines of it.
func (s *Buffer) Tail(lines int) string {
	all := strings.Split(strings.TrimSpace(s.String()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
