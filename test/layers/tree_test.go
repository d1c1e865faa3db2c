package layers

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

const module = "github.com/tuma-sms/tuma"

// tree is the source of the module. Files behind build tags are in it too,
// which is one reason to read the source and not to ask `go list`; the other is
// that go test then sees which files its cached result depends on.
type tree struct {
	fset  *token.FileSet
	files []*file
}

type file struct {
	path, folder string
	test         bool // a _test.go file
	lines        int
	syntax       *ast.File
	imports      []imported
	fset         *token.FileSet
}

type imported struct {
	path string // below the module if ours
	name string // as the file knows it
	ours bool
	pos  token.Pos
}

// load parses every Go file of the module; folders that are modules of their
// own, testdata and hidden folders are left out.
func load(root fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && foreign(root, p) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		return t.add(root, p)
	})
	return t, err
}

func foreign(root fs.FS, dir string) bool {
	base := path.Base(dir)
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

func (t *tree) add(root fs.FS, p string) error {
	data, err := fs.ReadFile(root, p)
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(t.fset, p, data, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := &file{path: p, folder: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), syntax: syntax, fset: t.fset}
	f.lines = bytes.Count(data, []byte("\n"))
	for _, spec := range syntax.Imports {
		full, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		i := imported{path: full, name: path.Base(full), pos: spec.Pos()}
		i.path, i.ours = strings.CutPrefix(full, module+"/")
		if spec.Name != nil {
			i.name = spec.Name.Name
		}
		f.imports = append(f.imports, i)
	}
	t.files = append(t.files, f)
	return nil
}

func (f *file) at(p token.Pos) string {
	where := f.fset.Position(p)
	return fmt.Sprintf("%s:%d", where.Filename, where.Line)
}

// ours returns the imports of this module's packages.
func (f *file) ours() []imported {
	var out []imported
	for _, i := range f.imports {
		if i.ours {
			out = append(out, i)
		}
	}
	return out
}
