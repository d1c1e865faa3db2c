package ingest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/desk"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestOperations(t *testing.T) {
	t.Parallel()
	var asked map[string]string
	answers := map[string]error{
		"full": &desk.Problem{Class: desk.NoSlot}, "broken": &desk.Problem{Class: "misconfigured", Code: "120", Detail: "no"},
		"nobody": bus.ErrNobody, "lost": errors.New("timeout"), "refused": &desk.Problem{Class: "rejected"},
	}
	r := start(t, func(o *ingest.Options) {
		o.Accounts[0].Operations = []providers.Operation{
			{Name: "senders", About: "list", Params: []providers.Param{{Name: "kind", About: "which"}}},
			{Name: "cancel", About: "stop it", Changes: true, Params: []providers.Param{{Name: "id", About: "of the message", Required: true}}},
		}
		o.Accounts[0].Abilities = []string{"send", "senders"}
		o.Ask = func(_ context.Context, account, operation string, args map[string]string) (json.RawMessage, error) {
			asked = args
			return json.RawMessage(`["` + account + ` ` + operation + `"]`), answers[args["kind"]]
		}
	})
	if a := r.do("k-ops", http.MethodGet, "/v1/providers/ke/operations", ""); a.status != 200 || !strings.Contains(a.body, `"name":"cancel","about":"stop it","changes":true`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.do("k-ops", http.MethodGet, "/v1/providers", ""); !strings.Contains(a.body, `"abilities":["send","senders"]`) {
		t.Error(a.body)
	}
	const at = "/v1/providers/ke/operations/"
	if a := r.do("k-ops", http.MethodPost, at+"senders", `{"kind":"all"}`); a.status != 200 || strings.TrimSpace(a.body) != `{"shown":["ke senders"]}` || asked["kind"] != "all" {
		t.Errorf("%d %s %v", a.status, a.body, asked)
	}
	for _, c := range []struct {
		key, path, body string
		want            int
	}{
		{"k-acme", at + "senders", "", 403},
		{"k-ops", "/v1/providers/mars/operations/senders", "", 404},
		{"k-ops", at + "fly", "", 404},
		{"k-ops", at + "senders", `{"other":"x"}`, 400},
		{"k-ops", at + "senders", `[]`, 400},
		{"k-ops", at + "senders", `{"kind":1}`, 400},
		{"k-ops", at + "cancel", ``, 400},
		{"k-ops", at + "cancel", `{"message":"nobodys"}`, 404},
		{"k-ops", at + "senders", `{"kind":"full"}`, 503},
		{"k-ops", at + "senders", `{"kind":"broken"}`, 502},
		{"k-ops", at + "senders", `{"kind":"nobody"}`, 503},
		{"k-ops", at + "senders", `{"kind":"lost"}`, 502},
		{"k-ops", at + "senders", `{"kind":"refused"}`, 422},
	} {
		if a := r.do(c.key, http.MethodPost, c.path, c.body); a.status != c.want {
			t.Errorf("%s %s: %d, want %d: %s", c.path, c.body, a.status, c.want, a.body)
		}
	}
}

// Who has opted out of any account of a route gets nothing by any of them.
func TestOptedOut(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *ingest.Options) {
		o.OptedOut = func(account, number string) bool { return account == "world" && number == "+254712345678" }
	})
	a := r.do("k-acme", http.MethodPost, "/v1/messages", `{"recipients":[{"to":"+254712345678"},{"to":"+254712345679"}],"from":"ACME","text":"x"}`)
	if a.status != 202 || !strings.Contains(a.body, `"accepted":1`) || !strings.Contains(a.body, `"code":"opted_out"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.do("k-acme", http.MethodPost, "/v1/messages", `{"to":"+254712345678","from":"ACME","text":"x"}`); a.status != 422 || !strings.Contains(a.body, "opted_out") {
		t.Errorf("%d %s", a.status, a.body)
	}
	for body, want := range map[string]string{
		`{"provider":"world","number":"+254712345678"}`:               `"opted_out":true`,
		`{"provider":"ke","number":"+254712345678"}`:                  `"opted_out":false`,
		`{"provider":"ke","number":"+254712345678","opted_out":true}`: `"opted_out":true`,
		`{"provider":"mars","number":"+254712345678"}`:                `"status":404`,
		`{"provider":"ke","number":"12"}`:                             `"status":400`,
	} {
		if a := r.do("k-ops", http.MethodPost, "/v1/opt-outs", body); !strings.Contains(a.body, want) {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	s, err := r.bus.State(t.Context(), bus.OptOutStream)
	if err != nil || s.Messages != 1 {
		t.Errorf("stored %d opt-outs, %v", s.Messages, err)
	}
}

// Nothing is taken before it is known who has opted out, be it by HTTP or by the bus.
func TestNothingIsTakenBeforeOptOutsAreKnown(t *testing.T) {
	t.Parallel()
	known, looked := make(chan struct{}), make(chan bool, 16)
	r := start(t, func(o *ingest.Options) {
		o.OptOutsKnown = known
		o.OptedOut = func(string, string) bool {
			select {
			case <-known:
				looked <- true
			default:
				looked <- false
			}
			return false
		}
	})
	const one = `{"to":"+254712345678","from":"ACME","text":"x"}`
	if a := r.do("k-acme", http.MethodPost, "/v1/messages", one); a.status != 503 || !strings.Contains(a.body, "unavailable") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if _, err := r.bus.Publish(t.Context(), bus.Out{Subject: bus.SubmitSubject("acme", "high"), Data: []byte(one)}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-looked:
		t.Fatal("taken")
	case <-time.After(300 * time.Millisecond): // it takes a few
	}
	close(known)
	if !<-looked {
		t.Error("taken before")
	}
}
