package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// everything is the config of tuma up with all in one process.
func (c *cluster) everything(store string) string {
	all := settings{types: "cloudrebue,digitalservices,smsbox,smsscheduler,bulksmsrates"}
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
`, c.natsAddr, store, c.sim.addr, c.api, tenant, keyHash, c.reports, c.reports, c.redis) + accounts(all, c.sim.addr) + routes(all)
}

// tuma up is ready at once and says where everything is, messages go through all
// five types, and a restart forgets nothing.
func TestUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t, settings{})
	config := write(t, filepath.Join(c.dir, "up.yaml"), c.everything(filepath.Join(c.dir, "store")))
	tuma := c.upAndReady(config)
	fastest := time.Since(tuma.at)
	for _, where := range []string{c.api, c.reports, c.sim.addr, c.natsAddr, c.redis /* here: of admin */, "tuma send"} {
		if !strings.Contains(tuma.stdout(), where) {
			t.Errorf("what it printed does not tell of %s:\n%s", where, tuma.stdout())
		}
	}

	sent := map[string]string{} // number -> message
	for number, typ := range map[string]string{
		"+254712345678": "cloudrebue", "+250788123456": "digitalservices", "+22670123456": "smsbox", "+33612345678": "smsscheduler", "+447700900123": "bulksmsrates",
	} {
		send := c.tuma("send", "--to", number, "--from", "ACME", "--text", "Habari", "--wait", "--timeout", "20s")
		code := send.wait(30 * time.Second)
		id := regexp.MustCompile(`accepted (\S+) to`).FindStringSubmatch(send.stdout())
		if code != 0 || id == nil || !strings.Contains(send.stdout(), "delivered 1") {
			t.Errorf("%s: tuma send: exit %d\n%s%s", typ, code, send.stdout(), send.stderr())
			continue
		}
		sent[number] = id[1]
		if got := c.sim.summary(t, typ).AcceptedMessages; got != 1 {
			t.Errorf("%s took %d messages", typ, got)
		}
	}

	code, took := tuma.terminate(20 * time.Second)
	if code != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit %d after %s", code, took)
	}
	tuma = c.upAndReady(config)
	fastest = min(fastest, time.Since(tuma.at))
	for number, id := range sent {
		var m message
		if status, ok := c.get("/v1/messages/"+id, &m); !ok || m.Status != "delivered" || m.To != number {
			t.Errorf("after a restart %s is %d %+v", id, status, m)
		}
	}
	if code, took := tuma.terminate(20 * time.Second); code != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit %d after %s", code, took)
	}
	if fastest > 2*time.Second { // of two starts, as the machine may be busy with other tests
		t.Errorf("ready after %s", fastest)
	}
	t.Logf("ready after %s, gone after %s", fastest, took)
}

// upAndReady starts tuma up and waits for what it prints when it is ready.
func (c *cluster) upAndReady(config string) *process {
	c.t.Helper()
	p := start(c.t, c.dir, "tuma", program("tuma"), nil, "up", "--config", config)
	eventually(c.t, 20*time.Second, "tuma up is ready", func() (bool, string) {
		if !p.alive() {
			c.t.Fatalf("it has ended\n%s", p.stderr())
		}
		return strings.Contains(p.stdout(), "Tuma is ready"), p.stdout() + p.stderr()
	})
	return p
}

// tuma runs a command of the CLI against ingest.
func (c *cluster) tuma(args ...string) *process {
	return start(c.t, c.dir, "tuma-"+args[0], program("tuma"), []string{"TUMA_URL=http://" + c.api, "TUMA_KEY=" + key}, args...)
}
