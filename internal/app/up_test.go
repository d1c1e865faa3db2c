package app_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
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
	"github.com/tuma-sms/tuma/test/rig"
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

// upConfig is a whole config on free ports.
func upConfig(t *testing.T, otlp string) (file, api, admin string) {
	t.Helper()
	api, admin = rig.FreeAddr(t), rig.FreeAddr(t)
	dlr, sim := rig.FreeAddr(t), rig.FreeAddr(t)
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
`, rig.FreeAddr(t), t.TempDir(), api, dlr, dlr, admin, sim, otlp, sim)
	file = filepath.Join(t.TempDir(), "tuma.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, api, admin
}

// up runs everything until the test ends or stop is called.
func up(t *testing.T, file string) (logs *rig.Buffer, stop func()) {
	t.Helper()
	env := func(name string) (string, bool) { return "debug", name == "TUMA_LOG" }
	cfg, err := config.Load(file, app.TypeDefaults(), env)
	if err != nil {
		t.Fatal(err)
	}
	logs = &rig.Buffer{}
	return logs, rig.Inside(t, app.RunUp, cli.Params{Name: "tuma", Config: cfg, Env: env, Stderr: logs})
}

func call(t *testing.T, method, url, body string) (int, []byte) {
	t.Helper()
	return rig.Call(t, method, url, "demo", body)
}

// One trace runs from submission to delivery report, and nothing that leaves the
// process by logs, traces, metrics or errors has a secret, a text or a number.
func TestOneTraceAndNoSecrets(t *testing.T) {
	t.Parallel()
	j := newJaeger(t)
	file, api, admin := upConfig(t, j.URL)
	logs, stop := up(t, file)
	rig.Ready(t, admin, logs)

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
	rig.Eventually(t, 30*time.Second, "delivered", func() (bool, string) {
		_, body := call(t, "GET", "http://"+api+"/v1/messages/"+answer.Messages[0].ID, "")
		return json.Unmarshal(body, &m) == nil && m.Status == "delivered", string(body)
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
