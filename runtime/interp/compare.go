package interp

import (
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// compare is x op y, or Unknown where a value that is not known would decide
// it. It looks at elements in the interpreter's order and stops where that
// does: what lies behind the first difference need not be known.
func compare(op syntax.Token, x, y starlark.Value, depth int) (starlark.Value, error) {
	if u, ok := eitherUnknown(x, y); ok {
		return u.As(runtime.BoolShape), nil
	}
	equality := op == syntax.EQL || op == syntax.NEQ
	switch x := x.(type) {
	case *starlark.List:
		if y, ok := y.(*starlark.List); ok && depth > 0 {
			return compareElements(op, x, y, depth)
		}
	case starlark.Tuple:
		if y, ok := y.(starlark.Tuple); ok && depth > 0 {
			return compareElements(op, x, y, depth)
		}
	case *starlark.Dict:
		if y, ok := y.(*starlark.Dict); ok && depth > 0 && equality {
			return negateIf(op == syntax.NEQ)(equalDicts(x, y, depth))
		}
	case *starlarkstruct.Struct:
		if y, ok := y.(*starlarkstruct.Struct); ok && depth > 0 && equality {
			return negateIf(op == syntax.NEQ)(equalStructs(x, y, depth))
		}
	}
	ok, err := starlark.CompareDepth(op, x, y, depth)
	return starlark.Bool(ok), err
}

func eitherUnknown(x, y starlark.Value) (runtime.Unknown, bool) {
	if u, ok := x.(runtime.Unknown); ok {
		return u, true
	}
	u, ok := y.(runtime.Unknown)
	return u, ok
}

func negateIf(negate bool) func(starlark.Value, error) (starlark.Value, error) {
	return func(v starlark.Value, err error) (starlark.Value, error) {
		if b, ok := v.(starlark.Bool); ok && negate {
			return !b, err
		}
		return v, err
	}
}

// equal says whether x and y are certainly equal. Where they are not, answer
// is what to return in place of it: False, or Unknown.
func equal(x, y starlark.Value, depth int) (yes bool, answer starlark.Value, err error) {
	answer, err = compare(syntax.EQL, x, y, depth)
	return err == nil && answer == starlark.True, answer, err
}

func compareElements(op syntax.Token, x, y starlark.Indexable, depth int) (starlark.Value, error) {
	n, m := x.Len(), y.Len()
	if n != m && (op == syntax.EQL || op == syntax.NEQ) {
		return starlark.Bool(op == syntax.NEQ), nil
	}
	for i := range min(n, m) {
		yes, answer, err := equal(x.Index(i), y.Index(i), depth-1)
		if yes {
			continue
		}
		if err != nil || isUnknown(answer) {
			return answer, err
		}
		if op == syntax.EQL || op == syntax.NEQ {
			return starlark.Bool(op == syntax.NEQ), nil
		}
		return compare(op, x.Index(i), y.Index(i), depth-1)
	}
	return compare(op, starlark.MakeInt(n), starlark.MakeInt(m), depth)
}

func equalDicts(x, y *starlark.Dict, depth int) (starlark.Value, error) {
	if x.Len() != y.Len() {
		return starlark.False, nil
	}
	for key, value := range x.Entries() {
		other, found, _ := y.Get(key)
		if !found {
			return starlark.False, nil
		}
		if yes, answer, err := equal(value, other, depth-1); !yes {
			return answer, err
		}
	}
	return starlark.True, nil
}

func equalStructs(x, y *starlarkstruct.Struct, depth int) (starlark.Value, error) {
	same, err := starlark.Equal(x.Constructor(), y.Constructor())
	if x.Len() != y.Len() || err != nil || !same {
		ok, err := starlark.CompareDepth(syntax.EQL, x, y, depth) // no field decides it
		return starlark.Bool(ok), err
	}
	for i := range x.Len() {
		name, value := x.AttrAt(i)
		otherName, other := y.AttrAt(i)
		if name != otherName {
			return starlark.False, nil
		}
		if yes, answer, err := equal(value, other, depth-1); !yes {
			return answer, err
		}
	}
	return starlark.True, nil
}

// within is x in y, or Unknown.
func within(x, y starlark.Value) (starlark.Value, error) {
	if u, ok := eitherUnknown(x, y); ok && !emptySequence(y) {
		return u.As(runtime.BoolShape), nil
	}
	switch y := y.(type) {
	case *starlark.List:
		return withinElements(x, y)
	case starlark.Tuple:
		return withinElements(x, y)
	}
	if u, ok := runtime.FindUnknown(x); ok {
		return u.As(runtime.BoolShape), nil
	}
	return starlark.Binary(syntax.IN, x, y)
}

func emptySequence(v starlark.Value) bool {
	switch v := v.(type) {
	case *starlark.List:
		return v.Len() == 0
	case starlark.Tuple:
		return len(v) == 0
	}
	return false
}

func withinElements(x starlark.Value, y starlark.Indexable) (starlark.Value, error) {
	for i := range y.Len() {
		yes, answer, err := equal(y.Index(i), x, starlark.CompareLimit)
		if err != nil {
			return starlark.False, err
		}
		if yes || isUnknown(answer) {
			return answer, nil
		}
	}
	return starlark.False, nil
}
