package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A node is a piece of a plan's text that can be left out: a statement, with
// its arms and their bodies, or a line.
type node struct {
	arms []arm
	step string // the step that the node defines
}

type arm struct {
	head string
	body []*node
	leaf bool // head is all
}

func line(text string) *node { return &node{arms: []arm{{head: text, leaf: true}}} }

// A modelPlan is a generated plan: helpers and steps, as text once printed.
type modelPlan struct{ nodes []*node }

func (p *modelPlan) String() string {
	var b strings.Builder
	for _, l := range []string{
		`H0 = host("h0", system = "x86_64-linux")`, `H1 = host("h1", system = "x86_64-linux")`, `H2 = host("h2", system = "aarch64-darwin")`,
		`HOSTS = [H0, H1]`, `def t(name, v):`, `    log(name)`, `    return v`,
		`def tried(n, fn):`, `    log("attempt " + n)`, `    x = attempt(fn)`, `    log("attempted " + n)`, `    return x`,
	} {
		b.WriteString(l + "\n")
	}
	var steps []string
	for _, n := range p.nodes {
		n.print(&b, 0)
		if n.step != "" {
			steps = append(steps, n.step)
		}
	}
	fmt.Fprintf(&b, "p = plan(hosts = [H0, H1, H2], steps = [%s])\n", strings.Join(steps, ", "))
	return b.String()
}

func (n *node) print(b *strings.Builder, depth int) {
	for _, a := range n.arms {
		for l := range strings.Lines(a.head) {
			b.WriteString(strings.Repeat("    ", depth) + strings.TrimSuffix(l, "\n") + "\n")
		}
		for _, k := range a.body {
			k.print(b, depth+1)
		}
		if !a.leaf && len(a.body) == 0 {
			b.WriteString(strings.Repeat("    ", depth+1) + "pass\n")
		}
	}
	if n.step != "" {
		b.WriteString("\n")
	}
}

// A modelVar is a name that the generated code may use.
type modelVar struct {
	name    string
	typ     byte
	tainted bool // a preview may not know it
	own     bool // it belongs to the function that is being generated
}

// A generator writes random plans.
type generator struct {
	*rand.Rand
	vars    []modelVar
	next    int
	changed bool // something may have altered what reads observe
	depth   int
	steps   []modelStep
	hosts   []string // expressions
	left    int      // statements to write
	probing bool     // with what is not known
	alone   bool     // no helper is called
}

type modelStep struct {
	name    string
	fansOut bool
	gives   byte
}

// newPlan writes the plan of a seed.
func newPlan(seed uint64) *modelPlan {
	g := &generator{Rand: rand.New(rand.NewPCG(modelSeed, seed))}
	g.hosts = []string{"H0", "H1"}
	p := &modelPlan{}
	p.nodes = append(p.nodes, g.helpers()...)
	for range 1 + g.IntN(3) {
		p.nodes = append(p.nodes, g.step()...)
	}
	return p
}

// helpers are h0(x, y, more), of strings, and h1(xs, x), which alters its list.
func (g *generator) helpers() []*node {
	g.alone = true
	defer func() { g.alone = false }()
	g.vars = []modelVar{{"x", 's', false, true}, {"y", 's', false, true}, {"more", 'S', false, false}}
	g.left = g.IntN(4)
	h0 := &node{arms: []arm{{head: fmt.Sprintf("def h0(x, y = %s, more = []):", g.oneOf(`"b"`, `"ab"`, `"7"`))}}}
	h0.arms[0].body = append(g.few(), line("return "+g.expr('s', 2, false)))
	g.vars = []modelVar{{"xs", 'S', false, false}, {"x", 's', false, true}}
	g.left = g.IntN(3)
	h1 := &node{arms: []arm{{head: "def h1(xs, x):"}}}
	h1.arms[0].body = append(g.few(), line("xs.append(x)"), line("return xs[0] + x"))
	if g.IntN(3) > 0 {
		h1.arms[0].body[len(h1.arms[0].body)-2] = line("xs = xs + [x]")
	}
	return []*node{h0, h1}
}

// few are statements of a helper. It calls no helper, so that none calls itself.
func (g *generator) few() []*node {
	var body []*node
	for range g.left {
		body = append(body, g.statement())
	}
	return body
}

func (g *generator) step() []*node {
	name := fmt.Sprintf("s%d", len(g.steps))
	s := modelStep{name: name, fansOut: g.IntN(3) == 0, gives: "sibSId"[g.IntN(6)]}
	g.vars, g.changed, g.hosts = nil, false, []string{"H0", "H1", "HOSTS[0]"}
	var params, needs []string
	if s.fansOut {
		params, g.hosts = append(params, "host"), []string{"host", "host", "host", "H0"}
	}
	for _, n := range g.steps {
		if g.IntN(4) == 0 {
			continue
		}
		x := "r_" + n.name
		params, needs = append(params, x), append(needs, n.name)
		v := modelVar{name: x, typ: n.gives, tainted: true}
		if n.fansOut && !s.fansOut {
			v.name = x + `["h1"]`
		}
		g.vars = append(g.vars, v)
		g.changed = true
	}
	g.left = 1 + g.IntN(7)
	body := g.body()
	body = g.withProbed(append(body, line("return "+g.expr(s.gives, 2, false))))
	def := &node{arms: []arm{{head: fmt.Sprintf("def f_%s(%s):", name, strings.Join(params, ", ")), body: body}}}
	options := ""
	if s.fansOut {
		options = ", each = [H0, H1]" + g.oneOf("", "", ", parallel = 1", ", canary = 1", `, on_failure = "continue"`)
	}
	options += g.oneOf("", "", "", `, locks = ["x"]`)
	g.steps = append(g.steps, s)
	decl := line(fmt.Sprintf("%s = step(f_%s, name = %q, needs = [%s]%s)", name, name, name, strings.Join(needs, ", "), options))
	decl.step = name
	return []*node{def, decl}
}

// body is a step's: any code, or, half the time, a few lines that each do
// something with values that are not known.
func (g *generator) body() []*node {
	if g.IntN(2) == 0 {
		return g.block()
	}
	for _, l := range probed {
		g.vars = append(g.vars, modelVar{"u_" + l[:1], l[0], true, true})
	}
	g.changed, g.probing = true, true
	var body []*node
	for range 1 + g.IntN(4) {
		body = append(body, g.probe())
	}
	g.probing = false
	return body
}

// withProbed puts the values that are not known before a body which uses them.
func (g *generator) withProbed(body []*node) []*node {
	var b strings.Builder
	for _, n := range body {
		n.print(&b, 0)
	}
	var before []*node
	for _, l := range probed {
		if name := "u_" + l[:1]; strings.Contains(b.String(), name) {
			before = append(before, line(name+" = "+strings.ReplaceAll(l[2:], "HOST", g.hosts[0])))
		}
	}
	return append(before, body...)
}

// probed makes one value of each type that a preview does not know.
var probed = []string{
	`s ssh.run(HOST, ["touch", "s", "/p/a", "1"]).stdout.strip()`, `i ssh.run(HOST, ["touch", "i", "/p/a", "2"]).json()`,
	`b ssh.run(HOST, ["touch", "b", "/p/a", "3"]).json()`, `S ssh.run(HOST, ["touch", "S", "/p/a", "4"]).json()`,
	`I ssh.run(HOST, ["touch", "I", "/p/a", "5"]).json()`, `d ssh.run(HOST, ["touch", "d", "/p/a", "6"]).json()`,
}

func (g *generator) probe() *node {
	if g.IntN(3) == 0 {
		if text, ok := g.simple(statements[g.IntN(len(statements))]); ok {
			return line(text)
		}
	}
	g.next++
	x := fmt.Sprintf("x%d", g.next)
	typ := g.kind("sssssiiiibbbbSSSSIdtr")
	text := g.expr(typ, 1, false)
	g.vars = append(g.vars, modelVar{x, typ, true, true})
	use := g.oneOf("log("+x+")", "log("+x+")", "ssh.put("+g.hosts[0]+", \"/q/c\", \"%s\" % "+x+")", "ssh.run("+g.hosts[0]+", [\"touch\", \"s\", \"/q\", str("+x+")])")
	if typ == 't' || typ == 'S' { // "%s" % x takes them apart
		use = "log(" + x + ")"
	}
	return line(x + " = " + text + "\n" + use)
}

func (g *generator) oneOf(of ...string) string { return of[g.IntN(len(of))] }
