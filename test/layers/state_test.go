package layers

import (
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"slices"
)

const whyState = "two instances, or two tests, would share it: put it into a struct that its owner makes"

// noState finds package-level variables that change: written after their
// declaration, or of a kind that exists to be changed. Tables, errors and
// patterns that nobody writes are constants in all but name, and fine.
func noState(src *tree) []finding {
	var out []finding
	for _, pkg := range packages(src) {
		info := resolve(src.fset, pkg)
		for _, f := range pkg {
			out = append(out, written(f, info)...)
			out = append(out, madeToChange(f, info)...)
		}
	}
	return out
}

// packages groups the files that are not tests by folder.
func packages(src *tree) map[string][]*file {
	out := map[string][]*file{}
	for _, f := range src.files {
		if !f.test {
			out[f.folder] = append(out[f.folder], f)
		}
	}
	return out
}

// resolve tells what each name of a package's files means. Imported packages
// stay empty: the errors that this brings are of no interest, and names of the
// package itself are resolved all the same.
func resolve(fset *token.FileSet, pkg []*file) *types.Info {
	var syntax []*ast.File
	for _, f := range pkg {
		syntax = append(syntax, f.syntax)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: hollow{}, Error: func(error) {}, DisableUnusedImportCheck: true}
	_, _ = conf.Check(module+"/"+pkg[0].folder, fset, syntax, info)
	return info
}

// hollow imports every package as an empty one.
type hollow struct{}

func (hollow) Import(p string) (*types.Package, error) {
	pkg := types.NewPackage(p, path.Base(p))
	pkg.MarkComplete()
	return pkg, nil
}

// written finds assignments to package-level variables, to their elements and
// fields, and what lends them out to be written.
func written(f *file, info *types.Info) []finding {
	var out []finding
	found := func(e ast.Expr, how string) {
		if v := global(e, info); v != nil {
			out = append(out, finding{f.at(e.Pos()), "package-level " + v.Name() + " is " + how, whyState})
		}
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				found(e, "assigned")
			}
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				found(n.Key, "assigned")
				found(n.Value, "assigned")
			}
		case *ast.IncDecStmt:
			found(n.X, "counted")
		case *ast.UnaryExpr:
			if n.Op == token.AND && !element(n.X) {
				found(n.X, "lent out by address")
			}
		case *ast.CallExpr:
			if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "delete" || fn.Name == "clear") && len(n.Args) > 0 {
				found(n.Args[0], "changed")
			}
		}
		return true
	})
	return out
}

// element tells &table[i], the usual way to look at a row of a table without
// copying it, from &variable.
func element(e ast.Expr) bool {
	_, ok := ast.Unparen(e).(*ast.IndexExpr)
	return ok
}

// global returns the package-level variable at the root of an expression such
// as x, x.field, x[i] or *x.
func global(e ast.Expr, info *types.Info) *types.Var {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			v, ok := info.Uses[x].(*types.Var)
			if !ok || v.Pkg() == nil || v.Parent() != v.Pkg().Scope() {
				return nil
			}
			return v
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// madeToChange finds package-level locks, pools, atomics and channels.
func madeToChange(f *file, info *types.Info) []finding {
	var out []finding
	for _, d := range f.syntax.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, s := range decl.Specs {
			spec := s.(*ast.ValueSpec)
			for _, e := range append(slices.Clone(spec.Values), spec.Type) {
				if e != nil && mutable(e, f) {
					out = append(out, finding{f.at(spec.Pos()), "package-level " + spec.Names[0].Name + " is made to be changed", whyState})
				}
			}
		}
	}
	return out
}

// mutable reports whether the type or literal e is of sync, sync/atomic or a channel.
func mutable(e ast.Expr, f *file) bool {
	bad := false
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ChanType:
			bad = true
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			// OnceValue and its kin compute a constant late.
			once := n.Sel.Name == "OnceValue" || n.Sel.Name == "OnceValues"
			bad = bad || ok && !once && (f.knows("sync", x.Name) || f.knows("sync/atomic", x.Name))
		}
		return true
	})
	return bad
}
