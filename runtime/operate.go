package runtime

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Operate is x op y where one of the two is Unknown; op makes a new value. Where
// the types are known and do not fit, it is the error that a run would end with.
func Operate(op syntax.Token, x, y starlark.Value) (starlark.Value, error) {
	u, ok := x.(Unknown)
	if !ok {
		u = y.(Unknown)
	}
	a, b := kindOf(x), kindOf(y)
	if op == syntax.PERCENT && a == "string" {
		return u.As(TextShape(x, y)), nil
	}
	if !operand[a] || !operand[b] {
		return u.As(nil), nil // it may be anything, or a type with operators of its own
	}
	if shape := operated(op, a, b); shape != nil {
		return u.As(shape), nil
	}
	return nil, fmt.Errorf("unknown binary op: %s %s %s", a, op, b)
}

// kindOf is what type() would say, or "" where that is not known.
func kindOf(v starlark.Value) string {
	if u, ok := v.(Unknown); ok {
		return u.Shape.kind()
	}
	return v.Type()
}

// operand are the types whose operators stand in operated.
var operand = map[string]bool{"NoneType": true, "bool": true, "int": true, "float": true, "string": true, "bytes": true,
	"list": true, "tuple": true, "dict": true, "set": true, "secret": true, "range": true}

// operated is the shape of a op b, or nil where there is no such operator.
func operated(op syntax.Token, a, b string) *Shape {
	number := func(k string) bool { return k == "int" || k == "float" }
	text := func(k string) bool { return k == "string" || k == "bytes" || k == "secret" }
	sequence := map[string]*Shape{"string": StringShape, "bytes": BytesShape, "list": ListShape, "tuple": TupleShape}
	switch op {
	case syntax.PLUS:
		switch {
		case (a == "secret" || b == "secret") && text(a) && text(b):
			return SecretShape
		case a == b && sequence[a] != nil:
			return sequence[a]
		}
	case syntax.STAR:
		if a == "int" && sequence[b] != nil {
			return sequence[b]
		}
		if b == "int" && sequence[a] != nil {
			return sequence[a]
		}
	case syntax.SLASH:
		if number(a) && number(b) {
			return FloatShape
		}
		return nil
	case syntax.AMP, syntax.PIPE, syntax.CIRCUMFLEX, syntax.LTLT, syntax.GTGT:
		return bitwise(op, a, b)
	}
	switch {
	case a == "int" && b == "int":
		return IntShape
	case number(a) && number(b):
		return FloatShape
	case op == syntax.MINUS && a == "set" && b == "set":
		return SetShape
	}
	return nil
}

func bitwise(op syntax.Token, a, b string) *Shape {
	shift := op == syntax.LTLT || op == syntax.GTGT
	switch {
	case a != b:
		return nil
	case a == "int":
		return IntShape
	case a == "set" && !shift:
		return SetShape
	case a == "dict" && op == syntax.PIPE:
		return DictShape
	}
	return nil
}
