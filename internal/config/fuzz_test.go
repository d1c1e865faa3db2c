package config

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// FuzzParse: whatever the file holds, it is a config or one line that says what is
// wrong, and a secret is shown by neither.
func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../config.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(example), "", "{}", "nats: {url: embedded, sync: always}", "redis: {url: 'rediss://u:p@x/0', tls: {ca: file:/x}}",
		"providers: {cr: {type: cloudrebue, credentials: {token: '${T}'}, rate: [{requests: 1, per: 1s}, {messages: 5, per: day, zone: UTC}]}}",
		"a: &a [x]\nb: [*a, *a]", "? {}\n: x", "providers: {cr: !!binary aGk=}", "nats: {replicas: 0x1F}", "\xff\xfe", "- - - -", "ingest: {tenants: [{name: a, rate: {messages: 9999999999999999999, per: 1s}}]}",
	} {
		f.Add([]byte(seed))
	}
	env := func(string) (string, bool) { return "canary-env", true }
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		c, err := Parse("tuma.yaml", data, testTypes(), env)
		if err != nil {
			if _, ok := asError(err); !ok || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("%T %q", err, err)
			}
			return
		}
		var out bytes.Buffer
		if err := c.WriteEffective(&out); err != nil || bytes.Contains(out.Bytes(), []byte("canary-env")) {
			t.Fatalf("%v\n%s", err, &out)
		}
	})
}

// A few lines that mean gigabytes are refused, or read, at once.
func TestAliasesDoNotMultiply(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		prev := "*a" + string(rune('0'+(i-1)%10))
		if i > 10 {
			prev = "*aa"
		}
		name := "a" + string(rune('0'+i))
		if i >= 10 {
			name = "aa"
		}
		b.WriteString(name + ": &" + name + " [" + strings.TrimSuffix(strings.Repeat(prev+",", 10), ",") + "]\n")
	}
	began := time.Now()
	if _, err := Parse("tuma.yaml", []byte(b.String()), testTypes(), noEnv); err == nil {
		t.Error("was accepted")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}
