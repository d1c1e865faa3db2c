package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// names returns the first group of every match, sorted, each once.
func names(expr, text string) []string {
	var out []string
	for _, m := range regexp.MustCompile(expr).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// section returns what stands below a heading, up to the next of its level.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, file), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", file, heading)
	}
	rest, _, _ = strings.Cut(rest, "\n"+strings.Repeat("#", strings.IndexByte(heading, ' '))+" ")
	return rest
}

// TestReadinessIsExplained: what a program can wait for is what the table of
// docs/operations.md has.
func TestReadinessIsExplained(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, "internal/app/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"stopping"} // internal/service adds it by itself
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, names(`health\.(?:Require|Prefer)(?:Func)?\("([^"]+)"`, string(data))...)
	}
	slices.Sort(want)
	got := names("(?m)^\\| `([^`]+)` \\|", section(t, "docs/operations.md", "## /healthz and /readyz"))
	if len(want) < 8 || !slices.Equal(got, want) {
		t.Errorf("docs/operations.md explains %v, /readyz says %v", got, want)
	}
}

// TestAlertsAreExplained: who is woken up by an alert finds what to do.
func TestAlertsAreExplained(t *testing.T) {
	t.Parallel()
	want := names(`- alert: (\w+)`, read(t, "deploy/k8s/monitoring/rules.yaml"))
	got := names("(?m)^\\| `(Tuma\\w+)` \\|", section(t, "docs/operations.md", "## Metrics"))
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("docs/operations.md explains %v, the rules have %v", got, want)
	}
}

var (
	anchor  = regexp.MustCompile(`\]\(([^)#:\s]*)#([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestAnchorsAreHeadings: a link into a document leads to one of its headings.
func TestAnchorsAreHeadings(t *testing.T) {
	t.Parallel()
	found := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".md") {
			return err
		}
		data, err := os.ReadFile(path)
		for _, m := range anchor.FindAllStringSubmatch(string(data), -1) {
			found++
			target := data
			if m[1] != "" {
				if target, err = os.ReadFile(filepath.Join(filepath.Dir(path), m[1])); err != nil {
					return err
				}
			}
			at := slices.ContainsFunc(heading.FindAllStringSubmatch(string(target), -1), func(h []string) bool {
				return strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-") == m[2]
			})
			if !at {
				t.Errorf("%s links to %s#%s, which is no heading", path, m[1], m[2])
			}
		}
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("%d links, %v", found, err)
	}
}
