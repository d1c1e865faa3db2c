package security

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/test/rig"
)

// Canaries: each is put in at one place, and may come out nowhere. Numbers are
// told without their plus, as gateways write them.
const (
	canaryKey      = "canary-api-key-1"
	canaryWrongKey = "canary-wrong-key-2"
	canaryCallback = "canary-callback-token-3"
	canaryRedis    = "canary-redis-password-4"
	canaryNATS     = "canary-nats-password-5"
	canaryText     = "Canary-Text-6"
	canaryValue    = "Canary-Value-7"
	canaryInbound  = "Canary-Inbound-8"
	canaryQuery    = "canary-query-9"
	canaryHeader   = "canary-header-10"
	canaryNumbers  = "2547009917" // and two digits
)

// logins are the credentials of each type, all canaries.
var logins = map[string]string{
	"cloudrebue":      "token: canary-cred-token-11",
	"smsbox":          "api_key: canary-cred-key-12, api_secret: canary-cred-secret-13",
	"bulksmsrates":    "api_key: canary-cred-key-14, api_secret: canary-cred-secret-15, webhook_secret: canary-cred-hook-16",
	"digitalservices": "api_key: canary-cred-key-17, username: canary-cred-user-18, password: canary-cred-pass-19, dlr_username: canary-cred-dlruser-20, dlr_password: canary-cred-dlrpass-21",
	"smsscheduler":    "token: canary-cred-token-22",
}

// echo is a gateway that repeats everything that it was told, in each answer
// another way: the worst that a gateway's words can be.
func echo(t *testing.T) (base string, seen func() int) {
	var mu sync.Mutex
	n, asked := 0, map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		n++
		typ := strings.Split(r.URL.Path, "/")[1]
		asked[typ]++
		turn := asked[typ]
		mu.Unlock()
		form, _ := url.QueryUnescape(string(body))
		all := r.URL.String() + " " + r.Header.Get("Authorization") + " " + r.Header.Get("X-API-Key") + " " + form
		quoted, _ := json.Marshal(all)
		status := []int{401, 422, 400, 500, 200, 503, 409, 404, 429, 200, 400, 403}[turn%12] // what pauses the account comes last
		w.Header().Set("X-Echo", strings.Map(func(c rune) rune {
			if c < ' ' || c > '~' {
				return '.'
			}
			return c
		}, all))
		w.WriteHeader(status)
		switch turn % 3 {
		case 0: // not JSON at all
			fmt.Fprintf(w, "<html>%s</html>", all)
		case 1: // the words that gateways use for errors
			fmt.Fprintf(w, `{"status":false,"success":false,"code":%d,"message":%[2]s,"error":%[2]s,"msg":%[2]s,"detail":%[2]s,"errors":[%[2]s]}`, 400+turn%40, quoted)
		default: // errors as objects
			fmt.Fprintf(w, `{"status":"error","error":{"code":"BAD","message":%[1]s,"details":%[1]s},"data":{"message":%[1]s},"statusText":%[1]s}`, quoted)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// traces takes what is exported, in memory.
func traces(t *testing.T) (addr string, all func() string) {
	var mu sync.Mutex
	var b bytes.Buffer
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			if z, err := gzip.NewReader(r.Body); err == nil {
				body = z
			}
		}
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(&b, body)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() string { mu.Lock(); defer mu.Unlock(); return b.String() }
}

// aviary is an installation in which everything is a canary.
type aviary struct {
	*world
	natsURL, adminAddr string
	told               rig.Buffer // problems and other answers that may name nothing
	cli                rig.Buffer // what tuma prints
}

func (a *aviary) file(gateway, simulator, otlp string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
nats: {url: embedded, listen: %q, store_dir: %q}
redis: {url: embedded}
ingest: {listen: %q, tenants: [{name: demo, keys_sha256: [%s], operator: true, default_region: KE}]}
dlr_collector: {listen: %q, public_url: "http://%s"}
admin: {listen: %q}
simulator: {listen: %q}
telemetry: {otlp: %q, sample: 1}
providers:
`, a.natsURL, a.t.TempDir(), a.api, sha(canaryKey), a.dlr, a.dlr, a.adminAddr, simulator, otlp)
	for typ, login := range logins {
		options := ""
		if typ == "smsscheduler" {
			options = "\n    options: {senders: {ACME: 1}}"
		}
		fmt.Fprintf(&b, "  %s:\n    type: %s\n    base_url: %s/%s\n    credentials: {%s}\n    callback_token: %s\n    timeout: 2s\n    on_uncertain: hold\n    breaker: {failures: 1000, open_for: 1s}\n    rate: {requests: 50, per: 1s}\n    poll: {after: 1s, every: 1s}%s\n",
			typ, typ, gateway, typ, login, canaryCallback, options)
	}
	fmt.Fprintf(&b, "  sim:\n    type: cloudrebue\n    base_url: http://%s/cloudrebue/api/v1\n    credentials: {token: demo-cloudrebue-token}\n    callback_token: %s\n", simulator, canaryCallback)
	b.WriteString("routes: [{prefix: \"+\", providers: [sim]}]\n")
	return b.String()
}

// Nothing secret, no text and no whole number leaves by logs (at debug), traces,
// metrics, answers to others than who sent it, or what tuma prints, whichever door
// it came in by, and whatever a gateway says.
func TestCanaries(t *testing.T) {
	w := &world{t: t, api: rig.FreeAddr(t), dlr: rig.FreeAddr(t), admin: map[string]string{}, logs: &rig.Buffer{}}
	a := &aviary{world: w, natsURL: rig.FreeAddr(t), adminAddr: rig.FreeAddr(t)}
	gateway, asked := echo(t)
	otlp, exported := traces(t)
	text := a.file(gateway, rig.FreeAddr(t), otlp)
	stop := rig.Inside(t, app.RunUp, cli.Params{Name: "tuma", Config: rig.Config(t, text), Env: debug, Stdout: &a.cli, Stderr: w.logs})
	w.admin["up"] = a.adminAddr
	w.ready("up")

	a.submits()
	a.publishes()
	a.callsBack()
	a.strangers()
	a.commands(text)
	w.eventually("every gateway was asked", func() bool { return asked() >= 3*len(logins) })
	w.eventually("all are told", func() bool {
		_, data := w.call(http.MethodGet, "/v1/providers", canaryKey, "")
		_, _ = a.told.Write(data)
		_, dead := w.call(http.MethodGet, "/v1/dead", canaryKey, "")
		_, _ = a.told.Write(dead)
		return strings.Contains(string(dead), "poison") && strings.Contains(string(data), "last_error")
	})
	var metrics rig.Buffer
	resp, err := http.Get("http://" + a.adminAddr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(&metrics, resp.Body)
	resp.Body.Close()
	stop()

	outlets := map[string]string{"logs": w.logs.String(), "traces": exported(), "metrics": metrics.String(), "answers": a.told.String(), "tuma": a.cli.String()}
	for outlet, out := range outlets {
		if len(out) < 100 {
			t.Errorf("nothing came out of %s: is it listened to?", outlet)
		}
		for _, line := range leaks(out) {
			t.Errorf("%s: %s", outlet, line)
		}
	}
}

// leaks returns the lines that hold a canary, each canary once.
func leaks(out string) []string {
	var found []string
	secrets := []string{canaryKey, canaryWrongKey, canaryCallback, canaryRedis, canaryNATS, canaryText, canaryValue, canaryInbound, canaryQuery, canaryHeader, canaryNumbers}
	for _, login := range logins {
		for _, pair := range strings.Split(login, ", ") {
			_, secret, _ := strings.Cut(pair, ": ")
			secrets = append(secrets, secret)
		}
	}
	for _, secret := range secrets {
		if i := strings.Index(strings.ToLower(out), strings.ToLower(secret)); i >= 0 {
			found = append(found, fmt.Sprintf("%s in …%.400s", secret, out[max(0, i-300):]))
		}
	}
	return found
}

// to is one more number, with its canary.
func to(n int) string { return fmt.Sprintf("+%s%02d", canaryNumbers, n) }

// tell makes a call whose answer, but for the numbers that its sender gave, may
// hold nothing.
func (a *aviary) tell(path, key, contentType, body string, header ...string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, "http://"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	_, _ = a.told.Write(bytes.ReplaceAll(data, []byte(canaryNumbers), []byte("(own number)")))
}

// submits: over HTTP, to each gateway that echoes and to one that delivers, and
// all that is refused.
func (a *aviary) submits() {
	n := 0
	for typ := range logins {
		for range 4 {
			n++
			env := fmt.Sprintf(`{"recipients":[{"to":%q,"variables":{"v":%q}}],"from":"ACME","text":"%s {{v}}","provider":%q}`, to(n), canaryValue, canaryText, typ)
			a.tell(a.api+"/v1/messages", canaryKey, "application/json", env)
		}
	}
	good := fmt.Sprintf(`{"to":%q,"from":"ACME","text":%q}`, to(90), canaryText)
	a.tell(a.api+"/v1/messages", canaryKey, "application/json", good, "Idempotency-Key", canaryHeader)
	a.tell(a.api+"/v1/messages", canaryKey, "application/json", strings.Replace(good, "90", "91", 1), "Idempotency-Key", canaryHeader) // the same key, another body
	bad := []string{
		fmt.Sprintf(`{"to":%q,"from":"ACME","text":%q,"nonsense":%q}`, to(92), canaryText, canaryValue),
		fmt.Sprintf(`{"to":%q,"from":"ACME","text":{"a":%q}}`, to(93), canaryText),
		fmt.Sprintf(`{"to":%q,"from":"ACME","text":"%s \u0000"}`, to(94), canaryText),
		fmt.Sprintf(`{"to":%q,"from":"ACME","text":"%s {{missing}}","variables":{"v":%q}}`, to(95), canaryText, canaryValue),
		fmt.Sprintf(`{"to":%q,"from":"ACME","text":%q`, to(96), canaryText), // cut
		fmt.Sprintf(`{"to":"%s99999999","from":"ACME","text":%q}`, to(97), canaryText),
		fmt.Sprintf(`{"to":%q,"from":"ACME","text":%q,"send_at":%q}`, to(98), canaryText, canaryValue),
		fmt.Sprintf(`{"to":%q,"from":"ACME","text":%q,"provider":"nobody"}`, to(98), canaryText),
		canaryText,
	}
	for _, body := range bad {
		a.tell(a.api+"/v1/messages", canaryKey, "application/json", body, "traceparent", canaryHeader, "X-Forwarded-For", canaryHeader)
	}
	a.tell(a.api+"/v1/messages", canaryKey, "application/x-ndjson", strings.Join(append(bad, good), "\n"))
	a.tell(a.api+"/v1/messages?dry_run="+canaryQuery, canaryKey, "application/json", good)
	a.tell(a.api+"/v1/messages", canaryWrongKey, "application/json", good)
	a.tell(a.api+"/v1/messages", "", canaryHeader, good)
}

// publishes: on the bus, with what cannot be read among it.
func (a *aviary) publishes() {
	a.t.Helper()
	nc, err := nats.Connect("nats://" + a.natsURL)
	if err != nil {
		a.t.Fatal(err)
	}
	defer nc.Close()
	for subject, body := range map[string]string{
		"sms.submit.demo.high":         fmt.Sprintf(`{"to":%q,"from":"ACME","text":%q}`, to(80), canaryText),
		"sms.submit.demo.normal":       fmt.Sprintf(`{"to":%q,"from":"ACME","text":%q,"more":%q}`, to(81), canaryText, canaryValue),
		"sms.submit.demo.bulk":         canaryText,
		"sms.queue.sim.high.demo":      fmt.Sprintf(`{"to":%q,"text":%q}`, to(82), canaryText),
		"sms.queue.sim.bulk.demo":      canaryText,
		"sms.callback.sim.dlr":         canaryText,
		"sms.callback.smsbox.inbound":  `{"body":"` + canaryText + `"}`,
		"sms.journal.close.sim":        canaryText,
		"sms.event.demo.delivered":     canaryText,
		"sms.due.queue.sim.high.demo":  canaryText,
		"sms.due.submit.demo.high":     canaryText,
		"sms.accepted.demo.high":       canaryText,
		"sms.optout.sim." + canaryText: canaryText,
	} {
		if err := nc.PublishMsg(&nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{"Nats-Msg-Id": {canaryHeader + subject}, "X-Own": {canaryHeader}}}); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		a.t.Fatal(err)
	}
}

// callsBack: reports and inbound messages, right and wrong.
func (a *aviary) callsBack() {
	a.t.Helper()
	for typ := range logins {
		for _, token := range []string{canaryCallback, canaryWrongKey, "", canaryQuery + ".00"} {
			for _, kind := range []string{"dlr", "inbound"} {
				path := a.dlr + "/" + kind + "/" + typ + "/" + token + "?dnis=" + to(70)[1:] + "&username=canary-cred-dlruser-20&password=canary-cred-dlrpass-21&x=" + canaryQuery
				for _, body := range []string{
					fmt.Sprintf(`{"event":"message.delivered","data":{"message_id":"m","destination":%q,"text":%q}}`, to(71), canaryText),
					fmt.Sprintf(`{"transaction_id":"t%s","from":%q,"to":"15000","message":%q}`, typ, to(72)[1:], canaryInbound),
					fmt.Sprintf(`{"message_id":"m","dest_addr":%q,"status":%q}`, to(73)[1:], canaryText),
					canaryText,
				} {
					a.tell(path, "", "application/json", body, "X-Webhook-Signature", "sha256="+canaryHeader, "X-Webhook-Timestamp", canaryHeader, "X-Webhook-Id", canaryHeader)
				}
			}
		}
	}
}

// strangers: whoever comes to the other doors.
func (a *aviary) strangers() {
	a.tell(a.adminAddr+"/"+canaryQuery+"?k="+canaryQuery, canaryWrongKey, canaryHeader, canaryText)
	a.tell(a.api+"/"+canaryQuery, canaryWrongKey, "application/json", canaryText)
	a.tell(a.api+"/v1/messages/"+canaryQuery, canaryKey, "application/json", canaryText)
	for _, path := range []string{"/v1/messages/" + canaryQuery, "/v1/envelopes/" + canaryQuery, "/v1/envelopes/x/messages?cursor=" + canaryQuery, "/v1/dead?cursor=" + canaryQuery, "/v1/events?status=" + canaryQuery, "/v1/providers/" + canaryQuery + "/operations"} {
		_, data := a.call(http.MethodGet, path, canaryKey, "")
		_, _ = a.told.Write(data)
	}
}

// commands: what tuma says of what went wrong.
func (a *aviary) commands(text string) {
	a.t.Helper()
	dir := a.t.TempDir()
	away := regexp.MustCompile(`nats: {[^}]*}\nredis: {[^}]*}`).ReplaceAllString(text,
		"nats: {url: 'nats://u:"+canaryNATS+"@127.0.0.1:1'}\nredis: {url: 'redis://u:"+canaryRedis+"@127.0.0.1:1/0'}")
	if away == text {
		a.t.Fatal("the config has changed its shape")
	}
	a.write(dir+"/away.yaml", away)
	a.write(dir+"/broken.yaml", strings.Replace(away, "nats: {", "nats: {password: '"+canaryNATS+"', ", 1))
	a.write(dir+"/unread.yaml", strings.Replace(away, "nats: {", "nats: {'"+canaryNATS+"', ", 1))
	a.write(dir+"/people.csv", "phone,v\n"+to(60)[1:]+"x,"+canaryValue+"\n\""+to(61)+","+canaryValue)
	env := func(key string) config.Lookup {
		return func(name string) (string, bool) {
			switch name {
			case "TUMA_URL":
				return "http://" + a.api, true
			case "TUMA_KEY":
				return key, true
			}
			return "", false
		}
	}
	for _, c := range []struct {
		key  string
		args []string
	}{
		{canaryKey, []string{"send", "--to", to(62), "--from", "ACME", "--text", canaryText}},
		{canaryKey, []string{"send", "--to", to(63) + "99999999", "--from", "ACME", "--text", canaryText}},
		{canaryKey, []string{"send", "--to", to(64), "--from", "TWELVE CHARS!", "--text", canaryText}},
		{canaryKey, []string{"send", "--csv", dir + "/people.csv", "--from", "ACME", "--text", canaryText + " {{v}}"}},
		{canaryWrongKey, []string{"send", "--to", to(65), "--from", "ACME", "--text", canaryText}},
		{canaryKey, []string{"--url", "http://u:" + canaryKey + "@127.0.0.1:1", "send", "--to", to(66), "--from", "ACME", "--text", canaryText}},
		{canaryWrongKey, []string{"status", "x"}},
		{canaryKey, []string{"providers"}},
		{canaryKey, []string{"dead", "list"}},
		{canaryKey, []string{"check", "--config", dir + "/away.yaml"}},
		{canaryKey, []string{"check", "--config", dir + "/broken.yaml"}},
		{canaryKey, []string{"up", "--config", dir + "/broken.yaml"}},
		{canaryKey, []string{"up", "--config", dir + "/unread.yaml"}},
	} {
		var out bytes.Buffer
		cli.Main(a.t.Context(), c.args, cli.Deps{
			Version: "test", Types: app.TypeDefaults(), Env: env(c.key), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
			Default: func() (*config.Config, error) { return app.Default(rig.Nothing) }, Up: app.RunUp, Check: app.Check,
		})
		// Own numbers are shown to who typed them.
		_, _ = a.cli.Write(bytes.ReplaceAll(out.Bytes(), []byte(canaryNumbers), []byte("(own number)")))
	}
}
