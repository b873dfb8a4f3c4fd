package interp

import (
	"go.starlark.net/syntax"

	"infra/runtime"
)

// complete gives each problem its line of source, and puts the caret of a call
// at its start rather than at its parenthesis.
func (f *File) complete(problems runtime.Problems) runtime.Problems {
	for i := range problems {
		p := &problems[i]
		p.Pos = f.start(p.Pos)
		if src := f.sources[p.Pos.Filename()]; src != nil {
			p.Source = src.line(p.Pos.Line)
		}
	}
	return problems
}

// start returns where the call begins whose parenthesis is at pos, else pos.
func (f *File) start(pos syntax.Position) syntax.Position {
	src := f.sources[pos.Filename()]
	if src == nil || src.file == nil {
		return pos
	}
	if call, ok := src.calls()[place{pos.Line, pos.Col}]; ok {
		return call.start
	}
	return pos
}

// statement says whether the call whose parenthesis is at pos is a statement of its own.
func (f *File) statement(pos syntax.Position) bool {
	src := f.sources[pos.Filename()]
	return src != nil && src.file != nil && src.calls()[place{pos.Line, pos.Col}].statement
}

// A callPlace is a call of a file.
type callPlace struct {
	start     syntax.Position
	statement bool // and nothing else
}

// callPlaces returns the calls of a file by their parentheses.
func callPlaces(file *syntax.File) map[place]callPlace {
	calls := map[place]callPlace{}
	add := func(n syntax.Node, statement bool) {
		if c, ok := n.(*syntax.CallExpr); ok {
			at := place{c.Lparen.Line, c.Lparen.Col}
			start, _ := c.Span()
			calls[at] = callPlace{start, statement || calls[at].statement} // a statement comes before its expression
		}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		if s, ok := n.(*syntax.ExprStmt); ok {
			add(s.X, true)
		}
		add(n, false)
		return n != nil
	})
	return calls
}
