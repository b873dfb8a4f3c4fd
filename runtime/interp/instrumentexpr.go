package interp

import (
	"go.starlark.net/syntax"
)

// expr rewrites an expression and what it is made of.
func (in *instrumenter) expr(e syntax.Expr) syntax.Expr {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		e.X = in.expr(e.X)
	case *syntax.ListExpr:
		in.exprs(e.List)
	case *syntax.TupleExpr:
		in.exprs(e.List)
	case *syntax.DictExpr:
		in.exprs(e.List)
	case *syntax.DictEntry:
		e.Key, e.Value = in.expr(e.Key), in.expr(e.Value)
	case *syntax.CondExpr:
		e.Cond = in.pass("if else", e.Cond)
		e.True, e.False = in.expr(e.True), in.expr(e.False)
	case *syntax.LambdaExpr:
		in.params(e.Params)
		e.Body = in.expr(e.Body)
	case *syntax.Comprehension:
		in.comprehension(e)
	default:
		return in.operation(e)
	}
	return e
}

func (in *instrumenter) exprs(list []syntax.Expr) {
	for i := range list {
		list[i] = in.expr(list[i])
	}
}

// operation rewrites the expressions that may become calls themselves.
func (in *instrumenter) operation(e syntax.Expr) syntax.Expr {
	switch e := e.(type) {
	case *syntax.Ident:
		in.changed = in.changed || in.has(e.Name+"()") // it may mean the builtin that a form shadows
	case *syntax.UnaryExpr:
		return in.unary(e)
	case *syntax.BinaryExpr:
		return in.binary(e)
	case *syntax.SliceExpr:
		return in.slice(e)
	case *syntax.IndexExpr:
		in.index(e)
		return in.result("[i]", e.Lbrack, e)
	case *syntax.DotExpr:
		e.X = in.expr(e.X)
		if in.has("x.f") && in.methods[e.Name.Name] {
			return in.hidden("x.f", e.Dot, e)
		}
		return in.result(".f", e.Dot, e)
	case *syntax.CallExpr:
		e.Fn = in.expr(e.Fn)
		for i, arg := range e.Args {
			e.Args[i] = in.arg(arg)
		}
	}
	return e
}

// arg rewrites an argument of a call.
func (in *instrumenter) arg(arg syntax.Expr) syntax.Expr {
	switch a := arg.(type) {
	case *syntax.BinaryExpr:
		if a.Op == syntax.EQ {
			a.Y = in.expr(a.Y)
			return a
		}
	case *syntax.UnaryExpr:
		if a.Op == syntax.STAR || a.Op == syntax.STARSTAR {
			a.X = in.pass(map[syntax.Token]string{syntax.STAR: "*args", syntax.STARSTAR: "**kwargs"}[a.Op], a.X)
			return a
		}
	}
	return in.expr(arg)
}

func (in *instrumenter) unary(e *syntax.UnaryExpr) syntax.Expr {
	if e.Op == syntax.NOT && in.has("not") {
		return in.hidden("not", e.OpPos, in.expr(e.X))
	}
	e.X = in.expr(e.X)
	if e.Op == syntax.NOT {
		return e
	}
	return in.result("-x", e.OpPos, e)
}

func (in *instrumenter) binary(e *syntax.BinaryExpr) syntax.Expr {
	if e.Op == syntax.AND || e.Op == syntax.OR {
		e.X, e.Y = in.pass(e.Op.String(), e.X), in.expr(e.Y)
		return e
	}
	e.X, e.Y = in.expr(e.X), in.expr(e.Y)
	if form := e.Op.String(); in.has(form) {
		return in.hidden(form, e.OpPos, e.X, e.Y)
	}
	return e
}

// slice passes what is sliced and the bounds through hidden builtins. The
// compiler gives a slice the position of what it evaluated last, and so must
// they.
func (in *instrumenter) slice(e *syntax.SliceExpr) syntax.Expr {
	last := e.Lbrack
	part := func(form string, x syntax.Expr) syntax.Expr {
		if _, ok := x.(*syntax.Literal); x == nil || ok {
			return x
		}
		last = lastPos(x, last)
		if !in.has(form) {
			return in.expr(x)
		}
		return in.hidden(form, last, in.expr(x))
	}
	e.X = part("x[:]", e.X)
	e.Lo, e.Hi, e.Step = part("[i:j]", e.Lo), part("[i:j]", e.Hi), part("[i:j]", e.Step)
	return e
}

// firstPos is the position of what is evaluated first in e.
func firstPos(e syntax.Expr) syntax.Position {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		return firstPos(e.X)
	case *syntax.UnaryExpr:
		return firstPos(e.X)
	case *syntax.BinaryExpr:
		return firstPos(e.X)
	case *syntax.CondExpr:
		return firstPos(e.Cond)
	case *syntax.DotExpr:
		return firstPos(e.X)
	case *syntax.CallExpr:
		return firstPos(e.Fn)
	case *syntax.IndexExpr:
		return firstPos(e.X)
	case *syntax.SliceExpr:
		return firstPos(e.X)
	}
	return syntax.Start(e)
}

// lastPos is the position that the compiler has come to after e, which is not
// rewritten yet, where it was at before.
func lastPos(e syntax.Expr, before syntax.Position) syntax.Position {
	switch e := e.(type) {
	case *syntax.Ident:
		return e.NamePos
	case *syntax.ParenExpr:
		return lastPos(e.X, before)
	case *syntax.UnaryExpr:
		return e.OpPos
	case *syntax.BinaryExpr:
		if e.Op == syntax.AND || e.Op == syntax.OR {
			return lastPos(e.Y, lastPos(e.X, before))
		}
		return e.OpPos
	case *syntax.CondExpr:
		return lastPos(e.False, lastPos(e.True, lastPos(e.Cond, before)))
	case *syntax.DotExpr:
		return e.Dot
	case *syntax.CallExpr:
		return e.Lparen
	case *syntax.IndexExpr:
		return e.Lbrack
	case *syntax.ListExpr:
		return lastOf(e.List, before)
	case *syntax.TupleExpr:
		return lastOf(e.List, before)
	}
	return lastOfRare(e, before)
}

func lastOf(list []syntax.Expr, before syntax.Position) syntax.Position {
	for _, x := range list {
		before = lastPos(x, before)
	}
	return before
}

func lastOfRare(e syntax.Expr, before syntax.Position) syntax.Position {
	switch e := e.(type) {
	case *syntax.DictExpr:
		if n := len(e.List); n > 0 {
			return e.List[n-1].(*syntax.DictEntry).Colon
		}
	case *syntax.SliceExpr:
		before = lastPos(e.X, e.Lbrack)
		for _, x := range []syntax.Expr{e.Lo, e.Hi, e.Step} {
			if x != nil {
				before = lastPos(x, before)
			}
		}
	case *syntax.LambdaExpr:
		before = e.Lambda
		for _, p := range e.Params {
			if def, ok := p.(*syntax.BinaryExpr); ok {
				before = lastPos(def.Y, before)
			}
		}
	case *syntax.Comprehension:
		return lastOfComprehension(e, before)
	}
	return before
}

func lastOfComprehension(e *syntax.Comprehension, before syntax.Position) syntax.Position {
	for _, c := range e.Clauses {
		switch c := c.(type) {
		case *syntax.ForClause:
			before = c.For
		case *syntax.IfClause:
			before = lastPos(c.Cond, before)
		}
	}
	if entry, ok := e.Body.(*syntax.DictEntry); ok {
		return entry.Colon
	}
	return lastPos(e.Body, before)
}

func (in *instrumenter) comprehension(e *syntax.Comprehension) {
	var clauses []syntax.Node
	for _, c := range e.Clauses {
		switch c := c.(type) {
		case *syntax.IfClause:
			c.Cond = in.pass("if in comprehension", c.Cond)
		case *syntax.ForClause:
			c.X = in.pass("for in comprehension", c.X)
			if in.has("unpack") && unpacks(c.Vars) {
				clauses = append(clauses, in.clauses(c)...)
				continue
			}
			in.target(c.Vars)
		}
		clauses = append(clauses, c)
	}
	e.Clauses = clauses
	e.Body = in.expr(e.Body)
}

// clauses makes "for a, b in xs" two clauses, "for t in xs for a, b in (t,)",
// the second of which looks at what it takes apart.
func (in *instrumenter) clauses(c *syntax.ForClause) []syntax.Node {
	elem := in.temp(c.For)
	first := &syntax.AssignStmt{OpPos: c.For, Op: syntax.EQ, LHS: c.Vars, RHS: elem()}
	in.unpack(first)
	second := &syntax.ForClause{For: c.For, Vars: c.Vars, In: c.In, X: &syntax.TupleExpr{List: []syntax.Expr{first.RHS}}}
	c.Vars = elem()
	return []syntax.Node{c, second}
}
