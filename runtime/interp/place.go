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
	if start, ok := src.callStarts()[place{pos.Line, pos.Col}]; ok {
		return start
	}
	return pos
}

// callStarts returns where each call of a file begins, by its parenthesis.
func callStarts(file *syntax.File) map[place]syntax.Position {
	starts := map[place]syntax.Position{}
	syntax.Walk(file, func(n syntax.Node) bool {
		if c, ok := n.(*syntax.CallExpr); ok {
			starts[place{c.Lparen.Line, c.Lparen.Col}], _ = c.Span()
		}
		return n != nil
	})
	return starts
}
