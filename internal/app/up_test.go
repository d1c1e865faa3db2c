package app_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
)

// jaeger takes traces as an OTLP receiver does.
type jaeger struct {
	*httptest.Server
	mu    sync.Mutex
	spans map[string][]string // names by trace id
	raw   bytes.Buffer
}

func newJaeger(t *testing.T) *jaeger {
	j := &jaeger{spans: map[string][]string{}}
	j.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		data, err := io.ReadAll(body)
		var req collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(data, &req) != nil {
			t.Error("not an OTLP request")
			return
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.raw.Write(data)
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					id := hex.EncodeToString(s.TraceId)
					j.spans[id] = append(j.spans[id], s.Name)
				}
			}
		}
	}))
	t.Cleanup(j.Close)
	return j
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// upConfig is a whole config on free ports.
func upConfig(t *testing.T, otlp string) (file, api, admin string) {
	t.Helper()
	api, admin = freeAddr(t), freeAddr(t)
	dlr, sim := freeAddr(t), freeAddr(t)
	text := fmt.Sprintf(`
nats: {url: embedded, listen: %q, store_dir: %q}
redis: {url: embedded}
ingest:
  listen: %q
  tenants: [{name: demo, keys_sha256: [2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea], operator: true}]
dlr_collector: {listen: %q, public_url: "http://%s"}
admin: {listen: %q}
simulator: {listen: %q}
telemetry: {otlp: %q}
providers:
  cr:
    type: cloudrebue
    base_url: http://%s/cloudrebue/api/v1
    credentials: {token: demo-cloudrebue-token}
    callback_token: secret-of-the-callbacks
routes: [{prefix: "+", providers: [cr]}]
`, freeAddr(t), t.TempDir(), api, dlr, dlr, admin, sim, otlp, sim)
	file = filepath.Join(t.TempDir(), "tuma.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, api, admin
}

// up runs everything until the test ends or stop is called.
func up(t *testing.T, file string) (logs *syncBuffer, stop func()) {
	t.Helper()
	env := func(name string) (string, bool) {
		if name == "TUMA_LOG" {
			return "debug", true
		}
		return "", false
	}
	cfg, err := config.Load(file, app.TypeDefaults(), env)
	if err != nil {
		t.Fatal(err)
	}
	logs, out := &syncBuffer{}, &syncBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- app.RunUp(ctx, cli.Params{Name: "tuma", Version: "test", Config: cfg, Env: env, Stdout: out, Stderr: logs})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("up: %v\n%s", err, logs)
		}
	})
	t.Cleanup(stop)
	return logs, stop
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func call(t *testing.T, method, url, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer demo")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
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

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// One trace runs from submission to delivery report, and nothing that leaves the
// process by logs, traces, metrics or errors has a secret, a text or a number.
func TestOneTraceAndNoSecrets(t *testing.T) {
	t.Parallel()
	j := newJaeger(t)
	file, api, admin := upConfig(t, j.URL)
	logs, stop := up(t, file)
	eventually(t, "ready", func() bool { code, _ := call(t, "GET", "http://"+admin+"/readyz", ""); return code == 200 })

	const number, text = "+254712345987", "Canary-Text-7741"
	code, body := call(t, "POST", "http://"+api+"/v1/messages", `{"to":"`+number+`","from":"ACME","text":"`+text+`"}`)
	if code != 202 {
		t.Fatalf("%d %s", code, body)
	}
	var answer struct{ Messages []struct{ ID string } }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	var m struct {
		Status  string
		TraceID string `json:"trace_id"`
	}
	eventually(t, "delivered", func() bool {
		_, body := call(t, "GET", "http://"+api+"/v1/messages/"+answer.Messages[0].ID, "")
		return json.Unmarshal(body, &m) == nil && m.Status == "delivered"
	})
	call(t, "POST", "http://"+api+"/v1/messages", `{"to":"`+number+`","text":"`+text+`","nonsense":1}`)
	_, metrics := call(t, "GET", "http://"+admin+"/metrics", "")
	stop()

	j.mu.Lock()
	defer j.mu.Unlock()
	spans := strings.Join(j.spans[m.TraceID], "; ")
	for _, want := range []string{"deliver cr", "report delivered"} {
		if !strings.Contains(spans, want) {
			t.Errorf("trace %s has %q, not %q", m.TraceID, spans, want)
		}
	}
	if len(j.spans[m.TraceID]) < 3 {
		t.Errorf("trace %s has only %q", m.TraceID, spans)
	}
	for name, out := range map[string]string{"logs": logs.String(), "traces": j.raw.String(), "metrics": string(metrics)} {
		for _, canary := range []string{number, number[1:], text, "demo-cloudrebue-token", "secret-of-the-callbacks"} {
			if strings.Contains(out, canary) {
				t.Errorf("%s tell %q", name, canary)
			}
		}
	}
}
