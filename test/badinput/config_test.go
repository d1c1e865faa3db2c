package badinput

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
)

// badConfig is a file that every program refuses.
type badConfig struct {
	row  int // of the list
	name string
	text string
	says string
}

func badConfigs() []badConfig {
	account := func(rest string) string { return "providers: {cr: {type: cloudrebue, " + rest + "}}" }
	tenant := func(name string) string { return "ingest: {tenants: [{name: " + name + "}]}" }
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for _, pair := range []string{"01", "12", "23", "34", "45", "56", "67", "78", "89"} {
		before, name := pair[:1], pair[1:]
		bomb.WriteString("a" + name + ": &a" + name + " [" + strings.TrimSuffix(strings.Repeat("*a"+before+",", 10), ",") + "]\n")
	}
	list := []badConfig{
		{97, "misspelt section", "rediss: {}", "rediss: unknown key"},
		{97, "misspelt key", account("ratte: {requests: 5, per: 1s}"), "providers.cr.ratte: unknown key"},
		{97, "key twice", "admin: {}\nadmin: {}", ":2:"},
		{97, "anchors that grow", bomb.String(), "unknown key"},
		{97, "nested", strings.Repeat("[", 20_000), ""},
		{97, "bytes", "\x00\xff\xfe", ""},
		{97, "UTF-16", "\xff\xfe{\x00}\x00", ""},
		{97, "9 MiB", strings.Repeat("# \n", 3<<20), "is larger than 8 MiB"},
		{97, "two documents", "{}\n---\n{}", "more than one YAML document"},
		{97, "duration without a unit", account("timeout: 10"), "providers.cr.timeout"},
		{97, "duration below zero", account("timeout: -1s"), "providers.cr.timeout"},
		{97, "time-out beyond the lease", account("timeout: 10m"), "providers.cr.timeout"},
		{97, "duration without end", account("timeout: 9999999999h"), "providers.cr.timeout"},
		{97, "limit as a word", account(`rate: {requests: "many", per: 1s}`), "providers.cr.rate.requests"},
		{97, "limit below zero", account("rate: {requests: -1, per: 1s}"), "providers.cr.rate"},
		{97, "limit zero", account("rate: {requests: 0, per: 1s}"), "providers.cr.rate"},
		{97, "limit that is no number", account("rate: {requests: .nan, per: 1s}"), "providers.cr.rate.requests"},
		{97, "limit without end", account("rate: {requests: .inf, per: 1s}"), "providers.cr.rate.requests"},
		{97, "limit that overflows", account("rate: {requests: 99999999999999999999, per: 1s}"), "providers.cr.rate.requests"},
		{97, "limit per nothing", account("rate: {requests: 5, per: 0s}"), "providers.cr.rate.per"},
		{97, "batch below one", account("batch: {size: -1}"), "providers.cr.batch.size"},
		{97, "none in flight", account("concurrency: -1"), "providers.cr.concurrency"},
		{97, "batch above what fits", account("batch: {size: 101}"), "providers.cr.batch.size"},
		{97, "plain http", account("base_url: http://sms.example.com/v1"), "providers.cr.base_url"},
		{97, "file as URL", account("base_url: FILE:///etc/passwd"), "providers.cr.base_url"},
		{97, "broken reference", account("credentials: {token: '${MY TOKEN}'}"), "providers.cr.credentials.token"},
		{97, "one login, two limits", "providers: {a: {type: cloudrebue, credentials: {token: x}}, b: {type: cloudrebue, credentials: {token: x}, rate: {requests: 1, per: 1s}}}", "providers.b.rate: differs"},
		{97, "wrong zone", account("rate: {requests: 5, per: day, zone: Mars/Base}"), "Mars/Base"},
		{97, "sample that is no number", "telemetry: {sample: .nan}", "telemetry.sample"},
		{97, "account of another shape", "providers: {'a.>': {type: cloudrebue}}", "providers.a.>: an account's name"},
	}
	for _, name := range []string{"a.b", "'*'", "'>'", "$SYS", "..", "'a b'", `"a\r\nb"`, "A", "''", strings.Repeat("a", 33)} {
		list = append(list, badConfig{34, "tenant " + name, tenant(name), "ingest.tenants[0].name"})
	}
	return list
}

// A config that cannot be meant ends a program with exit code 2 and one line that
// names the file and the key, before anything is connected or listened to.
func TestBadConfigs(t *testing.T) {
	t.Parallel()
	for _, c := range badConfigs() {
		path := filepath.Join(t.TempDir(), "bad.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, run := range map[string]func(errOut *bytes.Buffer) int{
			"tuma check": func(errOut *bytes.Buffer) int {
				return tuma(t, nil, nil, errOut, "check", "--config", path)
			},
			"ingest": func(errOut *bytes.Buffer) int {
				return cli.Program{Name: "ingest", Types: app.TypeDefaults(), Stdout: errOut, Stderr: errOut, Run: func(context.Context, cli.Params) error {
					t.Errorf("row %d, %s: it runs", c.row, c.name)
					return nil
				}}.Main(t.Context(), []string{"--config", path})
			},
		} {
			var errOut bytes.Buffer
			code := run(&errOut)
			line := errOut.String()
			if code != 2 || strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, name+": "+path) || !strings.Contains(line, c.says) || len(line) > 1000 {
				t.Errorf("row %d, %s: %s exits %d: %.500q, want it to say %q", c.row, c.name, name, code, line, c.says)
			}
		}
	}
}

// What looks odd and is meant.
func TestOddConfigs(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"limit in quotes": `providers: {cr: {type: cloudrebue, credentials: {token: x}, rate: {requests: "120", per: "1s"}}}`,
		"only a comment":  "# nothing",
		"byte order mark": "\ufeffadmin: {}",
	} {
		path := filepath.Join(t.TempDir(), "odd.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var errOut bytes.Buffer
		code := cli.Program{Name: "ingest", Types: app.TypeDefaults(), Stdout: &errOut, Stderr: &errOut, Run: func(context.Context, cli.Params) error { return nil }}.
			Main(t.Context(), []string{"--config", path})
		if code != 0 {
			t.Errorf("%s: %s", name, errOut.String())
		}
	}
}
