package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// code is all of the project's Go but its tests.
func code(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range []string{"cmd", "internal", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			b.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// section is what stands below a heading, up to the next of its level.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(doc, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("no section %q", heading)
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

// Whoever is on call looks for a line of the log as the document shows it.
func TestLogLinesAreTheCodes(t *testing.T) {
	t.Parallel()
	doc, source := read(t, "docs/operations.md"), code(t)
	said := regexp.MustCompile(`"msg":"([^"]+)"`).FindAllStringSubmatch(doc, -1)
	for row := range strings.Lines(section(t, doc, "Logs")) {
		if first, _, ok := strings.Cut(strings.TrimPrefix(row, "| "), " | "); ok {
			said = append(said, regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1)...)
		}
	}
	if len(said) < 20 {
		t.Fatalf("found only %d lines", len(said))
	}
	for _, m := range said {
		if msg := m[1]; !strings.Contains(source, `"`+msg+`"`) && msg != "msg" {
			t.Errorf("docs/operations.md shows the line %q, which nothing logs", msg)
		}
	}
}

func TestEveryMetricIsExplained(t *testing.T) {
	t.Parallel()
	names := func(pattern, text string) []string {
		var out []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	have := names(`\("(tuma_[a-z_]+)"`, read(t, "internal/telemetry/metrics.go"))
	told := names("(?m)^\\| `(tuma_[a-z_]+)", section(t, read(t, "docs/operations.md"), "Metrics"))
	if d := cmp.Diff(have, told); d != "" || len(have) == 0 {
		t.Errorf("metrics of the code (-) and of docs/operations.md (+):\n%s", d)
	}
}
