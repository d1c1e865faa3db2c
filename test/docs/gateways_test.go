package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted   = regexp.MustCompile("`([^`]+)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
)

// functions are the names of all tests below some folders.
func functions(t *testing.T, folders ...string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			for _, m := range testFunc.FindAllStringSubmatch(string(data), -1) {
				names[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// TestGatewaysNameTestsThatExist: each row of docs/gateways.md has a test, and
// each test that it names is there.
func TestGatewaysNameTestsThatExist(t *testing.T) {
	t.Parallel()
	shared := functions(t, "test/judge", "internal/dispatch", "internal/dlr", "internal/ingest", "internal/journal", "internal/status", "pkg/providers/all")
	sections := strings.Split(read(t, "docs/gateways.md"), "\n## ")
	for _, section := range sections[1:] {
		name, rows, _ := strings.Cut(section, "\n")
		adapter := "pkg/providers/" + name
		own := functions(t, adapter)
		for row := range strings.Lines(rows) {
			cells := strings.Split(row, "|")
			if len(cells) != 6 || strings.HasPrefix(cells[1], "-") || cells[3] == " tests " {
				continue
			}
			tests := quoted.FindAllStringSubmatch(cells[3], -1)
			if len(tests) == 0 {
				t.Errorf("%s: no test of%s", name, cells[1])
			}
			for _, m := range tests {
				if _, err := os.Stat(filepath.Join(root, adapter, "testdata", m[1]+".source")); err != nil && !own[m[1]] && !shared[m[1]] {
					t.Errorf("%s: there is no test %s", name, m[1])
				}
			}
		}
	}
}
