package interp

import (
	"fmt"
	"strings"

	"go.starlark.net/syntax"
)

// An instrumenter rewrites a file's syntax tree so that each form of code that
// stands in forms is a call of a hidden builtin, or passes its operand through
// one. The builtins have the forms' names, which no author can type.
//
// Code that meets nothing unknown and no secret does what it did before, with
// errors at the same places: a hidden call stands where the compiler puts what
// it replaces, and operands are evaluated once and in their order.
type instrumenter struct {
	forms   Forms
	methods map[string]bool // names that a method of forms has
	changed bool            // something was rewritten
	temps   int
}

// instrument rewrites file, which has not been resolved, and says whether
// anything in it had to be.
func instrument(file *syntax.File, forms Forms) (changed bool) {
	in := &instrumenter{forms: forms, methods: forms.methodNames()}
	file.Stmts = in.stmts(file.Stmts)
	return in.changed
}

func (in *instrumenter) has(form string) bool { _, ok := in.forms[form]; return ok }

// hidden is a call of a form's builtin that stands at pos. The builtin's name
// stands where the first operand does: there the interpreter finds a mistake in
// the arguments of a function that begins with it.
func (in *instrumenter) hidden(form string, pos syntax.Position, args ...syntax.Expr) syntax.Expr {
	in.changed = true
	return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: firstPos(args[0]), Name: form}, Lparen: pos, Args: args, Rparen: pos}
}

// pass passes e, once it is rewritten, through a form's builtin.
func (in *instrumenter) pass(form string, e syntax.Expr) syntax.Expr {
	if !in.has(form) {
		return in.expr(e)
	}
	return in.hidden(form, syntax.Start(e), in.expr(e))
}

// temp names a variable that no author can name.
func (in *instrumenter) temp(pos syntax.Position) func() *syntax.Ident {
	in.temps++
	name := fmt.Sprintf("=%d", in.temps)
	return func() *syntax.Ident { return &syntax.Ident{NamePos: pos, Name: name} } // each use of a name is a node of its own
}

func (in *instrumenter) stmts(stmts []syntax.Stmt) []syntax.Stmt {
	var out []syntax.Stmt
	for _, s := range stmts {
		out = append(out, in.stmt(s)...)
	}
	return out
}

func (in *instrumenter) stmt(s syntax.Stmt) []syntax.Stmt {
	switch s := s.(type) {
	case *syntax.ExprStmt:
		s.X = in.expr(s.X)
	case *syntax.IfStmt:
		s.Cond = in.pass("if", s.Cond)
		s.True, s.False = in.stmts(s.True), in.stmts(s.False)
	case *syntax.WhileStmt:
		s.Cond = in.pass("while", s.Cond)
		s.Body = in.stmts(s.Body)
	case *syntax.ForStmt:
		in.loop(s)
	case *syntax.DefStmt:
		in.params(s.Params)
		s.Body = in.stmts(s.Body)
	case *syntax.ReturnStmt:
		if s.Result != nil {
			s.Result = in.expr(s.Result)
		}
	case *syntax.AssignStmt:
		return in.assign(s)
	}
	return []syntax.Stmt{s}
}

// loop makes "for a, b in xs" a loop over a variable of its own that is
// unpacked in the body, where it can be seen what is unpacked.
func (in *instrumenter) loop(s *syntax.ForStmt) {
	s.X = in.pass("for", s.X)
	s.Body = in.stmts(s.Body)
	if !in.has("unpack") || !unpacks(s.Vars) {
		in.target(s.Vars)
		return
	}
	elem := in.temp(s.For)
	first := &syntax.AssignStmt{OpPos: s.For, Op: syntax.EQ, LHS: s.Vars, RHS: elem()}
	s.Vars = elem()
	s.Body = append(in.unpack(first), s.Body...)
}

// unpacks says whether assigning to e takes a sequence apart.
func unpacks(e syntax.Expr) bool {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		return unpacks(e.X)
	case *syntax.TupleExpr, *syntax.ListExpr:
		return true
	}
	return false
}

// assign rewrites an assignment. One that takes a sequence apart looks at what
// it takes apart.
func (in *instrumenter) assign(s *syntax.AssignStmt) []syntax.Stmt {
	s.RHS = in.expr(s.RHS)
	if s.Op == syntax.EQ {
		return in.unpack(s)
	}
	in.target(s.LHS)
	op := s.Op - syntax.PLUS_EQ + syntax.PLUS
	if !in.has(s.Op.String()) && !in.has(op.String()) {
		return []syntax.Stmt{s}
	}
	return in.augmented(s, op)
}

// augmented makes "x -= y" an assignment of a hidden call, and leaves "x += y",
// which may alter x in place, but for a look at x and y. In "x[i] += y" it names
// x and i first, since they are needed twice and evaluated once.
func (in *instrumenter) augmented(s *syntax.AssignStmt, op syntax.Token) []syntax.Stmt {
	at, before := in.place(s.LHS)
	form := s.Op.String()
	if !in.has(form) {
		form, s.Op = op.String(), syntax.EQ
	}
	s.LHS, s.RHS = at(), in.hidden(form, s.OpPos, at(), s.RHS)
	return append(before, s)
}

// place returns what makes the target of an augmented assignment, and the
// statements that go before it.
func (in *instrumenter) place(lhs syntax.Expr) (at func() syntax.Expr, before []syntax.Stmt) {
	set := func(to *syntax.Ident, value syntax.Expr) syntax.Stmt {
		return &syntax.AssignStmt{OpPos: syntax.Start(lhs), Op: syntax.EQ, LHS: to, RHS: value}
	}
	switch lhs := lhs.(type) {
	case *syntax.ParenExpr:
		return in.place(lhs.X)
	case *syntax.IndexExpr:
		x, i := in.temp(lhs.Lbrack), in.temp(lhs.Lbrack)
		at := func() syntax.Expr { return &syntax.IndexExpr{X: x(), Lbrack: lhs.Lbrack, Y: i(), Rbrack: lhs.Rbrack} }
		return at, []syntax.Stmt{set(x(), lhs.X), set(i(), lhs.Y)}
	case *syntax.DotExpr:
		x := in.temp(lhs.Dot)
		at := func() syntax.Expr {
			name := *lhs.Name
			return &syntax.DotExpr{X: x(), Dot: lhs.Dot, NamePos: lhs.NamePos, Name: &name}
		}
		return at, []syntax.Stmt{set(x(), lhs.X)}
	}
	ident := *lhs.(*syntax.Ident) // the parser takes nothing else
	return func() syntax.Expr { again := ident; return &again }, nil
}

// unpack looks at the right side of an assignment that takes it apart. Where
// the pattern is nested it says so, so that elements are looked at too.
func (in *instrumenter) unpack(s *syntax.AssignStmt) []syntax.Stmt {
	in.target(s.LHS)
	if !in.has("unpack") || !unpacks(s.LHS) {
		return []syntax.Stmt{s}
	}
	args := []syntax.Expr{s.RHS}
	if p := pattern(s.LHS); strings.Count(p, "(") > 1 {
		args = append(args, &syntax.Literal{Token: syntax.STRING, TokenPos: s.OpPos, Value: p})
	}
	s.RHS = in.hidden("unpack", s.OpPos, args...)
	return []syntax.Stmt{s}
}

// pattern writes which elements an assignment takes apart in turn: "(.(..))"
// for "a, (b, c)".
func pattern(e syntax.Expr) string {
	var list []syntax.Expr
	switch e := e.(type) {
	case *syntax.ParenExpr:
		return pattern(e.X)
	case *syntax.TupleExpr:
		list = e.List
	case *syntax.ListExpr:
		list = e.List
	default:
		return "."
	}
	out := "("
	for _, x := range list {
		out += pattern(x)
	}
	return out + ")"
}

// target rewrites what is evaluated on the left side of an assignment.
func (in *instrumenter) target(e syntax.Expr) {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		in.target(e.X)
	case *syntax.TupleExpr:
		for _, x := range e.List {
			in.target(x)
		}
	case *syntax.ListExpr:
		for _, x := range e.List {
			in.target(x)
		}
	case *syntax.IndexExpr:
		in.index(e)
	case *syntax.DotExpr:
		e.X = in.expr(e.X)
	}
}

func (in *instrumenter) index(e *syntax.IndexExpr) {
	e.X = in.expr(e.X)
	if _, ok := e.Y.(*syntax.Literal); ok {
		return
	}
	e.Y = in.pass("x[i]", e.Y)
}

// result passes what e gives through a form's builtin.
func (in *instrumenter) result(form string, pos syntax.Position, e syntax.Expr) syntax.Expr {
	if !in.has(form) {
		return e
	}
	return in.hidden(form, pos, e)
}

// params rewrites defaults.
func (in *instrumenter) params(params []syntax.Expr) {
	for _, p := range params {
		if def, ok := p.(*syntax.BinaryExpr); ok {
			def.Y = in.expr(def.Y)
		}
	}
}
