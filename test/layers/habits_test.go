package layers

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// reserved are functions that only some folders may name, called or not. Tests
// are free.
var reserved = [...]struct {
	pkg   string
	names []string
	only  []string
	why   string
}{
	{"os", []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv"}, []string{"internal/config", "cmd/*", "pkg/providers/providertest", "test/rig", "internal/crash"},
		"config is the only reader of the environment, so that one file shows all there is to set (a main passes os.LookupEnv on; the adapters' test suite may be told to rewrite its fixtures, the rig where to keep what it ran, and a crash build where to die)"},
	{"os", []string{"Exit"}, []string{"cmd/*", "test/*"}, "a program that exits anywhere but in main skips what others have deferred"},
	{"log", []string{"Fatal", "Fatalf", "Fatalln", "Print", "Printf", "Println", "Panic", "Panicf", "Panicln"}, nil,
		"logs go through log/slog with attributes, and only main ends a program"},
	{"context", []string{"Background", "TODO"}, []string{"cmd/*", "test/*", "internal/testkit/*"},
		"work whose context nobody can end cannot be drained; take the caller's (context.WithoutCancel where it must outlive him)"},
	{"time", []string{"Sleep"}, nil, "a sleep hears no order to stop; wait in a select on the context"},
	{"time", []string{"Tick"}, nil, "it has no owner and hears no order to stop"},
	{"net/http", []string{"DefaultClient", "DefaultServeMux", "Get", "Post", "PostForm", "Head", "NewRequest", "HandleFunc", "Handle", "ListenAndServe"}, nil,
		"no bounds, no context, shared by everybody: build a client or a server of your own"},
	{"math/rand", []string{"Seed"}, nil, "shared state"},
}

func calls(src *tree) []finding {
	var out []finding
	for _, f := range src.files {
		if f.test {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, r := range reserved {
				if f.knows(r.pkg, x.Name) && contains(r.names, sel.Sel.Name) && !matches(r.only, f.folder) {
					out = append(out, finding{f.at(sel.Pos()), r.pkg + "." + sel.Sel.Name, r.why})
				}
			}
			return true
		})
	}
	return out
}

// knows reports whether the file imports pkg under a name.
func (f *file) knows(pkg, name string) bool {
	for _, i := range f.imports {
		if i.path == pkg && i.name == name {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func noInit(src *tree) []finding {
	var out []finding
	for _, f := range src.files {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				out = append(out, finding{f.at(fn.Pos()), "func init", "an import must do nothing: register by an explicit list, build in a constructor"})
			}
		}
	}
	return out
}

// A file is read from top to bottom, a function is seen at once. The limits are
// where that ends; most files are half as long.
const (
	maxFile = 400 // lines
	maxTest = 500 // of a test's file: tables of cases are long and simple
	maxFunc = 80
)

func sizes(src *tree) []finding {
	var out []finding
	for _, f := range src.files {
		most := maxFile
		if f.test {
			most = maxTest
		}
		if f.lines > most {
			out = append(out, finding{f.path, fmt.Sprintf("%d lines, more than %d", f.lines, most), "nobody reads it to the end: it has two subjects, give each a file"})
		}
		if f.test {
			continue
		}
		for _, d := range f.syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.span(fn); n > maxFunc {
				out = append(out, finding{f.at(fn.Pos()), fmt.Sprintf("%s has %d lines, more than %d", fn.Name.Name, n, maxFunc), "it does not fit a screen: name its steps"})
			}
		}
		if strings.HasPrefix(f.folder, "cmd/") && f.lines > 40 {
			out = append(out, finding{f.path, fmt.Sprintf("a main of %d lines, more than 40", f.lines), "what a program does belongs where it can be tested: internal/app"})
		}
	}
	return out
}

func (f *file) span(n ast.Node) int {
	line := func(p token.Pos) int { return f.fset.Position(p).Line }
	return line(n.End()) - line(n.Pos()) + 1
}
