package layers

import (
	"strings"
	"testing"
	"testing/fstest"
)

const ours = `"` + module + "/"

// TestRulesFindWhatTheyForbid breaks each rule once: a rule that cannot fail
// protects nothing.
func TestRulesFindWhatTheyForbid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, rule, path, source string
		want                     string // in the only finding; empty: none
	}{
		{"vocabulary imports vocabulary", "arrows", "pkg/ratelimit/a.go", "import _ " + ours + `pkg/envelope"`, "imports pkg/envelope"},
		{"adapter imports adapter", "arrows", "pkg/providers/smsbox/a.go", "import _ " + ours + `pkg/providers/cloudrebue"`, "imports pkg/providers/cloudrebue"},
		{"adapter imports the bus", "arrows", "pkg/providers/smsbox/a.go", "import _ " + ours + `internal/bus"`, "imports internal/bus"},
		{"adapter imports the HTTP rules", "arrows", "pkg/providers/smsbox/a.go", "import _ " + ours + `pkg/providers/httpapi"`, ""},
		{"stage imports stage", "arrows", "internal/dlr/a.go", "import _ " + ours + `internal/dispatch"`, "imports internal/dispatch"},
		{"stage imports config", "arrows", "internal/ingest/a.go", "import _ " + ours + `internal/config"`, "imports internal/config"},
		{"judge imports an adapter", "arrows", "internal/simulator/a.go", "import _ " + ours + `pkg/providers/smsbox"`, "imports pkg/providers/smsbox"},
		{"program imports test server", "arrows", "internal/app/a.go", "import _ " + ours + `internal/testkit/redis"`, "imports internal/testkit/redis"},
		{"package nobody placed", "arrows", "pkg/utils/a.go", "", "has no row"},
		{"tests are free", "arrows", "pkg/ratelimit/a_test.go", "import _ " + ours + `internal/testkit/redis"`, ""},

		{"stage speaks NATS", "libraries", "internal/dispatch/a.go", `import _ "github.com/nats-io/nats.go/jetstream"`, "nats.go"},
		{"bus speaks NATS", "libraries", "internal/bus/a.go", `import _ "github.com/nats-io/nats.go/jetstream"`, ""},
		{"a server outside tuma up", "libraries", "internal/bus/a.go", `import _ "github.com/nats-io/nats-server/v2/server"`, "nats-server"},
		{"vocabulary with a library", "libraries", "pkg/envelope/a.go", `import _ "github.com/oklog/ulid/v2"`, "ulid"},
		{"standard library in the vocabulary", "libraries", "pkg/envelope/a.go", `import _ "time"`, ""},

		{"environment", "calls", "internal/app/a.go", "import \"os\"\nvar x, _ = os.LookupEnv(\"X\")", "os.LookupEnv"},
		{"environment under another name", "calls", "internal/app/a.go", "import system \"os\"\nvar f = system.Getenv", "os.Getenv"},
		{"environment in config", "calls", "internal/config/a.go", "import \"os\"\nvar x = os.Getenv(\"X\")", ""},
		{"own type called os", "calls", "internal/app/a.go", "func f(os struct{ Getenv int }) int { return os.Getenv }", ""},
		{"context from nowhere", "calls", "internal/dlr/a.go", "import \"context\"\nfunc f() { g(context.Background()) }", "context.Background"},
		{"sleep", "calls", "internal/dlr/a.go", "import \"time\"\nfunc f() { time.Sleep(1) }", "time.Sleep"},
		{"client without bounds", "calls", "pkg/providers/smsbox/a.go", "import \"net/http\"\nvar c = http.DefaultClient", "http.DefaultClient"},
		{"exit below main", "calls", "internal/cli/a.go", "import \"os\"\nfunc f() { os.Exit(1) }", "os.Exit"},

		{"init", "init", "pkg/envelope/a.go", "func init() {}", "func init"},
		{"method called init", "init", "pkg/envelope/a.go", "type t int\nfunc (t) init() {}", ""},

		{"written", "state", "pkg/envelope/a.go", "var n int\nfunc f() { n = 1 }", "n is assigned"},
		{"counted", "state", "pkg/envelope/a.go", "var n int\nfunc f() { n++ }", "n is counted"},
		{"element written", "state", "pkg/envelope/a.go", "import \"x/y\"\nvar m = map[string]y.T{}\nfunc f() { m[\"a\"] = y.New() }", "m is assigned"},
		{"written in a call into the unknown", "state", "pkg/envelope/a.go", "import \"x/y\"\nvar n int\nfunc f() { y.Do(func() { n = 2 }) }", "n is assigned"},
		{"lent out", "state", "pkg/envelope/a.go", "var n int\nfunc f() *int { return &n }", "n is lent out"},
		{"emptied", "state", "pkg/envelope/a.go", "var m = map[int]int{}\nfunc f() { clear(m) }", "m is changed"},
		{"lock", "state", "pkg/envelope/a.go", "import \"sync\"\nvar mu sync.Mutex", "mu is made to be changed"},
		{"local of the same name", "state", "pkg/envelope/a.go", "var n = 1\nfunc f() { n := 2; n = 3; _ = n }", ""},
		{"table", "state", "pkg/envelope/a.go", "var table = [...]int{1}\nfunc f(i int) *int { return &table[i] }", ""},
		{"error", "state", "pkg/envelope/a.go", "import \"errors\"\nvar ErrX = errors.New(\"x\")\nfunc f() error { return ErrX }", ""},

		{"long file", "size", "pkg/envelope/a.go", strings.Repeat("// x\n", maxFile), "nobody reads it"},
		{"long function", "size", "pkg/envelope/a.go", "func f() {" + strings.Repeat("\n", maxFunc) + "}", "f has 81 lines"},
		{"long main", "size", "cmd/tuma/a.go", strings.Repeat("// x\n", 40), "a main of 41 lines"},
		{"long test", "size", "pkg/envelope/a_test.go", strings.Repeat("// x\n", maxFile), ""},
		{"longer test", "size", "pkg/envelope/a_test.go", strings.Repeat("// x\n", maxTest), "nobody reads it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			src, err := load(fstest.MapFS{c.path: {Data: []byte("package p\n" + c.source)}})
			if err != nil {
				t.Fatal(err)
			}
			got := rules()[c.rule](src)
			if c.want == "" {
				if len(got) != 0 {
					t.Errorf("findings in what is allowed: %v", got)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0].String(), c.want) {
				t.Errorf("got %v, want one finding with %q", got, c.want)
			}
		})
	}
}

// TestLoadLeavesOut: modules of their own and testdata are not this module's code.
func TestLoadLeavesOut(t *testing.T) {
	t.Parallel()
	src, err := load(fstest.MapFS{
		"go.mod":              {},
		"a.go":                {Data: []byte("package a\n")},
		"tools/go.mod":        {},
		"tools/x.go":          {Data: []byte("package x\n")},
		"pkg/a/testdata/x.go": {Data: []byte("not Go")},
		".hidden/x.go":        {Data: []byte("not Go")},
	})
	if err != nil || len(src.files) != 1 {
		t.Errorf("loaded %d files, %v; want a.go alone", len(src.files), err)
	}
}
