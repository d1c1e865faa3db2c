// Package layers holds the rules of the whole code as tests, so that they hold
// without a linter: which package may import which, what only some packages may
// touch, and how large a file or function may grow. Each rule tells its reason
// when it fails. The rules read the source and build nothing.
package layers

import (
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
)

// finding is one place that breaks a rule.
type finding struct{ where, what, why string }

func (f finding) String() string { return fmt.Sprintf("%s: %s\n\twhy not: %s", f.where, f.what, f.why) }

// rules are all rules of this package, by the name of the subtest that applies them.
func rules() map[string]func(*tree) []finding {
	return map[string]func(*tree) []finding{
		"arrows":    ownImports,
		"libraries": libraries,
		"calls":     calls,
		"init":      noInit,
		"state":     noState,
		"size":      sizes,
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	src, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(src.files) < 50 {
		t.Fatalf("found only %d Go files: looking in the wrong place?", len(src.files))
	}
	for name, rule := range rules() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range rule(src) {
				t.Error(f)
			}
		})
	}
}

// arrow says what of ours the packages of a folder may import.
type arrow struct {
	from string   // a folder; * stands for one step of the path
	may  []string // folders, likewise; nil: nothing of ours
	why  string
}

const (
	leaf  = "it is vocabulary that anyone may import: what it needs is passed to it as a value"
	stage = "stages meet on the bus, not in code: each must scale, stop and be tested alone; config, cli and app push values into it"
)

// common is what the stages stand on.
func common(more ...string) []string {
	return append([]string{
		"pkg/envelope", "pkg/idempotency", "pkg/ratelimit", "pkg/providers",
		"internal/bus", "internal/desk", "internal/journal", "internal/optout", "internal/route", "internal/status", "internal/service", "internal/telemetry", "internal/crash",
	}, more...)
}

// arrows is the layout of the code. The first row that names a package's folder
// counts; a folder that no row names is a finding, so that a new package gets
// its place by decision. Tests are free.
func arrows() []arrow {
	adapter := []string{"pkg/providers", "pkg/providers/httpapi", "pkg/envelope"}
	return []arrow{
		{"pkg/envelope", nil, leaf},
		{"pkg/ratelimit", nil, leaf},
		{"pkg/idempotency", nil, leaf},
		{"pkg/providers", []string{"pkg/envelope"}, "the contract of adapters must not know any of them, nor how they speak"},
		{"pkg/providers/httpapi", []string{"pkg/providers", "pkg/envelope"}, "the HTTP rules hold for every adapter alike"},
		{"pkg/providers/providertest", adapter, "the suite judges every adapter by the contract alone"},
		{"pkg/providers/all", []string{"pkg/providers", "pkg/providers/*"}, "it is a list"},
		{"pkg/providers/*", adapter, "an adapter translates for one API: no bus, no limits, no other adapter; it must come and go by itself"},
		{"internal/bus/embedded", nil, "the server is a library's: nothing of ours lives in it"},
		{"internal/bus", []string{"pkg/envelope"}, "what carries messages must not know what is done with them"},
		{"internal/journal", []string{"internal/bus", "pkg/envelope", "pkg/idempotency"}, "the journal records what stages do and depends on none"},
		{"internal/desk", []string{"internal/bus", "pkg/providers"}, "an operation is the adapter's: the desk only carries question and answer"},
		{"internal/optout", []string{"internal/bus"}, "who may not be written to is one list, whoever tells of it"},
		{"internal/route", []string{"pkg/envelope", "pkg/providers"}, "choosing a route is a pure function"},
		{"internal/status", []string{"internal/bus", "pkg/envelope"}, "statuses are rebuilt from events and from nothing else"},
		{"internal/crash", nil, "a place at which tests let a process die; nothing in a normal build"},
		{"internal/service", nil, "starting and stopping knows no part"},
		{"internal/telemetry", nil, "whoever observes must not depend on what is observed"},
		{"internal/config", nil, "values are pushed out of the config; nothing is pulled into it"},
		{"internal/simulator", nil, "the judge was written from the gateways' documents; sharing code with the adapters would share their errors"},
		{"internal/ingest", common(), stage},
		{"internal/dispatch", common(), stage},
		{"internal/dlr", common(), stage},
		{"internal/cli", []string{"internal/config", "pkg/envelope"}, "the command line speaks to the API as any client does; what it runs is passed in"},
		{"internal/testkit/*", []string{"internal/bus", "internal/bus/embedded"}, "test servers are for the tests of any package, so they must not pull one in"},
		{"internal/app", []string{"internal/*", "internal/bus/embedded", "pkg/*", "pkg/providers/all", "pkg/providers/httpapi"}, "app is where everything meets, except tests' helpers and single adapters"},
		{"cmd/*", []string{"internal/app", "internal/cli", "internal/config"}, "a main only picks what app assembles"},
		{"test/*", []string{"*", "*/*", "*/*/*"}, ""},
	}
}

func ownImports(src *tree) []finding {
	var out []finding
	for _, f := range src.files {
		if f.test {
			continue
		}
		row, ok := rowOf(f.folder)
		if !ok {
			out = append(out, finding{f.path, "the folder " + f.folder + " has no row in the table of arrows", "every package has its place in the layers, chosen and not grown"})
			continue
		}
		for _, imp := range f.ours() {
			if !matches(row.may, imp.path) {
				out = append(out, finding{f.at(imp.pos), f.folder + " imports " + imp.path, row.why})
			}
		}
	}
	return out
}

func rowOf(folder string) (arrow, bool) {
	for _, a := range arrows() {
		if matches([]string{a.from}, folder) {
			return a, true
		}
	}
	return arrow{}, false
}

func matches(patterns []string, folder string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, folder); err == nil && ok {
			return true
		}
	}
	return false
}

// guarded are libraries that only some packages may know, so that replacing or
// faking one is the work of one package. Tests are free.
var guarded = [...]struct {
	prefix string
	only   []string
	why    string
}{
	{"github.com/nats-io/nats-server", []string{"internal/bus/embedded"}, "only `tuma up` carries a server, and only through this package"},
	{"github.com/nats-io/nats.go", []string{"internal/bus", "internal/testkit/natstest"}, "only the bus touches NATS: acks, de-duplication and its traps are settled there once"},
	{"github.com/goccy/go-yaml", []string{"internal/config"}, "config is the only reader of files"},
	{"go.opentelemetry.io", []string{"internal/telemetry", "internal/app"}, "stages tell an observer what they do; only telemetry decides what leaves, so that no secret does"},
	{"github.com/prometheus", []string{"internal/telemetry"}, "one place names the metrics"},
	{"github.com/redis/go-redis", []string{"pkg/ratelimit", "pkg/idempotency", "internal/app"}, "Redis may vanish at any time; only code that says what happens then may use it"},
	{"github.com/spf13", []string{"internal/cli"}, "flags are the command line's business"},
	{"github.com/sony/gobreaker", []string{"internal/dispatch"}, "the dispatcher alone decides when an account rests"},
	{"unsafe", nil, "nothing here is worth it"},
}

func libraries(src *tree) []finding {
	var out []finding
	for _, f := range src.files {
		if f.test || strings.HasPrefix(f.folder, "test/") {
			continue
		}
		for _, imp := range f.imports {
			for _, g := range guarded {
				if (imp.path == g.prefix || strings.HasPrefix(imp.path, g.prefix+"/")) && !matches(g.only, f.folder) {
					out = append(out, finding{f.at(imp.pos), f.folder + " imports " + imp.path, g.why})
				}
			}
			if f.folder == "pkg/envelope" && strings.Contains(strings.Split(imp.path, "/")[0], ".") && !imp.ours {
				out = append(out, finding{f.at(imp.pos), f.folder + " imports " + imp.path, "what travels is standard library only: every client of ours could use it"})
			}
		}
	}
	return out
}
