package main

import (
	"strings"
	"testing"
)

const passed = `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestX"}
{"Action":"output","Package":"a","Test":"TestX","Output":"=== RUN   TestX\n"}
{"Action":"output","Package":"a","Test":"TestX","Output":"    x_test.go:3: chatter\n"}
{"Action":"pass","Package":"a","Test":"TestX","Elapsed":0}
{"Action":"output","Package":"a","Output":"PASS\n"}
{"Action":"output","Package":"a","Output":"ok  \ta\t0.01s\n"}
{"Action":"pass","Package":"a","Elapsed":0.01}
`

const skipped = `{"Action":"output","Package":"b","Test":"TestRedis","Output":"=== RUN   TestRedis\n"}
{"Action":"output","Package":"b","Test":"TestRedis","Output":"    b_test.go:9: no redis-server on PATH\n"}
{"Action":"output","Package":"b","Test":"TestRedis","Output":"--- SKIP: TestRedis (0.00s)\n"}
{"Action":"skip","Package":"b","Test":"TestRedis","Elapsed":0}
{"Action":"output","Package":"b","Output":"ok  \tb\t0.01s\n"}
{"Action":"pass","Package":"b","Elapsed":0.01}
`

const broken = `{"Action":"output","Package":"c","Test":"TestY","Output":"    c_test.go:1: want 1\n"}
{"Action":"output","Package":"c","Test":"TestY","Output":"--- FAIL: TestY (0.00s)\n"}
{"Action":"fail","Package":"c","Test":"TestY","Elapsed":0}
{"Action":"output","Package":"c","Output":"FAIL\tc\t0.01s\n"}
{"Action":"fail","Package":"c","Elapsed":0.01}
`

const unbuilt = `{"ImportPath":"d","Action":"build-output","Output":"d.go:1: undefined: z\n"}
{"ImportPath":"d","Action":"build-fail"}
{"Action":"output","Package":"d","Output":"FAIL\td [build failed]\n"}
{"Action":"fail","Package":"d","Elapsed":0,"FailedBuild":"d"}
`

const empty = `{"Action":"output","Package":"e","Output":"?   \te\t[no test files]\n"}
{"Action":"skip","Package":"e","Elapsed":0}
`

func TestReport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		strict   bool
		ok       bool
		want     []string
		never    []string
	}{
		{name: "passed", in: passed, strict: true, ok: true, want: []string{"ok  \ta"}, never: []string{"chatter", "SKIPPED", "PASS"}},
		{name: "skipped", in: passed + skipped, ok: true, want: []string{"ok  \tb", "SKIPPED: 1 tests", "# b TestRedis", "no redis-server on PATH"}, never: []string{"FAILS"}},
		{name: "skipped, strict", in: passed + skipped, strict: true, want: []string{"# b TestRedis", "FAILS"}},
		{name: "failed", in: passed + broken, want: []string{"want 1", "--- FAIL: TestY", "FAIL\tc"}, never: []string{"chatter"}},
		{name: "not built", in: unbuilt, want: []string{"undefined: z", "[build failed]"}},
		{name: "a package without tests is no skipped test", in: passed + empty, strict: true, ok: true, never: []string{"SKIPPED", "no test files"}},
		{name: "nothing ran", in: empty, want: []string{"no package was tested"}},
		{name: "not JSON", in: passed + "go: something odd\n", ok: true, want: []string{"go: something odd"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(c.in)); err != nil {
				t.Fatal(err)
			}
			if ok := r.end(c.strict); ok != c.ok {
				t.Errorf("ok %v, want %v", ok, c.ok)
			}
			for _, s := range c.want {
				if !strings.Contains(out.String(), s) {
					t.Errorf("output lacks %q:\n%s", s, out.String())
				}
			}
			for _, s := range c.never {
				if strings.Contains(out.String(), s) {
					t.Errorf("output has %q:\n%s", s, out.String())
				}
			}
		})
	}
}
