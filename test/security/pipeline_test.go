package security

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The shipped permissions are enough: every program does all its work as its own
// user, and the server refuses it nothing.
func TestPermissionsSuffice(t *testing.T) {
	w := newWorld(t)
	w.up()
	ids := w.submit(`{"to":"+254712345678","from":"ACME","text":"one"}`)
	ids = append(ids, w.submit(`{"to":"+22670000001","from":"ACME","text":"smsbox"}`)...)
	ids = append(ids, w.submit(`{"to":"+33612345678","from":"ACME","text":"scheduler"}`)...)
	ids = append(ids, w.submit(fmt.Sprintf(`{"to":"+254712345679","from":"ACME","text":"later","send_at":%q}`, in(2*time.Second)))...)
	var many []string // more than one piece: stored whole first, then cut
	for i := range 250 {
		many = append(many, fmt.Sprintf(`{"to":"+2547%08d"}`, i))
	}
	ids = append(ids, w.submit(`{"recipients":[`+strings.Join(many, ",")+`],"from":"ACME","text":"many"}`)...)
	for _, id := range ids {
		w.reaches(id, "delivered")
	}
	w.closes()
	w.buries()
	w.hears()
	w.asks()
	w.violations()
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }

// closes: what is closed before it is sent, and accounts that are paused.
func (w *world) closes() {
	w.t.Helper()
	later := w.submit(fmt.Sprintf(`{"to":"+254712345670","from":"ACME","text":"x","send_at":%q}`, in(time.Hour)))[0]
	w.expect(http.StatusOK, http.MethodDelete, "/v1/messages/"+later)
	w.reaches(later, "canceled")
	w.expect(http.StatusOK, http.MethodPost, "/v1/providers/cr/pause")
	old := w.submit(`{"to":"+254712345671","from":"ACME","text":"old","supersede_key":"k"}`)[0]
	newer := w.submit(`{"to":"+254712345671","from":"ACME","text":"new","supersede_key":"k"}`)[0]
	w.reaches(old, "canceled")
	w.expect(http.StatusOK, http.MethodPost, "/v1/providers/cr/resume")
	w.reaches(newer, "delivered")
}

// buries: what nobody knows the fate of becomes a dead letter, and is replayed.
func (w *world) buries() {
	w.t.Helper()
	w.post(w.sim, "/_sim/faults", `[{"kind":"reset","after":true,"next":1},{"kind":"report_lost","next":1}]`)
	held := w.submit(`{"to":"+254712345672","from":"ACME","text":"x","on_uncertain":"hold"}`)[0]
	w.reaches(held, "uncertain")
	var page struct{ Dead []struct{ ID string } }
	w.eventually("a dead letter", func() bool {
		_, data := w.call(http.MethodGet, "/v1/dead", acmeKey, "")
		return json.Unmarshal(data, &page) == nil && len(page.Dead) > 0
	})
	w.expect(http.StatusAccepted, http.MethodPost, "/v1/dead/"+page.Dead[0].ID+"/replay?force=true")
}

// hears: a message from a handset, and a callback that is none.
func (w *world) hears() {
	w.t.Helper()
	for _, body := range []string{`{"transaction_id":"t1","from":"22670000002","to":"15000","message":"hello"}`, `{"nothing": true}`} {
		w.post(w.dlr, "/inbound/box/"+callbackToken, body)
	}
	w.eventually("the dead letter of a callback that is none", func() bool {
		_, data := w.call(http.MethodGet, "/v1/dead?reason=poison", acmeKey, "")
		return strings.Contains(string(data), "inbound")
	})
}

// asks: what operators ask of a gateway, and say of numbers.
func (w *world) asks() {
	w.t.Helper()
	for path, body := range map[string]string{
		"/v1/providers/box/operations/senders": `{}`,
		"/v1/opt-outs":                         `{"provider":"cr","number":"+254712345677","opted_out":true}`,
	} {
		if code, data := w.call(http.MethodPost, path, acmeKey, body); code != http.StatusOK {
			w.t.Errorf("%s: %d %s", path, code, data)
		}
	}
}

// post sends a body to somebody else than the API and expects it to be taken.
func (w *world) post(addr, path, body string) {
	w.t.Helper()
	resp, err := http.Post("http://"+addr+path, "application/json", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	data, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %d %s", path, resp.StatusCode, data)
	}
}

func (w *world) reaches(id, status string) {
	w.t.Helper()
	w.eventually(id+" is "+status, func() bool { return w.status(id) == status })
}

func (w *world) expect(code int, method, path string) {
	w.t.Helper()
	if got, data := w.call(method, path, acmeKey, ""); got != code {
		w.t.Fatalf("%s %s: %d %s", method, path, got, data)
	}
}

// violations fails the test if the server refused a program something.
func (w *world) violations() {
	w.t.Helper()
	for line := range strings.Lines(w.logs.String()) {
		if strings.Contains(strings.ToLower(line), "violation") {
			w.t.Error(strings.TrimSpace(line))
		}
	}
}
