// Package badinput throws everything bad that has a name at the whole program, by
// the doors that the world has: the API, the callbacks, the admin port, the bus, the
// gateways' answers, the config and the command line. There are 98 kinds of it;
// rows_test.go says for each which test proves that it does no harm.
//
// What belongs to one package is tested there; here is what only the assembled
// program can get wrong: an answer that is ours to be ashamed of (5xx), a panic, a
// hang, memory without bound, or a next good message that does not arrive.
package badinput

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/test/rig"
)

const secret = "token-of-all-callbacks"

// program is everything in this process.
type program struct {
	t                     *testing.T
	api, dlr, admin, nats string
	logs                  rig.Buffer
	good                  int // messages sent so far to see that it goes on
	yaml                  string
	stop                  func()
}

// start runs everything; gateway is where cloudrebue is, empty: a simulator.
func start(t *testing.T, gateway string) *program {
	t.Helper()
	p := &program{t: t, api: rig.FreeAddr(t), dlr: rig.FreeAddr(t), admin: rig.FreeAddr(t), nats: rig.FreeAddr(t)}
	t.Cleanup(func() { // after the program's end
		if strings.Contains(p.logs.String(), "panic") {
			t.Errorf("something panicked:\n%s", p.logs.String())
		}
	})
	p.yaml = p.config(t.TempDir(), rig.FreeAddr(t), gateway)
	p.run()
	return p
}

func (p *program) run() {
	p.t.Helper()
	p.stop = rig.Inside(p.t, app.RunUp, cli.Params{Name: "tuma", Config: rig.Config(p.t, p.yaml), Stderr: &p.logs})
	rig.Ready(p.t, p.admin, &p.logs)
}

// restart ends it and starts it again on the same store.
func (p *program) restart() {
	p.t.Helper()
	p.stop()
	p.run()
}

// config is what everything runs with: stores in dir, simulators at sim.
func (p *program) config(dir, sim, gateway string) string {
	if gateway == "" {
		gateway = "http://" + sim
	}
	return fmt.Sprintf(`
nats: {url: embedded, listen: %q, store_dir: %q}
redis: {url: embedded}
ingest: {listen: %q, tenants: [{name: demo, keys_sha256: [%s], default_region: KE, operator: true}]}
dlr_collector: {listen: %q, public_url: "http://%s"}
admin: {listen: %q}
simulator: {listen: %q}
providers:
  cloudrebue: {type: cloudrebue, base_url: "%[10]s/cloudrebue/api/v1", credentials: {token: demo-cloudrebue-token}, callback_token: %[9]s, timeout: 2s, breaker: {failures: 1000, open_for: 1s}}
  smsbox: {type: smsbox, base_url: "http://%[8]s/smsbox/api/sms/v1", credentials: {api_key: demo-smsbox-key, api_secret: demo-smsbox-secret}, callback_token: %[9]s, inbound: {"15000": demo}}
  bulksmsrates: {type: bulksmsrates, base_url: "http://%[8]s/bulksmsrates/v1", credentials: {api_key: bsms_live_demo, api_secret: sk_live_demo, webhook_secret: demo-webhook-secret}, callback_token: %[9]s}
  digitalservices:
    type: digitalservices
    base_url: http://%[8]s/digitalservices/api/v2
    credentials: {api_key: demo-dsc-key, username: demo, password: demo-dsc-password, dlr_username: demo-dlr, dlr_password: demo-dlr-password}
    callback_token: %[9]s
routes: [{prefix: "+881", refuse: true}, {prefix: "+", providers: [cloudrebue]}]
`, p.nats, dir, p.api, rig.KeyHash, p.dlr, p.dlr, p.admin, sim, secret, gateway)
}

// goesOn sends one good message and waits until its report has come.
func (p *program) goesOn() {
	p.t.Helper()
	p.delivered(p.accepts())
}

// accepts sends one good message.
func (p *program) accepts() (id string) {
	p.t.Helper()
	p.good++
	return p.accepted(fmt.Sprintf(`{"to":"+2547%08d","from":"ACME","text":"good","priority":"high"}`, p.good))
}

// accepted submits what is good and returns the id of its first message.
func (p *program) accepted(body string) (id string) {
	p.t.Helper()
	code, answer := p.call("POST", "http://"+p.api+"/v1/messages", body)
	var a struct{ Messages []struct{ ID string } }
	if err := json.Unmarshal(answer, &a); code != http.StatusAccepted || err != nil {
		p.t.Fatalf("the next good message: %d %s", code, answer)
	}
	return a.Messages[0].ID
}

// delivered waits until a message is.
func (p *program) delivered(id string) {
	p.t.Helper()
	p.becomes(id, `"status":"delivered"`)
}

// becomes waits until what is told of a message says something.
func (p *program) becomes(id, says string) {
	p.t.Helper()
	rig.Eventually(p.t, 30*time.Second, id+" says "+says, func() (bool, string) {
		_, body := p.call("GET", "http://"+p.api+"/v1/messages/"+id, "")
		return bytes.Contains(body, []byte(says)), string(body) + p.logs.Tail(20)
	})
}

func (p *program) call(method, url, body string) (int, []byte) {
	p.t.Helper()
	return rig.Call(p.t, method, url, rig.Key, body)
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
	rig.Eventually(p.t, 30*time.Second, what, func() (bool, string) { return look(), p.logs.Tail(20) })
}

// bus is a client that may publish everything.
func (p *program) bus() jetstream.JetStream {
	p.t.Helper()
	nc, err := nats.Connect("nats://" + p.nats)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		p.t.Fatal(err)
	}
	return js
}

// memory is what is held after everything that nobody needs was collected.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
