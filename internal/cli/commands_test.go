package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/internal/config"
)

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestStatus(t *testing.T) {
	t.Parallel()
	const msg = `{"id":"ENV1-0","envelope_id":"ENV1","to":"+254712345678","status":"submitted","provider":"cr","provider_message_id":"p1","segments":2,"attempts":1,
		"error":{"code":"refused","provider_code":"E1","detail":"bad\u001b[2Jword"},"ref":"r","trace_id":"abc",
		"history":[{"status":"accepted","time":"2026-11-20T12:00:00Z","provider":"","detail":""},{"status":"submitted","time":"2026-11-20T12:00:01Z","provider":"cr","detail":"report: none"}],
		"waiting":{"reason":"rate","until":null}}`
	a := newAPI(t, map[string]answer{
		"GET /v1/messages/ENV1-0": say(200, msg),
		"GET /v1/envelopes/ENV1":  say(200, `{"id":"ENV1","messages":3,"counts":{"delivered":2,"failed":1}}`),
	})
	r := run(t, Deps{}, "status", "--url", a.URL, "ENV1-0")
	for _, want := range []string{"message   ENV1-0\n", "status    submitted\n", "sent as   2 segments, 1 attempt\n", "error     refused: E1 badword\n", "waiting   rate\n", "cr report: none\n"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if r.code != 0 {
		t.Errorf("%+v", r)
	}
	if r = run(t, Deps{}, "status", "--url", a.URL, "--json", "ENV1-0"); decode[messageStatus](t, r.out).Status != "submitted" {
		t.Errorf("%+v", r)
	}
	if r = run(t, Deps{}, "status", "--url", a.URL, "ENV1"); r.code != 0 || !strings.Contains(r.out, "  delivered    2\n  failed       1\n") {
		t.Errorf("%+v", r)
	}
	if r = run(t, Deps{}, "status", "--url", a.URL, "../x"); r.code != 1 || !strings.Contains(r.errOut, "../x is not known") {
		t.Errorf("%+v", r)
	}
	if uri := a.got()[3].URI; uri != "/v1/envelopes/..%2Fx" {
		t.Errorf("asked for %s", uri)
	}
}

func TestProviders(t *testing.T) {
	t.Parallel()
	const list = `[{"name":"box","type":"smsbox","up":false},
		{"name":"cr","type":"cloudrebue","up":true,"breaker":"closed","backlog":{"high":1,"bulk":7},"rate_used":0.974,"last_error":"\u001b[31m503","balance":"KES 12"}]`
	for _, body := range []string{list, `{"providers":` + list + `}`} {
		a := newAPI(t, map[string]answer{"GET /v1/providers": say(200, body)})
		r := run(t, Deps{}, "providers", "--url", a.URL)
		if r.code != 0 || !strings.Contains(r.out, "box   smsbox      down") || !strings.Contains(r.out, "cr    cloudrebue  up     high 1, bulk 7  97%   KES 12   503\n") {
			t.Errorf("%+v", r)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{
		"POST /v1/providers/cr/pause":  say(200, `{}`),
		"POST /v1/providers/cr/resume": say(403, `{"code":"forbidden","detail":"operators only"}`),
	})
	if r := run(t, Deps{}, "providers", "--url", a.URL, "pause", "cr"); r.code != 0 || r.out != "cr paused\n" {
		t.Errorf("%+v", r)
	}
	if r := run(t, Deps{}, "providers", "--url", a.URL, "resume", "cr"); r.code != 1 || r.errOut != "tuma providers resume: forbidden: operators only\n" {
		t.Errorf("%+v", r)
	}
}

func TestDead(t *testing.T) {
	t.Parallel()
	item := func(id string) string {
		return `{"id":"` + id + `","time":"2026-11-20T12:00:00Z","account":"cr","reason":"refused","tenant":"acme","messages":2,"error":{"code":"refused","provider_code":"403","detail":"no"}}`
	}
	a := newAPI(t, map[string]answer{
		"GET /v1/dead": func(n int, r request, w http.ResponseWriter) {
			if strings.Contains(r.URI, "cursor=c1") {
				write(w, 200, `{"dead":[`+item("7")+`],"next":""}`)
			} else {
				write(w, 200, `{"dead":[`+item("9")+","+item("8")+`],"next":"c1"}`)
			}
		},
		"GET /v1/dead/9":         say(200, item("9")),
		"POST /v1/dead/9/replay": say(202, `{"id":"ENV9","messages":2}`),
		"POST /v1/dead/8/replay": say(409, `{"code":"uncertain","detail":"may have been sent; force=true"}`),
		"POST /v1/dead/6/replay": say(202, `{"id":"","messages":0,"skipped":{"submitted":1,"delivered":2}}`),
		"DELETE /v1/dead/9":      say(204, ""),
	})
	dead := func(args ...string) result {
		return run(t, Deps{}, append([]string{"dead", "--url", a.URL}, args...)...)
	}
	if r := dead("list", "--account", "cr", "--reason", "refused"); r.code != 0 || strings.Count(r.out, "refused: 403 no") != 3 || r.errOut != "" {
		t.Errorf("%+v", r)
	}
	if r := dead("list", "--limit", "2", "--json"); r.code != 0 || strings.Count(r.out, "\n") != 2 {
		t.Errorf("%+v", r)
	}
	if r := dead("list", "--limit", "0"); r.code != 2 || r.errOut != "tuma dead list: --limit is 1 or more\n" {
		t.Errorf("%+v", r)
	}
	if r := dead("show", "9"); r.code != 0 || decode[deadItem](t, r.out).Account != "cr" || !strings.Contains(r.out, "\n  \"account\"") {
		t.Errorf("%+v", r)
	}
	if r := dead("replay", "9", "8"); r.code != 1 || r.out != "9 replayed as ENV9 (2 messages)\n" || r.errOut != "8: uncertain: may have been sent; force=true\n" {
		t.Errorf("%+v", r)
	}
	if r := dead("replay", "--force", "9"); r.code != 0 || a.got()[len(a.got())-1].URI != "/v1/dead/9/replay?force=true" {
		t.Errorf("%+v", r)
	}
	if r := dead("replay", "--force", "6"); r.code != 0 || r.out != "6 replayed (0 messages; 2 skipped: delivered meanwhile; 1 skipped: submitted meanwhile)\n" {
		t.Errorf("%+v", r)
	}
	if r := dead("drop", "9"); r.code != 0 || r.out != "9 dropped\n" {
		t.Errorf("%+v", r)
	}
}

// A million letters are told page by page: the first are read before the last are
// asked for, and no more than a page is kept.
func TestDeadPageByPage(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	a := newAPI(t, map[string]answer{"GET /v1/dead": func(n int, r request, w http.ResponseWriter) {
		if n > 1 && strings.Count(out.String(), `"id"`) != n-1 { // the command waits for this answer
			t.Errorf("page %d is asked for after %d letters", n, strings.Count(out.String(), `"id"`))
		}
		if n == 5 {
			write(w, 200, `{"dead":[{"id":"5"}]}`)
		} else {
			write(w, 200, fmt.Sprintf(`{"dead":[{"id":"%d"}],"next":"%d"}`, n, n))
		}
	}})
	d := Deps{Stdout: &out, Stderr: &errOut, Types: testTypes()}
	if code := Main(t.Context(), []string{"dead", "list", "--json", "--limit", "1000000", "--url", a.URL}, d); code != 0 || strings.Count(out.String(), "\n") != 5 {
		t.Errorf("exit %d\n%s%s", code, &out, &errOut)
	}
	if uri := a.got()[0].URI; !strings.Contains(uri, "limit=1000&") && !strings.HasSuffix(uri, "limit=1000") {
		t.Errorf("asked for %s", uri)
	}
}

func TestWatchGoesOnWhereItBrokeOff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	event := func(id, status string) string {
		return fmt.Sprintf(": alive\nid: %s\nevent: %s\ndata: {\"id\":%q,\"time\":\"2026-11-20T12:00:00Z\",\"status\":%q,\"provider\":\"cr\","+
			"\"messages\":[{\"id\":\"ENV1-0\",\"to\":\"+254712345678\",\"error\":{\"code\":\"c\",\"detail\":\"d\\u001b[2J\"}}]}\n\n", id, status, id, status)
	}
	a := newAPI(t, map[string]answer{"GET /v1/events": func(n int, r request, w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		switch n {
		case 1:
			fmt.Fprint(w, event("e1", "submitted"), "data: not json\n\n", "id: e2\ndata: {\"half")
		case 2:
			w.WriteHeader(503)
		case 3:
			fmt.Fprint(w, event("e2", "delivered"))
		default:
			cancel()
		}
	}})
	r := runContext(ctx, Deps{}, "watch", "--url", a.URL, "--status", "submitted,delivered")
	if r.code != 0 || strings.Count(r.out, "\n") != 2 || !strings.Contains(r.out, "submitted    +254712345678    cr  ENV1-0  c: d\n") {
		t.Errorf("%+v", r)
	}
	got := a.got()
	if got[0].Header.Get("Last-Event-ID") != "" || got[1].Header.Get("Last-Event-ID") != "e1" || got[3].Header.Get("Last-Event-ID") != "e2" {
		t.Errorf("%+v", got)
	}
	if got[0].URI != "/v1/events?status=submitted%2Cdelivered" || got[0].Header.Get("Accept") != "text/event-stream" {
		t.Errorf("%+v", got[0])
	}
}

func TestWatchFailsAtOnce(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{401: "the key is not known", 404: "404 Not Found", 200: "no_events"} {
		a := newAPI(t, map[string]answer{"GET /v1/events": say(status, "{}")})
		if r := run(t, Deps{}, "watch", "--url", a.URL); r.code != 1 || !strings.Contains(r.errOut, want) {
			t.Errorf("%d: %+v", status, r)
		}
	}
}

// coded is an error with an exit code of its own.
type coded struct{ error }

func (coded) ExitCode() int { return 2 }

func TestProgram(t *testing.T) {
	t.Parallel()
	good := file(t, "good.yaml", "admin: {listen: '127.0.0.1:2'}")
	embedded := file(t, "embedded.yaml", "nats: {url: embedded}")
	bad := file(t, "bad.yaml", "foo: 1")
	tests := []struct {
		name   string
		args   []string
		env    config.Lookup
		err    error
		code   int
		out    string
		errOut string
		ran    bool
	}{
		{"version", []string{"--version"}, envOf(), nil, 0, "ingest 1.2.3\n", "", false},
		{"help", []string{"--help"}, envOf(), nil, 0, "Usage: ingest [flags]\n  --admin ADDR", "", false},
		{"no config", nil, envOf(), nil, 2, "", "ingest: no config: give --config FILE or set TUMA_CONFIG\n", false},
		{"bad flag", []string{"--foo"}, envOf(), nil, 2, "", "ingest: flag provided but not defined: -foo (see ingest --help)\n", false},
		{"argument", []string{"x"}, envOf(), nil, 2, "", "ingest: unknown argument \"x\"\n", false},
		{"bad config", []string{"--config", bad}, envOf(), nil, 2, "", "ingest: " + bad + ":1: foo: unknown key\n", false},
		{"embedded", []string{"--config", embedded}, envOf(), nil, 2, "", "ingest: " + embedded + ": nats.url: embedded is for tuma up only: the programs must meet at one server\n", false},
		{"missing file", []string{"--config", "/none.yaml"}, envOf(), nil, 2, "", "ingest: /none.yaml: no such file or directory\n", false},
		{"runs", []string{"--config", good, "--admin", "127.0.0.1:3"}, envOf(), nil, 0, "", "", true},
		{"from the environment", nil, envOf("TUMA_CONFIG", good), nil, 0, "", "", true},
		{"fails", []string{"--config", good}, envOf(), errors.New("lost"), 1, "", "ingest: lost\n", true},
		{"port in use", []string{"--config", good}, envOf(), coded{errors.New("in use")}, 2, "", "ingest: in use\n", true},
		{"secret missing", []string{"--config", good}, envOf(), &config.Error{File: "f", Key: "k", Reason: "r"}, 2, "", "ingest: f: k: r\n", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out, errOut strings.Builder
			ran := false
			g := Program{Name: "ingest", Version: "1.2.3", Types: testTypes(), Env: tt.env, Stdout: &out, Stderr: &errOut,
				Run: func(_ context.Context, p Params) error {
					ran = p.Config != nil && p.Name == "ingest"
					return tt.err
				}}
			if code := g.Main(t.Context(), tt.args); code != tt.code || ran != tt.ran || !strings.HasPrefix(out.String(), tt.out) || errOut.String() != tt.errOut {
				t.Errorf("code %d, ran %v, %q, %q", code, ran, out.String(), errOut.String())
			}
		})
	}
}

func TestProgramStopsCleanly(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var errOut strings.Builder
	g := Program{Name: "ingest", Types: testTypes(), Env: envOf("TUMA_CONFIG", file(t, "c.yaml", "{}")), Stderr: &errOut,
		Run: func(ctx context.Context, _ Params) error { cancel(); <-ctx.Done(); return ctx.Err() }}
	if code := g.Main(ctx, nil); code != 0 || errOut.String() != "" {
		t.Errorf("code %d, %q", code, errOut.String())
	}
}
