package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// everything is the config of tuma up with all in one process.
func (c cluster) everything(store string) string {
	all := rig.Settings{Types: "cloudrebue,digitalservices,smsbox,smsscheduler,bulksmsrates"}
	return fmt.Sprintf(`nats: {url: embedded, listen: %q, store_dir: %q}
redis: {url: embedded}
simulator: {listen: %q}
ingest:
  listen: %s
  tenants:
    - {name: %s, keys_sha256: [%s], default_region: KE, operator: true}
dlr_collector: {listen: %s, public_url: "http://%s"}
admin: {listen: %q}
providers:
`, c.NATS, store, c.Sim.Addr, c.API, rig.Tenant, rig.KeyHash, c.Reports, c.Reports, c.Redis) + all.Accounts(c.Sim.Addr) + "routes:\n" + all.Routing()
}

// tuma up is ready at once and says where everything is, messages go through all
// five types, and a restart forgets nothing.
func TestUp(t *testing.T) {
	t.Parallel()
	c := cluster{programs.NewCluster(t, rig.Settings{})}
	config := rig.Write(t, filepath.Join(c.Dir, "up.yaml"), c.everything(filepath.Join(c.Dir, "store")))
	tuma := c.upAndReady(config)
	fastest := time.Since(tuma.At)
	for _, where := range []string{c.API, c.Reports, c.Sim.Addr, c.NATS, c.Redis /* here: of admin */, "tuma send"} {
		if !strings.Contains(tuma.Stdout(), where) {
			t.Errorf("what it printed does not tell of %s:\n%s", where, tuma.Stdout())
		}
	}

	sent := map[string]string{} // number -> message
	for number, typ := range map[string]string{
		"+254712345678": "cloudrebue", "+250788123456": "digitalservices", "+22670123456": "smsbox", "+33612345678": "smsscheduler", "+447700900123": "bulksmsrates",
	} {
		send := c.Tuma("send", "--to", number, "--from", "ACME", "--text", "Habari", "--wait", "--timeout", "20s")
		code := send.Wait(30 * time.Second)
		id := regexp.MustCompile(`accepted (\S+) to`).FindStringSubmatch(send.Stdout())
		if code != 0 || id == nil || !strings.Contains(send.Stdout(), "delivered 1") {
			t.Errorf("%s: tuma send: exit %d\n%s%s", typ, code, send.Stdout(), send.Stderr())
			continue
		}
		sent[number] = id[1]
		if got := c.Sim.Summary(t, typ).AcceptedMessages; got != 1 {
			t.Errorf("%s took %d messages", typ, got)
		}
	}

	code, took := tuma.Terminate(20 * time.Second)
	if code != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit %d after %s", code, took)
	}
	tuma = c.upAndReady(config)
	fastest = min(fastest, time.Since(tuma.At))
	for number, id := range sent {
		var m rig.Message
		if status, ok := c.Get("/v1/messages/"+id, &m); !ok || m.Status != "delivered" || m.To != number {
			t.Errorf("after a restart %s is %d %+v", id, status, m)
		}
	}
	if code, took := tuma.Terminate(20 * time.Second); code != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit %d after %s", code, took)
	}
	if fastest > 2*time.Second { // of two starts, as the machine may be busy with other tests
		t.Errorf("ready after %s", fastest)
	}
	t.Logf("ready after %s, gone after %s", fastest, took)
}

// upAndReady starts tuma up and waits for what it prints when it is ready.
func (c cluster) upAndReady(config string) *rig.Process {
	c.T.Helper()
	p := rig.Start(c.T, rig.Command{Name: "tuma", Path: programs.Program("tuma"), Dir: c.Dir, Args: []string{"up", "--config", config}})
	rig.Eventually(c.T, 20*time.Second, "tuma up is ready", func() (bool, string) {
		if !p.Alive() {
			c.T.Fatalf("it has ended\n%s", p.Stderr())
		}
		return strings.Contains(p.Stdout(), "Tuma is ready"), p.Stdout() + p.Stderr()
	})
	return p
}
