package dlr

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// What is written by hand is what encoding/json would write, and is read the
// same by both.
func TestStoredCallbackIsItsDocument(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z0-9./;= -]{1,20}`), rapid.String())
	short := 0
	rapid.Check(t, func(t *rapid.T) {
		r := raw{
			Time:   time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC(),
			Method: text.Draw(t, "method"), Batch: text.Draw(t, "batch"), ContentType: text.Draw(t, "type"), WebhookID: text.Draw(t, "id"),
			Query: text.Draw(t, "query"), Body: []byte(text.Draw(t, "body")),
		}
		d := document{Time: r.Time, Method: r.Method, Batch: r.Batch, Query: r.Query, Body: r.Body, Header: map[string]string{}}
		for name, v := range map[string]string{contentType: r.ContentType, webhookID: r.WebhookID} {
			if v != "" {
				d.Header[name] = v
			}
		}
		want, err := json.Marshal(&d)
		if err != nil {
			t.Fatal(err)
		}
		data := r.append(nil)
		if diff := cmp.Diff(string(want), string(data)); diff != "" {
			t.Fatal(diff)
		}
		var back, fast raw
		if err := back.read(data); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		r = raw{Time: d.Time, Method: d.Method, Batch: d.Batch, ContentType: d.Header[contentType], WebhookID: d.Header[webhookID], Query: d.Query, Body: d.Body}
		if diff := cmp.Diff(r, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if fast.short(data) {
			short++
			if diff := cmp.Diff(r, fast, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
	if short == 0 {
		t.Error("nothing was read the short way")
	}
}

// The credentials that a callback came with are not kept, wherever they stood.
func TestCredentialsAreNotKept(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"a=1&username=canary&password=canary&b=2":        "a=1&b=2",
		"s=$status$?password=canary&username=canary&d=D": "d=D&s=%24status%24",
		"s=$status$?username=canary":                     "s=%24status%24",
		"s=$status$?dnis=1&u=what?x=y":                   "s=%24status%24%3Fdnis%3D1&u=what%3Fx%3Dy",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if r := newRaw(&providers.Callback{Query: values}, ""); r.Query != want {
			t.Errorf("%s: kept %s, want %s", query, r.Query, want)
		}
	}
}

func FuzzStoredCallback(f *testing.F) {
	r := raw{Time: time.Unix(1, 2).UTC(), Method: "POST", Batch: "t1-2", ContentType: "a/b", WebhookID: "w", Query: "a=b", Body: []byte("x")}
	f.Add(r.append(nil))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","method":"GET"}`))
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","method":"GET","body":"=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fast raw
		if !fast.short(data) {
			return
		}
		var d document
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("the short way took %q: %v", data, err)
		}
		want := raw{Time: d.Time, Method: d.Method, Batch: d.Batch, ContentType: d.Header[contentType], WebhookID: d.Header[webhookID], Query: d.Query, Body: d.Body}
		if diff := cmp.Diff(want, fast, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}
