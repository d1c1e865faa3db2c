package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const canary = "s3cr3t-c4n4ry"

func TestResolve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte(canary+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := envOf("TOKEN", canary, "EMPTY", "")
	tests := []struct{ raw, want, wantErr string }{
		{"plain", "plain", ""},
		{"'007'", "007", ""},
		{"'${TOKEN}'", canary, ""},
		{"'a-${TOKEN}-${TOKEN}'", "a-" + canary + "-" + canary, ""},
		{"file:" + file, canary, ""},
		{"'${NONE}'", "", "f: providers.x.credentials.token: environment variable NONE is not set"},
		{"'${EMPTY}'", "", "${EMPTY} is empty"},
		{"file:" + empty, "", "is empty"},
		{"file:/none/at/all", "", "no such file"},
	}
	for _, tt := range tests {
		c, err := Parse("f", []byte("providers: {x: {type: cloudrebue, credentials: {token: "+tt.raw+"}}}"), testTypes(), env)
		if err != nil {
			t.Fatalf("%s: a reference was followed too early: %v", tt.raw, err)
		}
		got, err := c.Accounts["x"].Credentials["token"].Resolve()
		if got != tt.want || (err == nil) != (tt.wantErr == "") || (err != nil && !strings.Contains(err.Error(), tt.wantErr)) {
			t.Errorf("%s: got %q, %v", tt.raw, got, err)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error tells the secret", tt.raw)
		}
	}
}

func TestTextMayBeEmpty(t *testing.T) {
	t.Parallel()
	c := parse(t, "telemetry: {otlp: '${OTLP}'}", envOf("OTLP", ""))
	if got, err := c.Telemetry.OTLP.Resolve(); err != nil || got != "" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCallbackTokens(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"one": 1, "[new, old]": 2, "''": 0, "~": 0} {
		c := parse(t, "providers: {x: {type: cloudrebue, callback_token: "+text+"}}", noEnv)
		if got := c.Accounts["x"].CallbackToken; len(got) != want {
			t.Errorf("%s: %d tokens", text, len(got))
		}
	}
}

// A secret must not come out of anything that prints, whatever holds it.
func TestSecretsStayHidden(t *testing.T) {
	t.Parallel()
	c := parse(t, `
nats: {url: "nats://user:`+canary+`@127.0.0.1:4222,nats://b:`+canary+`@h:1"}
redis: {url: "redis://:`+canary+`@127.0.0.1:6379/0"}
telemetry: {otlp: "http://u:`+canary+`@127.0.0.1:4318"}
providers:
  x:
    type: digitalservices
    credentials: {api_key: `+canary+`, password: "pre${VAR}`+canary+`", dlr_password: "${VAR}"}
    callback_token: [`+canary+`]
`, envOf("VAR", canary))
	type inner struct{ s Secret }
	s := c.Accounts["x"].Credentials["api_key"]
	var out bytes.Buffer
	fmt.Fprintln(&out, s, []Secret{s}, inner{s}, &inner{s}, c.NATS.URL, c.Redis)
	fmt.Fprintf(&out, "%v %+v %#v %s %q %x\n", s, s, s, s, s, s)
	fmt.Fprintf(&out, "%v %+v %#v\n", inner{s}, inner{s}, inner{s})
	fmt.Fprintf(&out, "%v %+v %#v %+v\n", c, c, c, c.Accounts["x"])
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "config", c, "url", c.Redis.URL, "tokens", c.Accounts["x"].CallbackToken)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "config", c, "inner", inner{s})
	for _, v := range []any{s, c, c.Accounts} {
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		} else {
			t.Error(err)
		}
		if b, err := yaml.Marshal(v); err == nil {
			out.Write(b)
		} else {
			t.Error(err)
		}
	}
	if err := c.WriteEffective(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		i := strings.Index(out.String(), canary)
		t.Errorf("a secret came out: …%s", out.String()[max(0, i-80):min(out.Len(), max(0, i)+40)])
	}
	if !strings.Contains(out.String(), "nats://***@127.0.0.1:4222,nats://***@h:1") || !strings.Contains(out.String(), "${VAR}") {
		t.Error("the effective config does not show hosts and references")
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"providers: {x: {type: cloudrebue, credentials: {token: " + canary + "}, foo: 1}}",
		"providers: {x: {type: cloudrebue, credentials: " + canary + "}}",
		"providers: {x: {type: cloudrebue, credentials: [" + canary + "]}}",
		"providers: {x: {type: cloudrebue, credentials: {token: {" + canary + ": 1}}}}",
		"redis: {url: 'http://:" + canary + "@h'}",
		"redis: {url: '" + canary + "'}",
		"providers:\n  x:\n    credentials: {token: '" + canary + "\n",
	} {
		_, err := Parse("f", []byte(text), testTypes(), noEnv)
		if err == nil {
			t.Errorf("%s: accepted", text)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("told by: %v", err)
		}
	}
}
