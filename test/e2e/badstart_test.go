package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// A start that cannot work ends with exit code 2 and one line that names what is
// wrong, so that whoever reads it knows what to change.
func TestBadStart(t *testing.T) {
	t.Parallel()
	c := cluster{programs.NewCluster(t, rig.Settings{})}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.Addr().String()
	apart, store := rig.Settings{}.YAML(c.Places), filepath.Join(c.Dir, "store")
	one := c.everything(store)
	file := rig.Write(t, filepath.Join(c.Dir, "a-file"), "")
	change := func(text, from, to string) string {
		t.Helper()
		if !strings.Contains(text, from) {
			t.Fatalf("the config has no %q", from)
		}
		return strings.ReplaceAll(text, from, to)
	}
	for _, test := range []struct {
		name, program, config string
		says                  []string
	}{
		{"api port in use", "tuma", change(one, "listen: "+c.API, "listen: "+taken), []string{"ingest.listen", taken, "in use"}},
		{"reports port in use", "tuma", change(one, c.Reports, taken), []string{"dlr_collector.listen", taken, "in use"}},
		{"nats port in use", "tuma", change(one, c.NATS, taken), []string{"nats.listen", taken, "in use"}},
		{"simulator port in use", "tuma", change(one, c.Sim.Addr, taken), []string{"simulator.listen", taken, "in use"}},
		{"admin port in use", "tuma", change(one, c.Redis, taken), []string{"admin.listen", taken, "in use"}},
		{"store not writable", "tuma", change(one, store, filepath.Join(file, "store")), []string{"nats.store_dir", filepath.Join(file, "store"), "not a directory"}},
		{"port in use", "ingest", change(apart, "listen: "+c.API, "listen: "+taken), []string{"ingest.listen", taken, "in use"}},
		{"port in use", "dlr-collector", change(apart, "listen: "+c.Reports, "listen: "+taken), []string{"dlr_collector.listen", taken, "in use"}},
		{"port in use", "dispatcher", change(apart, "127.0.0.1:1\"", taken+"\""), []string{"admin.listen", taken, "in use"}},
		{"unknown key", "ingest", change(apart, "ingest:\n", "ingest:\n  lisen: 127.0.0.1:1\n"), []string{"ingest.lisen", "unknown"}},
		{"unknown key", "tuma", change(one, "redis: {", "redis: {ulr: x, "), []string{"redis.ulr", "unknown"}},
		{"secret not set", "dispatcher", change(apart, "demo-cloudrebue-token", `"${TUMA_E2E_NOT_SET}"`), []string{"providers.cloudrebue-main.credentials.token", "TUMA_E2E_NOT_SET", "not set"}},
		{"secret file missing", "dlr-collector", change(apart, "callback_token: "+rig.CallbackToken, "callback_token: file:/nowhere/token"), []string{"providers.cloudrebue-main.callback_token", "/nowhere/token"}},
		{"embedded", "dispatcher", change(apart, `"nats://`+c.NATS+`"`, "embedded"), []string{"nats.url", "embedded"}},
		{"embedded", "ingest", change(apart, `"redis://`+c.Redis+`/0"`, "embedded"), []string{"redis.url", "embedded"}},
		{"not YAML", "dispatcher", "providers: [", []string{"bad.yaml"}},
		{"no file", "dispatcher", "", []string{"bad.yaml", "no such file"}},
	} {
		t.Run(test.program+" "+test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "bad.yaml")
			if test.config != "" {
				rig.Write(t, path, test.config)
			}
			args := []string{"--config", path}
			switch {
			case test.program == "tuma":
				args = append([]string{"up"}, args...)
			case !strings.Contains(strings.Join(test.says, " "), "admin.listen"):
				args = append(args, "--admin", programs.Addr(t))
			}
			p := rig.Start(t, rig.Command{Name: test.program, Path: programs.Program(test.program), Dir: dir, Args: args})
			code := p.Wait(10 * time.Second)
			line := p.Stderr()
			if code != 2 || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
				t.Errorf("exit %d, want 2 and one line, got:\n%s", code, line)
			}
			for _, want := range test.says {
				if !strings.Contains(line, want) {
					t.Errorf("%q does not say %q", line, want)
				}
			}
			if out := p.Stdout(); out != "" {
				t.Errorf("standard output has %q", out)
			}
		})
	}
}
