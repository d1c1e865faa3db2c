// Package badinput throws everything bad that has a name at the whole program, by
// the doors that the world has: the API, the callbacks, the admin port and the bus.
// What belongs to one package is tested there; here is what only the assembled
// program can get wrong: an answer that is ours to be ashamed of (5xx), a panic, a
// hang, memory without bound, or a next good message that does not arrive.
package badinput

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
)

const token = "token-of-all-callbacks"

// program is everything in this process.
type program struct {
	t                     *testing.T
	api, dlr, admin, nats string
	logs                  buffer
	good                  int // messages sent so far to see that it goes on
}

func start(t *testing.T) *program {
	t.Helper()
	p := &program{t: t, api: addr(t), dlr: addr(t), admin: addr(t), nats: addr(t)}
	sim := addr(t)
	text := fmt.Sprintf(`
nats: {url: embedded, listen: %q, store_dir: %q}
redis: {url: embedded}
ingest: {listen: %q, tenants: [{name: demo, keys_sha256: [2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea], default_region: KE, operator: true}]}
dlr_collector: {listen: %q, public_url: "http://%s"}
admin: {listen: %q}
simulator: {listen: %q}
providers:
  cloudrebue: {type: cloudrebue, base_url: "http://%[7]s/cloudrebue/api/v1", credentials: {token: demo-cloudrebue-token}, callback_token: %[8]s}
  smsbox: {type: smsbox, base_url: "http://%[7]s/smsbox/api/sms/v1", credentials: {api_key: demo-smsbox-key, api_secret: demo-smsbox-secret}, callback_token: %[8]s}
  bulksmsrates: {type: bulksmsrates, base_url: "http://%[7]s/bulksmsrates/v1", credentials: {api_key: bsms_live_demo, api_secret: sk_live_demo, webhook_secret: demo-webhook-secret}, callback_token: %[8]s}
  digitalservices:
    type: digitalservices
    base_url: http://%[7]s/digitalservices/api/v2
    credentials: {api_key: demo-dsc-key, username: demo, password: demo-dsc-password, dlr_username: demo-dlr, dlr_password: demo-dlr-password}
    callback_token: %[8]s
routes: [{prefix: "+", providers: [cloudrebue]}]
`, p.nats, t.TempDir(), p.api, p.dlr, p.dlr, p.admin, sim, token)
	nothing := func(string) (string, bool) { return "", false }
	cfg, err := config.Parse("tuma.yaml", []byte(text), app.TypeDefaults(), nothing)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- app.RunUp(ctx, cli.Params{Name: "tuma", Version: "test", Config: cfg, Env: nothing, Stdout: io.Discard, Stderr: &p.logs})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if strings.Contains(p.logs.String(), "panic") {
			t.Errorf("something panicked:\n%s", p.logs.String())
		}
	})
	p.eventually("ready", func() bool {
		code, _ := p.call("GET", "http://"+p.admin+"/readyz", "")
		return code == http.StatusOK
	})
	return p
}

// goesOn sends one good message and waits until its report has come.
func (p *program) goesOn() {
	p.t.Helper()
	p.good++
	code, body := p.call("POST", "http://"+p.api+"/v1/messages", fmt.Sprintf(`{"to":"+2547%08d","from":"ACME","text":"good","priority":"high"}`, p.good))
	var a struct{ Messages []struct{ ID string } }
	if err := json.Unmarshal(body, &a); code != http.StatusAccepted || err != nil {
		p.t.Fatalf("the next good message: %d %s", code, body)
	}
	p.eventually("the next good message is delivered", func() bool {
		_, body := p.call("GET", "http://"+p.api+"/v1/messages/"+a.Messages[0].ID, "")
		return bytes.Contains(body, []byte(`"status":"delivered"`))
	})
}

func (p *program) call(method, url, body string) (int, []byte) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer demo")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, data
}

// raw sends bytes as they are and returns the status line; "closed" if none came.
func (p *program) raw(to, request string) string {
	conn, err := net.Dial("tcp", to)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	go func() { // ends with the connection
		_, _ = io.WriteString(conn, request)
		time.Sleep(time.Second) // who hangs up at once is taken for gone, and answered anyhow
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	b := make([]byte, 256)
	n, err := conn.Read(b)
	line, _, _ := strings.Cut(string(b[:n]), "\r\n")
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return "hangs"
	}
	if line == "" {
		return "closed"
	}
	return line
}

func (p *program) eventually(what string, look func() bool) {
	p.t.Helper()
	deadline, pause := time.Now().Add(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer pause.Stop()
	for !look() {
		if time.Now().After(deadline) {
			p.t.Fatalf("not within 30 s: %s\n%.4000s", what, p.logs.String())
		}
		<-pause.C
	}
}

// The three HTTP doors, by raw bytes: refused, or not understood, but never 5xx and
// never without an end. (501 is how net/http refuses a coding that it does not know.)
func TestRawHTTP(t *testing.T) {
	p := start(t)
	const head = "Host: x\r\nAuthorization: Bearer demo\r\nContent-Type: application/json\r\n"
	const body = `{"to":"+254700000000","from":"ACME","text":"smuggled"}`
	before := memory()
	requests := map[string]string{
		"length and chunks":     "POST /v1/messages HTTP/1.1\r\n" + head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /v1/messages HTTP/1.1\r\n" + head + "Content-Length: 54\r\n\r\n" + body,
		"folded header":         "POST /v1/messages HTTP/1.1\r\n" + head + "X: a\r\n b\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + body,
		"two hosts":             "GET /v1/providers HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"no host":               "GET /v1/providers HTTP/1.1\r\n\r\n",
		"chunk too large":       "POST /v1/messages HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
		"chunk of letters":      "POST /v1/messages HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"chunk extension":       "POST /v1/messages HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 1<<20) + "\r\n",
		"negative length":       "POST /v1/messages HTTP/1.1\r\n" + head + "Content-Length: -1\r\n\r\n",
		"huge length":           "POST /v1/messages HTTP/1.1\r\n" + head + "Content-Length: 99999999999999999999\r\n\r\n",
		"2 GB promised":         "POST /v1/messages HTTP/1.1\r\n" + head + "Content-Length: 2147483648\r\n\r\n" + body,
		"HTTP/2":                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00", 64),
		"upgrade to h2c":        "POST /v1/messages HTTP/1.1\r\n" + head + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 1\r\n\r\n{",
		"HTTP/9":                "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
		"TLS":                   "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 200),
		"rubbish":               strings.Repeat("\x00\xff", 1000) + "\r\n\r\n",
		"TRACE":                 "TRACE /v1/messages HTTP/1.1\r\n" + head + "\r\n",
		"CONNECT":               "CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + head + "\r\n",
		"method in a header":    "GET /v1/messages HTTP/1.1\r\n" + head + "X-HTTP-Method-Override: POST\r\nContent-Length: 54\r\n\r\n" + body,
		"long method":           strings.Repeat("A", 100_000) + " / HTTP/1.1\r\nHost: x\r\n\r\n",
		"dots":                  "POST /v1/../admin/%2e%2e/%00 HTTP/1.1\r\n" + head + "\r\n",
		"slashes":               "POST //v1//messages// HTTP/1.1\r\n" + head + "Content-Length: 54\r\n\r\n" + body,
		"NUL in the path":       "GET /v1/messages/\x00 HTTP/1.1\r\n" + head + "\r\n",
		"escaped NUL":           "GET /v1/messages/%00 HTTP/1.1\r\n" + head + "\r\n",
		"absolute URL":          "GET http://169.254.169.254/latest HTTP/1.1\r\n" + head + "\r\n",
		"many parameters":       "GET /v1/dead?" + strings.Repeat("a=1&", 7000) + " HTTP/1.1\r\n" + head + "\r\n",
		"a megabyte of query":   "GET /v1/dead?" + strings.Repeat("a=1&", 1<<18) + " HTTP/1.1\r\n" + head + "\r\n",
		"gzip":                  "POST /v1/messages HTTP/1.1\r\n" + head + "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
		"UTF-16":                "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo\r\nContent-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n\r\n{}",
		"multipart":             "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 2\r\n\r\n{}",
		"no key":                "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n" + body,
		"key of a megabyte":     "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"other scheme":          "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZGVtbzpkZW1v\r\nContent-Length: 54\r\nContent-Type: application/json\r\n\r\n" + body,
		"key twice":             "POST /v1/messages HTTP/1.1\r\n" + head + "Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 54\r\n\r\n" + body,
		"expects, sends none":   "POST /v1/messages HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\nContent-Length: 54\r\n\r\n",
		"trailer with a secret": "POST /v1/messages HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n1\r\n{\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
	}
	var all sync.WaitGroup
	for door, to := range map[string]string{"api": p.api, "callbacks": p.dlr, "admin": p.admin} {
		for name, request := range requests {
			all.Go(func() {
				got := p.raw(to, request)
				refused := strings.HasPrefix(got, "HTTP/1.1 4") || strings.HasPrefix(got, "HTTP/1.1 3") || strings.HasPrefix(got, "HTTP/1.1 501") || strings.HasPrefix(got, "HTTP/1.1 505") || got == "closed"
				if harmless := name == "many parameters" && strings.HasPrefix(got, "HTTP/1.1 200"); !refused && !harmless {
					t.Errorf("%s: %s: %s", door, name, got)
				}
			})
		}
	}
	all.Wait()
	if after := memory(); after > before+128<<20 {
		t.Errorf("%d MiB are held after it, %d before", after>>20, before>>20)
	}
	p.goesOn()
	_, summary := p.call("GET", "http://"+p.api+"/v1/messages/none", "")
	if bytes.Contains(summary, []byte("smuggled")) {
		t.Error("a smuggled request was taken")
	}
}

// memory is what is held after everything that nobody needs was collected.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// Rubbish that comes to the callbacks with the right token.
func TestRubbishFromGateways(t *testing.T) {
	p := start(t)
	bodies := []string{
		"", "null", "[]", "{}", `"x"`, "1", "\x00\xff", "<html>", strings.Repeat("[", 30_000), `{"a":` + strings.Repeat(`{"a":`, 10_000), strings.Repeat("a=b&", 10_000),
		`{"event":"message.delivered"}`, `{"event":"message.delivered","data":null}`, `{"event":{},"data":[]}`, `{"event":"message.delivered","data":{"message_id":1e400,"destination":-0}}`,
		`[{"To":"+254712345678","Status":"DeliveredToTerminal"}]`, `[null,1,"x",{}]`, `{"message_id":null,"status":[]}`, `{"message_id":"m","phone":"\u0000","status":"` + strings.Repeat("D", 10_000) + `"}`,
		`{"transaction_id":"","from":"","to":"","message":""}`, `{"transaction_id":1,"from":2,"to":3,"message":4}`, `{"transaction_id":"t","from":"254712345678","to":"15000","message":"` + strings.Repeat("x", 60_000) + `"}`,
		strings.Repeat("x", 70<<10),
	}
	queries := []string{"", "?dlvrMsgStat=U&dlvrMsgStat=D", "?dnis[]=1", "?a=1;b=2", "?a=%00", "?%zz", "?username=demo-dlr&password=demo-dlr-password&command=deliver&dnis=&dlvrMsgId=&dlvrMsgStat=", "?" + strings.Repeat("a=1&", 5000)}
	var all sync.WaitGroup
	room := make(chan struct{}, 16)
	for _, account := range []string{"cloudrebue", "smsbox", "bulksmsrates", "digitalservices", "nobody", "%2e%2e", "a%2fb"} {
		for _, kind := range []string{"dlr", "inbound", "other"} {
			for _, method := range []string{"POST", "GET", "PUT", "HEAD"} {
				all.Go(func() {
					for _, q := range queries {
						for _, body := range bodies {
							if method != "POST" && body != "" {
								continue
							}
							room <- struct{}{}
							code, answer := p.call(method, "http://"+p.dlr+"/"+kind+"/"+account+"/"+token+q, body)
							<-room
							if code == 0 || code >= 500 {
								t.Errorf("%s %s/%s%.40s %.40q: %d %s", method, kind, account, q, body, code, answer)
							}
						}
					}
				})
			}
		}
	}
	all.Wait()
	p.goesOn()
	p.eventually("what cannot be read is a dead letter", func() bool {
		_, body := p.call("GET", "http://"+p.api+"/v1/dead?reason=poison&limit=1000", "")
		return bytes.Count(body, []byte(`"id"`)) > 5
	})
}

// Anything at all, published by anyone who may: what is stored becomes a dead
// letter or a rejected event, and each lane goes on.
func TestRubbishOnTheBus(t *testing.T) {
	p := start(t)
	nc, err := nats.Connect("nats://" + p.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	bodies := []string{
		"", "null", "[]", "{", "\x00\xff", `{"version":999}`, strings.Repeat("[", 100_000), strings.Repeat("x", 1<<20),
		`{"to":"+254712345678","from":"ACME"}`, `{"recipients":[` + strings.TrimSuffix(strings.Repeat(`{"to":"+254712345678"},`, 50_000), ",") + `],"from":"ACME","text":"x"}`,
		`{"id":"x","tenant":"other","messages":[{"i":0,"to":"+254712345678","seg":1}]}`, `{"id":"x","tenant":"demo","messages":[{"i":-5,"to":"x","seg":1}]}`,
	}
	headers := []nats.Header{nil, {"Tuma-Packed": {"gzip"}}, {"Status": {"409"}, "Description": {"Consumer Deleted"}}, {"traceparent": {strings.Repeat("x", 3000)}, "Idempotency-Key": {"a", "b"}}}
	stored := map[string]int{}
	for _, subject := range []string{"sms.submit.demo", "sms.queue.cloudrebue"} {
		for _, priority := range []string{"high", "normal", "bulk"} {
			full := subject + "." + priority
			if subject == "sms.queue.cloudrebue" {
				full += ".demo"
			}
			for _, h := range headers {
				for _, body := range bodies {
					if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: full, Header: h, Data: []byte(body)}); err != nil {
						t.Fatalf("%s: %v", full, err)
					}
					stored[subject]++
				}
			}
		}
	}
	for _, nowhere := range []string{"sms.submit.demo.urgent", "sms.submit.nobody.high", "sms.submit.demo.high.more", "sms.queue.cloudrebue.urgent.demo", "sms.queue.nobody.high.demo"} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if _, err := js.Publish(ctx, nowhere, []byte("{}")); err == nil {
			t.Errorf("%s is stored, and nobody reads it", nowhere)
		}
		cancel()
	}
	letters := func(account string) int {
		n, cursor := 0, ""
		for {
			_, body := p.call("GET", "http://"+p.api+"/v1/dead?reason=poison&limit=1000&account="+account+cursor, "")
			var page struct {
				Dead []struct{ Error struct{ Code, Detail string } }
				Next string
			}
			if err := json.Unmarshal(body, &page); err != nil {
				return -1
			}
			for _, d := range page.Dead {
				if d.Error.Code == "" || d.Error.Detail == "" {
					t.Fatalf("a letter without its reason: %s", body)
				}
			}
			if n += len(page.Dead); page.Next == "" {
				return n
			}
			cursor = "&cursor=" + page.Next
		}
	}
	p.eventually("all of the queue is dead", func() bool { return letters("cloudrebue") == stored["sms.queue.cloudrebue"] })
	// What was understood and refused is an event; the rest is dead.
	events, err := js.Stream(t.Context(), "SMS_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	p.eventually("all that was submitted is told", func() bool {
		info, err := events.Info(t.Context(), jetstream.WithSubjectFilter("sms.event.demo.rejected"))
		return err == nil && int(info.State.Subjects["sms.event.demo.rejected"]) >= stored["sms.submit.demo"]
	})
	for _, priority := range []string{"high", "normal", "bulk"} {
		before := delivered(t, events)
		if _, err := js.Publish(t.Context(), "sms.submit.demo."+priority, []byte(`{"to":"+254712345678","from":"ACME","text":"good"}`)); err != nil {
			t.Fatal(err)
		}
		p.eventually("the next good one of "+priority+" is delivered", func() bool { return delivered(t, events) > before })
	}
	p.goesOn()
}

func delivered(t *testing.T, events jetstream.Stream) uint64 {
	t.Helper()
	info, err := events.Info(t.Context(), jetstream.WithSubjectFilter("sms.event.demo.delivered"))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects["sms.event.demo.delivered"]
}

func addr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
