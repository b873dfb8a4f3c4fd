package engine

import (
	"slices"
	"strconv"
	"strings"
)

// expr writes an expression of a type. clean asks for one that a preview knows.
func (g *generator) expr(typ byte, depth int, clean bool) string {
	switch {
	case typ == 'a':
		typ = g.kind(valueTypes)
	case typ == 'j':
		typ = g.kind(jsonTypes)
	case g.IntN(300) == 0: // a plan may be wrong
		typ = g.kind(valueTypes)
	}
	if typ == 'h' && g.IntN(4) > 0 {
		return g.oneOf(g.hosts...)
	}
	if v, ok := g.variable(typ, clean, false); ok && !g.probing && (depth <= 0 || g.IntN(3) == 0) {
		return v.name
	}
	if depth <= 0 {
		return g.leaf(typ)
	}
	for range 20 {
		f := expressions[typ][g.IntN(len(expressions[typ]))]
		if g.probing && f.from != pure || clean && (f.from == changes || f.from == read && g.changed) {
			continue
		}
		if f.from == changes && g.IntN(3) > 0 {
			continue
		}
		if text, ok := g.fill(f, depth-1, clean); ok {
			g.changed = g.changed || f.from == changes
			return "(" + text + ")"
		}
	}
	return g.leaf(typ)
}

// leaf is an expression without parts.
func (g *generator) leaf(typ byte) string {
	if v, ok := g.variable(typ, false, false); ok && g.probing && v.tainted && g.IntN(4) > 0 {
		return v.name
	}
	f := expressions[typ][g.IntN(len(expressions[typ]))]
	if g.IntN(3) == 0 || strings.ContainsAny(f.text, "$@~&#") || f.from != pure {
		return defaults[typ]
	}
	return f.text
}

// defaults are what is written where nothing else fits.
var defaults = map[byte]string{'s': `"b"`, 'i': `(1)`, 'b': `True`, 'S': `["a"]`, 'I': `[1]`, 'd': `{"a": 1}`, 't': `("a", 1)`,
	'r': `struct(a = "a", n = 1, xs = ["a"], ok = True)`, 'f': `(lambda: "a")`, 'h': `H0`, 'p': `"/p/a"`,
	'c': `ssh.run(H0, ["get", "s", "/p/a"], reads = True)`}

// variable picks one of a type.
func (g *generator) variable(typ byte, clean, own bool) (modelVar, bool) {
	var fit []modelVar
	for _, v := range g.vars {
		if v.typ == typ && !(clean && v.tainted) && (v.own || !own) {
			fit = append(fit, v)
		}
	}
	if len(fit) > 0 && !clean && g.IntN(2) == 0 {
		if some := slices.DeleteFunc(slices.Clone(fit), func(v modelVar) bool { return !v.tainted }); len(some) > 0 {
			fit = some
		}
	}
	if len(fit) == 0 {
		return modelVar{}, false
	}
	return fit[g.IntN(len(fit))], true
}

// fill fills a form's holes.
func (g *generator) fill(f form, depth int, clean bool) (string, bool) {
	if g.alone && (strings.Contains(f.text, "h0(") || strings.Contains(f.text, "h1(")) {
		return "", false
	}
	g.next++
	number := strconv.Itoa(g.next)
	text := strings.ReplaceAll(f.text, "#", number)
	for word, names := range choices {
		if strings.Contains(text, word) {
			text = strings.ReplaceAll(text, word, g.oneOf(names...))
		}
	}
	bound := bindings(f.binds, number, false)
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if !strings.ContainsRune("$@~&^", rune(text[i])) || i+1 == len(text) || !strings.ContainsRune("sibSIdtrcfhpaj", rune(text[i+1])) {
			b.WriteByte(text[i])
			continue
		}
		filled, ok := g.hole(text[i], text[i+1], depth, clean, bound)
		if !ok {
			return "", false
		}
		b.WriteString(filled)
		i++
	}
	return b.String(), true
}

func (g *generator) hole(sigil, typ byte, depth int, clean bool, bound []modelVar) (string, bool) {
	switch sigil {
	case '&', '^':
		v, ok := g.variable(typ, false, sigil == '^')
		return v.name, ok
	case '@':
		clean = clean || !g.probing && g.mostly()
	case '~':
		return g.expr(typ, depth, clean || !g.probing && g.mostly()), true
	}
	kept := len(g.vars)
	g.vars = append(g.vars, bound...)
	text := g.expr(typ, depth, clean)
	g.vars = slices.Delete(g.vars, kept, kept+len(bound))
	return text, true
}

// bindings reads "x#:s y#:i".
func bindings(binds, number string, tainted bool) []modelVar {
	var vars []modelVar
	for _, b := range strings.Fields(binds) {
		name, typ, _ := strings.Cut(b, ":")
		vars = append(vars, modelVar{strings.ReplaceAll(name, "#", number), typ[0], tainted, true})
	}
	return vars
}

// simple writes a statement without a body.
func (g *generator) simple(f form) (string, bool) {
	clean, number := g.IntN(2) == 0 && !g.probing, strconv.Itoa(g.next+1)
	bound := bindings(f.binds, number, !clean || f.from == changes || f.from == read && g.changed)
	f.binds = "" // what a statement binds is there after it
	text, ok := g.fill(f, 2, clean)
	if ok {
		g.changed = g.changed || f.from == changes
		g.vars = append(g.vars, bound...)
	}
	return text, ok
}
