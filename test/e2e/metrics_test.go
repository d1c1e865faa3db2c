package e2e

import (
	"bufio"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/test/rig"
)

// exposed is what programs show on /metrics: metric, label, values.
type exposed map[string]map[string]map[string]bool

var (
	sample  = regexp.MustCompile(`^(tuma_[a-z_]+)(?:\{(.*)\})? `)
	pair    = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	row     = regexp.MustCompile("(?m)^\\| `(tuma_[a-z_]+)(?:\\{([a-z,]+)\\})?` \\| ([^|]+) \\|")
	told    = regexp.MustCompile(`(tuma_[a-z_]+)(\{[^}]*\})?`)
	matcher = regexp.MustCompile(`([a-z_]+)(=~|!~|!=|=)"([^"]*)"`)
	grouped = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([a-z, ]+)\)`)
)

func (e exposed) read(t *testing.T, n *rig.Node) {
	t.Helper()
	resp, err := http.Get("http://" + n.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		m := sample.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		if e[m[1]] == nil {
			e[m[1]] = map[string]map[string]bool{}
		}
		for _, p := range pair.FindAllStringSubmatch(m[2], -1) {
			if e[m[1]][p[1]] == nil {
				e[m[1]][p[1]] = map[string]bool{}
			}
			e[m[1]][p[1]][p[2]] = true
		}
	}
}

func labelsOf(metric map[string]map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(metric)), ",")
}

// Programs show just the metrics that the table of docs/operations.md has, each
// where it says and with the labels that it says. What alerts, autoscalers and
// documents ask for is among them: a query for what is not there is never true.
func TestMetricsAreAsTold(t *testing.T) {
	t.Parallel()
	r := up(t, rig.Settings{}, 1)
	l := rig.NewLoad(r.Cluster)
	env := rig.Single(rig.Numbers(41_000_000, 1)[0])
	l.Numbers[env["to"].(string)] = 1
	l.Accepted(r.Submit(env))
	if got := l.Settled(t, 30*time.Second); got["delivered"] != 1 {
		t.Fatalf("%v", got)
	}
	nodes := map[string]*rig.Node{"ingest": r.Ingest, "dispatcher": r.Dispatchers[0], "dlr-collector": r.Collector}
	table := row.FindAllStringSubmatch(project(t, "docs/operations.md"), -1)
	all := exposed{}
	for name, n := range nodes {
		rig.Eventually(t, 15*time.Second, name+" shows what the table has", func() (bool, string) { // gauges are taken every 5 s
			live, want, got := exposed{}, map[string]string{}, map[string]string{}
			live.read(t, n)
			for _, m := range table {
				if slices.Contains(strings.Split(m[3], ", "), name) {
					want[m[1]] = m[2]
				}
			}
			for metric := range live {
				got[metric] = labelsOf(live[metric])
			}
			return len(want) > 0 && maps.Equal(want, got), rig.Sprint(map[string]any{"table": want, "live": got})
		})
		all.read(t, n)
	}
	for _, dir := range []string{"docs", "deploy", "README.md"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, ".go") {
				return err
			}
			data, err := os.ReadFile(path)
			all.knows(t, path, string(data))
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// knows checks the queries and names of a file.
func (e exposed) knows(t *testing.T, path, text string) {
	t.Helper()
	queries := false
	for _, m := range told.FindAllStringSubmatch(text, -1) {
		metric, ok := e[m[1]]
		if !ok {
			t.Errorf("%s: no program shows %s", path, m[1])
			continue
		}
		queries = true
		for _, c := range matcher.FindAllStringSubmatch(m[2], -1) {
			values, ok := metric[c[1]]
			if !ok {
				t.Errorf("%s: %s has no label %s", path, m[1], c[1])
			}
			for _, v := range strings.Split(c[3], "|") {
				if (c[1] == "mode" || c[1] == "class" || c[1] == "priority") && !values[v] {
					t.Errorf("%s: %s never has %s=%q", path, m[1], c[1], v)
				}
			}
		}
	}
	if !queries || !strings.HasSuffix(path, ".yaml") {
		return
	}
	for _, m := range grouped.FindAllStringSubmatch(text, -1) {
		for _, label := range strings.Split(m[1], ", ") {
			if !slices.ContainsFunc(slices.Collect(maps.Values(e)), func(metric map[string]map[string]bool) bool { return metric[label] != nil }) {
				t.Errorf("%s groups by %s, which nothing has", path, label)
			}
		}
	}
}

func project(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
