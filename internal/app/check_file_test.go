package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
)

func TestCheckWarnsOfSecretsThatAllMayRead(t *testing.T) {
	t.Parallel()
	const inline = "redis: {password: s3cret}"
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		warn bool
	}{
		"inline, for all":     {inline, 0o644, true},
		"inline, for a group": {inline, 0o640, false},
		"a reference":         {"redis: {password: '${PASSWORD}'}", 0o644, false},
		"a credential":        {"providers: {cr: {type: cloudrebue, credentials: {token: s3cret}}}", 0o644, true},
		"a callback token":    {"providers: {cr: {type: cloudrebue, callback_token: [s3cret]}}", 0o644, true},
		"none":                {"{}", 0o644, false},
	} {
		path := filepath.Join(t.TempDir(), "tuma.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(path, TypeDefaults(), func(string) (string, bool) { return "x", true })
		if err != nil {
			t.Fatal(err)
		}
		k := &checking{kit: &kit{cfg: cfg}}
		k.file()
		if got := len(k.found) > 0; got != c.warn {
			t.Errorf("%s: %+v", name, k.found)
		}
		for _, f := range k.found {
			if strings.Contains(f.Detail, "s3cret") {
				t.Error(f.Detail)
			}
		}
	}
}

// A promise that does not hold is a failure; the demo sends nothing to anyone.
func TestCheckOfTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	env := func(string) (string, bool) { return "", false }
	demo, err := Default(env)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]cli.Level{"": cli.Warning, "nats: {url: embedded}": cli.Broken, "nats: {url: embedded, sync: 1s}": cli.Broken, "nats: {url: embedded, sync: always}": cli.Fine} {
		cfg := demo
		if text != "" {
			if cfg, err = config.Parse("tuma.yaml", []byte(text), TypeDefaults(), env); err != nil {
				t.Fatal(err)
			}
		}
		c := &checking{kit: &kit{cfg: cfg}}
		if c.nats(t.Context()); len(c.found) != 1 || c.found[0].Level != want {
			t.Errorf("%q: %+v", text, c.found)
		}
	}
}
