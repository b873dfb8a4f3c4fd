package interp

import (
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins"
	"infra/runtime"
)

// vet finds, without running a file, what would fail in it only when a step is
// half done: names a module does not have, arguments a builtin does not take
// or lacks, and effects at the top level.
type vet struct {
	predeclared starlark.StringDict
	specs       map[string]builtins.Spec
	reading     *runtime.Reading
	effects     bool // an effect stands at the top level: do not run the file
}

func (v *vet) file(f *syntax.File) {
	for _, stmt := range f.Stmts {
		v.node(stmt, true)
	}
}

// node walks n. top says that n is run when the file is read.
func (v *vet) node(n syntax.Node, top bool) {
	syntax.Walk(n, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			v.function(n.Params, n.Body, top)
			return false
		case *syntax.LambdaExpr:
			v.function(n.Params, []syntax.Stmt{&syntax.ExprStmt{X: n.Body}}, top)
			return false
		case *syntax.DotExpr:
			v.lookup(n)
			return v.static(n.X) == ""
		case *syntax.CallExpr:
			v.call(n, top)
		}
		return true
	})
}

// function walks defaults where the function is defined, its body as code that
// runs later.
func (v *vet) function(params []syntax.Expr, body []syntax.Stmt, top bool) {
	for _, p := range params {
		if def, ok := p.(*syntax.BinaryExpr); ok {
			v.node(def.Y, top)
		}
	}
	for _, stmt := range body {
		v.node(stmt, false)
	}
}

// static returns the dotted name of e where it begins with a predeclared name
// that the file does not shadow, else "".
func (v *vet) static(e syntax.Expr) string {
	switch e := e.(type) {
	case *syntax.Ident:
		if b, ok := e.Binding.(*resolve.Binding); ok && b.Scope == resolve.Predeclared {
			return e.Name
		}
	case *syntax.DotExpr:
		if x := v.static(e.X); x != "" {
			return x + "." + e.Name.Name
		}
	case *syntax.ParenExpr:
		return v.static(e.X)
	}
	return ""
}

// lookup returns the module member that e names, and reports one that is not
// there.
func (v *vet) lookup(e syntax.Expr) starlark.Value {
	switch e := e.(type) {
	case *syntax.Ident:
		if v.static(e) != "" {
			return v.predeclared[e.Name]
		}
	case *syntax.DotExpr:
		mod, ok := v.lookup(e.X).(starlark.HasAttrs)
		if !ok {
			return nil
		}
		member, err := mod.Attr(e.Name.Name)
		if err != nil || member == nil {
			v.reading.Report(e.Name.NamePos, near(e.Name.Name, mod.AttrNames()), "%s has no %s", v.static(e.X), e.Name.Name)
		}
		return member
	}
	return nil
}

func near(name string, names []string) string {
	if n := builtins.Nearest(name, names); n != "" {
		return "did you mean " + n + "?"
	}
	return "there are " + strings.Join(names, ", ")
}

func (v *vet) call(c *syntax.CallExpr, top bool) {
	spec, ok := v.specs[v.static(c.Fn)]
	if !ok {
		return
	}
	if err := spec.AllowedAt(top); err != nil && top {
		v.effects = true
		v.reading.Report(c.Lparen, runtime.HintOf(err), "%s", err)
	}
	var positional int
	var named []string
	for _, arg := range c.Args {
		switch a := arg.(type) {
		case *syntax.UnaryExpr:
			if a.Op == syntax.STAR || a.Op == syntax.STARSTAR {
				return // what *args and **kwargs hold is known only when they run
			}
			positional++
		case *syntax.BinaryExpr:
			if a.Op == syntax.EQ {
				named = append(named, a.X.(*syntax.Ident).Name)
				continue
			}
			positional++
		default:
			positional++
		}
	}
	for _, err := range spec.Accepts(positional, named) {
		v.reading.Report(c.Lparen, runtime.HintOf(err), "%s: %s", spec.Name, err)
	}
}
