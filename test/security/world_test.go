// Package security tries to get in: as a tenant on the bus, as a stranger at the
// doors, as a program that was taken over. Everything runs in this process, against
// a real NATS server with the permissions that are shipped.
package security

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/test/rig"
)

const (
	acmeKey, acmeHash     = "demo", "2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea"
	globexKey             = "key-of-globex"
	callbackToken         = "callback-token-of-the-test"
	cloudrebueCredentials = "demo-cloudrebue-token" // the simulator's
)

// users are everybody whom deploy/nats knows, and the tenants of the test.
var users = []string{"ingest", "dispatcher", "dlr-collector", "operator", "acme", "globex"}

// world is one installation with the shipped permissions.
type world struct {
	t        *testing.T
	nats     *server.Server
	url      string
	dir      string // of the seeds, one for each user
	redisURL string
	api      string
	dlr      string
	sim      string
	admin    map[string]string // of each program
	logs     *rig.Buffer       // of all programs
}

// newWorld starts NATS as it is shipped, with two tenants from the template, and Redis.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), api: rig.FreeAddr(t), dlr: rig.FreeAddr(t), sim: rig.FreeAddr(t), admin: map[string]string{}, logs: &rig.Buffer{}}
	for _, u := range users {
		w.nkey(u)
	}
	w.startNATS()
	m := miniredis.RunT(t)
	m.ClockTTL(true)
	w.redisURL = "redis://" + m.Addr() + "/0"
	return w
}

// nkey makes a user's key: the seed into a file, the public half into the environment.
func (w *world) nkey(user string) {
	w.t.Helper()
	k, err := nkeys.CreateUser()
	if err != nil {
		w.t.Fatal(err)
	}
	seed, _ := k.Seed()
	public, _ := k.PublicKey()
	if err := os.WriteFile(w.seed(user), seed, 0o600); err != nil {
		w.t.Fatal(err)
	}
	name := strings.ToUpper(strings.ReplaceAll(user, "-", "_"))
	if user == "acme" || user == "globex" {
		w.t.Setenv("TENANT_"+name+"_NKEY", public)
	} else {
		w.t.Setenv("TUMA_"+name+"_NKEY", public)
	}
}

func (w *world) seed(user string) string { return filepath.Join(w.dir, user+".seed") }

// startNATS writes a server's file that includes the shipped one, and a copy of
// the tenants' template for each tenant, as the documentation says.
func (w *world) startNATS() {
	w.t.Helper()
	conf := w.t.TempDir()
	if err := os.CopyFS(conf, os.DirFS("../../deploy/nats")); err != nil {
		w.t.Fatal(err)
	}
	template := w.read(filepath.Join(conf, "tenant.conf"))
	accounts := w.read(filepath.Join(conf, "accounts.conf"))
	for _, tenant := range []string{"acme", "globex"} {
		text := strings.ReplaceAll(strings.ReplaceAll(template, "acme", tenant), "ACME", strings.ToUpper(tenant))
		w.write(filepath.Join(conf, "tenants", tenant+".conf"), text)
	}
	if !strings.Contains(accounts, tenantsMark) {
		w.t.Fatal("accounts.conf has lost its place for tenants")
	}
	accounts = strings.Replace(accounts, tenantsMark, "include ./tenants/acme.conf\n  include ./tenants/globex.conf", 1)
	w.write(filepath.Join(conf, "accounts.conf"), accounts)
	w.write(filepath.Join(conf, "server.conf"), fmt.Sprintf(
		"listen: 127.0.0.1:-1\nmax_payload: 8MB\njetstream { store_dir: %q }\ninclude ./accounts.conf\n", w.t.TempDir()))
	o, err := server.ProcessConfigFile(filepath.Join(conf, "server.conf"))
	if err != nil {
		w.t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	if w.nats, err = server.NewServer(o); err != nil {
		w.t.Fatal(err)
	}
	w.nats.Start()
	if !w.nats.ReadyForConnections(10 * time.Second) {
		w.t.Fatal("NATS does not start")
	}
	w.t.Cleanup(func() { w.nats.Shutdown(); w.nats.WaitForShutdown() })
	w.url = w.nats.ClientURL()
}

// load has the server read accounts.conf with the text given as tenant acme's, as
// far as the server itself does before it starts.
func (w *world) load(conf, tenant string) error {
	w.t.Helper()
	w.write(filepath.Join(conf, "tenants", "acme.conf"), tenant)
	w.write(filepath.Join(conf, "accounts.conf"), strings.Replace(w.read("../../deploy/nats/accounts.conf"), tenantsMark, "include ./tenants/acme.conf", 1))
	w.write(filepath.Join(conf, "server.conf"), "listen: 127.0.0.1:-1\ninclude ./accounts.conf\n")
	o, err := server.ProcessConfigFile(filepath.Join(conf, "server.conf"))
	if err != nil {
		return err
	}
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err == nil {
		s.Shutdown()
	}
	return err
}

const tenantsMark = "# include ./tenants/acme.conf"

func (w *world) read(path string) string {
	w.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// config is the one file, as one program sees it: only the credentials differ.
func (w *world) config(program string) *config.Config {
	w.t.Helper()
	text := fmt.Sprintf(`
nats: {url: %q, credentials: %q}
redis: {url: %q}
ingest:
  listen: %q
  tenants:
    - {name: acme, keys_sha256: [%s], default_region: KE, operator: true, bus: true, rate: {messages: 5000, per: 1s}}
    - {name: globex, keys_sha256: [%s], bus: true}
dlr_collector: {listen: %q, public_url: "http://%s"}
providers:
  cr:
    type: cloudrebue
    base_url: http://%s/cloudrebue/api/v1
    credentials: {token: %s}
    callback_token: %s
  box:
    type: smsbox
    base_url: http://%s/smsbox/api/sms/v1
    credentials: {api_key: demo-smsbox-key, api_secret: demo-smsbox-secret}
    callback_token: %s
    inbound: {"15000": acme}
    poll: {after: 1s, every: 1s}
  sched:
    type: smsscheduler
    base_url: http://%s/smsscheduler/api/v1
    credentials: {token: demo-smsscheduler-token}
    options: {senders: {ACME: 1}}
    poll: {after: 1s, every: 1s}
routes: [{prefix: "+226", providers: [box]}, {prefix: "+33", providers: [sched]}, {prefix: "+", providers: [cr]}]
`, w.url, w.seed(program), w.redisURL, w.api, acmeHash, sha(globexKey), w.dlr, w.dlr, w.sim, cloudrebueCredentials, callbackToken, w.sim, callbackToken, w.sim)
	return rig.Config(w.t, text)
}

func debug(name string) (string, bool) { return "debug", name == "TUMA_LOG" }

// run starts a program until the test ends.
func (w *world) run(program string, run func(context.Context, cli.Params) error) {
	w.t.Helper()
	w.admin[program] = rig.FreeAddr(w.t)
	rig.Inside(w.t, run, cli.Params{Name: program, Config: w.config(program), Admin: w.admin[program], Env: debug, Stderr: w.logs})
}

// up runs all programs, each as its own user, and waits until they are ready.
func (w *world) up() {
	w.t.Helper()
	env := func(name string) (string, bool) {
		switch name {
		case "TUMA_SIM_SMSBOX_REPORTS":
			return "http://" + w.dlr + "/dlr/box/" + callbackToken, true
		case "TUMA_SIM_SMSBOX_INBOUND":
			return "http://" + w.dlr + "/inbound/box/" + callbackToken, true
		}
		return "", false
	}
	rig.Inside(w.t, func(ctx context.Context, p cli.Params) error { return app.RunSimulate(ctx, p, w.sim) }, cli.Params{Name: "simulate", Env: env})
	w.run("ingest", app.RunIngest) // first: the others wait for streams that they may not make
	w.ready("ingest")
	w.run("dlr-collector", app.RunCollector)
	w.run("dispatcher", app.RunDispatcher)
	w.ready("dlr-collector")
	w.ready("dispatcher")
}

func (w *world) ready(program string) { w.t.Helper(); rig.Ready(w.t, w.admin[program], w.logs) }

func (w *world) eventually(what string, look func() bool) {
	w.t.Helper()
	rig.Eventually(w.t, 30*time.Second, what, func() (bool, string) { return look(), w.logs.Tail(60) })
}

// call makes one call of the API.
func (w *world) call(method, path, key, body string) (int, []byte) {
	w.t.Helper()
	return rig.Call(w.t, method, "http://"+w.api+path, key, body)
}

// submit hands in one envelope of acme's and returns the ids of its messages.
func (w *world) submit(body string) []string {
	w.t.Helper()
	code, data := w.call(http.MethodPost, "/v1/messages", acmeKey, body)
	var a struct{ Messages []struct{ ID string } }
	if err := json.Unmarshal(data, &a); code != http.StatusAccepted || err != nil {
		w.t.Fatalf("%d %s", code, data)
	}
	var ids []string
	for _, m := range a.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// status returns a message's status.
func (w *world) status(id string) string {
	_, data := w.call(http.MethodGet, "/v1/messages/"+id, acmeKey, "")
	var m struct{ Status string }
	_ = json.Unmarshal(data, &m) // no status then
	return m.Status
}

func sha(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
