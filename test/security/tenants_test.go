package security

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"github.com/tuma-sms/tuma/test/rig"
	"net/http"
	"strings"
	"testing"
	"time"
)

// One tenant's envelopes are to another as if they were not there: the same words,
// and nothing that a key of the same name would give away.
func TestTenantsKnowNothingOfEachOther(t *testing.T) {
	w := newWorld(t)
	w.up()
	const key = "the same key"
	code, body := w.call(http.MethodPost, "/v1/messages", acmeKey, fmt.Sprintf(`{"to":"+254712345678","from":"ACME","text":"x","idempotency_key":%q,"supersede_key":%[1]q,"send_at":%q}`, key, in(time.Hour)))
	var theirs struct {
		ID       string
		Messages []struct{ ID string }
	}
	if err := json.Unmarshal(body, &theirs); code != http.StatusAccepted || err != nil {
		t.Fatalf("%d %s", code, body)
	}
	events := w.listen(globexKey)
	w.reaches(theirs.Messages[0].ID, "scheduled")

	const nobody = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	for _, path := range []string{
		"GET /v1/messages/ID-0", "DELETE /v1/messages/ID-0", "GET /v1/envelopes/ID", "DELETE /v1/envelopes/ID", "GET /v1/envelopes/ID/messages",
		"GET /v1/envelopes/ID/messages?status=scheduled", "GET /v1/envelopes/ID/messages?cursor=0&limit=1",
	} {
		method, path, _ := strings.Cut(path, " ")
		foreign, fbody := w.call(method, strings.Replace(path, "ID", theirs.ID, 1), globexKey, "")
		absent, abody := w.call(method, strings.Replace(path, "ID", nobody, 1), globexKey, "")
		if foreign != http.StatusNotFound || absent != foreign || string(fbody) != string(abody) {
			t.Errorf("%s %s: another's %d %s, nobody's %d %s", method, path, foreign, fbody, absent, abody)
		}
	}
	for _, path := range []string{
		"GET /v1/dead", "GET /v1/dead/1", "POST /v1/dead/1/replay", "DELETE /v1/dead/1", "POST /v1/providers/cr/pause", "POST /v1/providers/cr/resume",
		"GET /v1/providers/cr/operations", "POST /v1/providers/box/operations/senders", "POST /v1/opt-outs",
	} {
		method, path, _ := strings.Cut(path, " ")
		if code, body := w.call(method, path, globexKey, "{}"); code != http.StatusForbidden {
			t.Errorf("%s %s: %d %s", method, path, code, body)
		}
	}
	if _, body := w.call(http.MethodGet, "/v1/providers", globexKey, ""); strings.Contains(string(body), "backlog") {
		t.Errorf("a tenant sees how much others have queued: %s", body)
	}

	// The same keys are other keys.
	code, body = w.call(http.MethodPost, "/v1/messages", globexKey, fmt.Sprintf(`{"to":"+254712345679","from":"GLOBEX","text":"y","idempotency_key":%q,"supersede_key":%[1]q,"send_at":%q}`, key, in(2*time.Hour)))
	var own struct{ Messages []struct{ ID string } }
	if err := json.Unmarshal(body, &own); code != http.StatusAccepted || err != nil {
		t.Fatalf("%d %s", code, body)
	}
	if !strings.Contains(events(), own.Messages[0].ID) {
		t.Error("a tenant misses its own event: is the stream listened to?")
	}
	if s := w.status(theirs.Messages[0].ID); s != "scheduled" {
		t.Errorf("another tenant's supersede key made it %s", s)
	}
	if seen := events(); strings.Contains(seen, theirs.ID) || strings.Contains(seen, "acme") {
		t.Errorf("another's event: %s", seen)
	}
}

// listen follows the events of a tenant; the function returns what came, once
// there was something.
func (w *world) listen(key string) func() string {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.api+"/v1/events", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%v %v", resp, err)
	}
	var seen rig.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if line := lines.Text(); strings.HasPrefix(line, "data:") {
				_, _ = seen.Write([]byte(line))
			}
		}
	}()
	w.t.Cleanup(func() { stop(); resp.Body.Close(); <-done })
	return func() string {
		w.eventually("an event", func() bool { return seen.String() != "" })
		return seen.String()
	}
}
