package engine

import (
	"fmt"
	"slices"
	"strings"
)

// block writes statements; what they bind is forgotten after it.
func (g *generator) block() []*node {
	kept := len(g.vars)
	g.depth++
	var body []*node
	for n := 1 + g.IntN(4); (g.depth == 1 || n > 0) && g.left > 0; n-- {
		g.left--
		body = append(body, g.statement())
	}
	g.depth--
	g.vars = g.vars[:kept]
	return body
}

func (g *generator) label() string {
	g.next++
	return fmt.Sprintf("log(\"b%d\")", g.next)
}

// statement writes one statement.
func (g *generator) statement() *node {
	if g.depth < 4 {
		switch g.IntN(22) {
		case 0, 1, 2:
			return g.branch()
		case 3, 4:
			return g.loop()
		case 5:
			return g.attempt()
		case 6:
			return g.closure()
		case 7:
			if g.depth > 1 {
				return line(g.oneOf("return "+g.expr('s', 1, false), "fail("+g.expr('s', 1, false)+")", "return None"))
			}
		}
	}
	for {
		if text, ok := g.simple(statements[g.IntN(len(statements))]); ok {
			return line(text)
		}
	}
}

// branch is an if, and what else it has.
func (g *generator) branch() *node {
	n := &node{}
	for i, head := range []string{"if %s:", "elif %s:", "else:"} {
		if i > 0 && g.IntN(3) == 0 {
			continue
		}
		if i < 2 {
			head = fmt.Sprintf(head, g.expr(g.kind("bbbbbsSia"), 3, g.mostly()))
		}
		label := line(g.label())
		n.arms = append(n.arms, arm{head: head, body: append([]*node{label}, g.block()...)})
	}
	return n
}

func (g *generator) kind(of string) byte { return of[g.IntN(len(of))] }

// mostly says whether what is decided on shall be known, so that previews go on.
func (g *generator) mostly() bool { return g.IntN(6) > 0 }

func (g *generator) loop() *node {
	g.next++
	x, y := fmt.Sprintf("x%d", g.next), fmt.Sprintf("y%d", g.next)
	clean := g.mostly()
	var head string
	var bound []modelVar
	switch g.IntN(5) {
	case 0, 1:
		head = fmt.Sprintf("for %s in %s:", x, g.expr('S', 2, clean))
		bound = []modelVar{{x, 's', !clean, true}}
	case 2:
		head = fmt.Sprintf("for %s, %s in %s.items():", x, y, g.expr('d', 2, clean))
		bound = []modelVar{{x, 's', !clean, true}, {y, 'i', !clean, true}}
	case 3:
		head = fmt.Sprintf("for %s, %s in enumerate(%s):", y, x, g.expr('S', 2, clean))
		bound = []modelVar{{x, 's', !clean, true}, {y, 'i', !clean, true}}
	default:
		head = fmt.Sprintf("for %s in range(%s %% 3):", y, g.expr('i', 2, clean))
		bound = []modelVar{{y, 'i', !clean, true}}
	}
	kept := len(g.vars)
	g.vars = append(g.vars, bound...)
	body := append([]*node{line(g.label())}, g.block()...)
	if g.IntN(3) == 0 {
		cond := g.expr('b', 2, g.mostly())
		body = append(body, &node{arms: []arm{{head: "if " + cond + ":", body: []*node{line(g.oneOf("break", "continue"))}}}})
		body = append(body, line(g.label()))
	}
	g.vars = g.vars[:kept]
	return &node{arms: []arm{{head: head, body: body}}}
}

// attempt calls a function that may fail. The lines round it say where it
// begins and ends, which the comparison needs to know.
func (g *generator) attempt() *node {
	g.next++
	k := g.next
	seen, list := g.variable('S', true, false)
	fn := g.function(fmt.Sprintf("a%d", k), "")
	if list && g.IntN(2) == 0 { // what it alters, it alters only if the command succeeds
		risk := line(fmt.Sprintf(`ssh.run(%s, ["risk", "s", "/p/b"])`, g.hosts[0]))
		first := []*node{risk, line(seen.name + `.append("m")`)}
		if g.IntN(2) == 0 { // and alters back if another one does
			first = append(first, risk, line(seen.name+".pop()"))
		}
		fn.arms[0].body = append(first, fn.arms[0].body...)
	}
	fn.arms = append(fn.arms, arm{leaf: true, head: fmt.Sprintf("log(\"%s%d\")\nx%d = attempt(a%d)\nlog(\"%s%d\")", attemptBegins, k, k, k, attemptEnds, k)})
	if g.IntN(2) == 0 {
		fn.arms = append(fn.arms, arm{leaf: true, head: fmt.Sprintf("log(x%d.value)", k)})
	}
	if g.IntN(4) == 0 {
		fn.arms = append(fn.arms, arm{leaf: true, head: fmt.Sprintf("log(t(\"b%d\", 1) if x%d.ok else t(\"c%d\", 2))", k, k, k)})
	}
	if list {
		fn.arms = append(fn.arms, arm{leaf: true, head: "log(" + seen.name + ")"})
	}
	x := fmt.Sprintf("x%d", k)
	g.vars = append(g.vars, modelVar{x + ".ok", 'b', true, false}, modelVar{x + ".value", 's', true, false}, modelVar{x + ".error", 's', true, false})
	return fn
}

const attemptBegins, attemptEnds = "attempt ", "attempted "

// closure defines a function that sees what is round it, and names its result.
func (g *generator) closure() *node {
	g.next++
	k := g.next
	def := g.expr('s', 1, false)
	fn := g.function(fmt.Sprintf("c%d", k), fmt.Sprintf("p%d = %s", k, def))
	fn.arms = append(fn.arms, arm{leaf: true, head: fmt.Sprintf("x%d = c%d", k, k)})
	g.vars = append(g.vars, modelVar{fmt.Sprintf("x%d", k), 'f', true, true})
	return fn
}

// function writes a def in the middle of a body.
func (g *generator) function(name, param string) *node {
	outer := slices.Clone(g.vars)
	for i := range g.vars {
		g.vars[i].own = false
	}
	if p, _, ok := strings.Cut(param, " "); ok {
		g.vars = append(g.vars, modelVar{p, 's', false, true})
	}
	body := append(g.block(), line("return "+g.expr('s', 2, false)))
	g.vars = outer
	return &node{arms: []arm{{head: fmt.Sprintf("def %s(%s):", name, param), body: body}}}
}
