package app_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/test/rig"
)

// Whoever calls a program that waits for NATS is told so, and does not hang.
func TestDoorsAnswerBeforeNATSIsThere(t *testing.T) {
	t.Parallel()
	api, dlr := rig.FreeAddr(t), rig.FreeAddr(t)
	text := fmt.Sprintf(`
nats: {url: "nats://%s"}
redis: {url: "redis://%s"}
ingest:
  listen: %q
  tenants: [{name: demo, keys_sha256: [2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea]}]
dlr_collector: {listen: %q, public_url: "http://%s"}
admin: {listen: "127.0.0.1:0"}
providers:
  cr: {type: cloudrebue, base_url: "http://127.0.0.1:1/", credentials: {token: t}, callback_token: secret-of-the-callbacks}
routes: [{prefix: "+", providers: [cr]}]
`, rig.FreeAddr(t), rig.FreeAddr(t), api, dlr, dlr)
	for name, run := range map[string]func(context.Context, cli.Params) error{"ingest": app.RunIngest, "dlr-collector": app.RunCollector} {
		rig.Inside(t, run, cli.Params{Name: name, Config: rig.Config(t, text)})
	}
	for _, url := range []string{"http://" + api + "/v1/messages", "http://" + dlr + "/dlr/cr/token"} {
		resp := firstAnswer(t, url)
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s %v", url, resp.Status, resp.Header)
		}
	}
}

// firstAnswer asks until the address is bound, but waits for one answer no longer
// than somebody who has other things to do.
func firstAnswer(t *testing.T, url string) *http.Response {
	t.Helper()
	c := http.Client{Timeout: 3 * time.Second}
	defer c.CloseIdleConnections()
	for end := time.Now().Add(10 * time.Second); ; {
		resp, err := c.Post(url, "application/json", strings.NewReader("{}"))
		if err == nil {
			resp.Body.Close()
			return resp
		}
		if time.Now().After(end) || strings.Contains(err.Error(), "Timeout") {
			t.Fatalf("%s: %v", url, err)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}
