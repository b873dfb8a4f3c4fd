package interp

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// A habit is a piece of Python that Starlark does not have, and what to write
// instead.
type habit struct {
	message *regexp.Regexp // of the parser
	line    *regexp.Regexp // the line it stopped in
	says    string
	hint    string
}

var habits = []habit{
	{re(`^got string literal, want`), re(`\b[fF][rR]?["']`), "Starlark has no f-strings",
		`write "%s" % x, or "{}".format(x)`},
	{re(`^got (try|except|finally)\b`), nil, "Starlark has no try",
		"attempt(lambda: ...) returns a struct with ok, value and error"},
	{re(`^got raise\b`), nil, "Starlark has no raise", `fail("why") ends the step`},
	{re(`^got (import|from)\b`), nil, "Starlark has no import",
		`load("//plans/lib/x.star", "name") brings a name in; json, time and math are there already`},
	{re(`^got class\b`), nil, "Starlark has no classes", "struct(a = 1, b = 2) holds fields, a function returning one makes them"},
	{re(`^got is\b`), nil, "Starlark has no is", "write == or !="},
	{re(`^got with\b`), nil, "Starlark has no with", "fs.read(path) returns a file's text"},
	{re(`^got yield\b`), nil, "Starlark has no generators", "return a list"},
	{re(`^got (global|nonlocal)\b`), nil, "Starlark's functions do not assign to outer names", "return the value instead"},
	{re(`^got (async|await)\b`), nil, "Starlark has no async", "steps that do not need each other run side by side already"},
	{re(`^got del\b`), nil, "Starlark has no del", "d.pop(key) and list.pop(i) take an element out"},
	{re(`^got as\b`), nil, "Starlark has no as", `load("x.star", mine = "theirs") renames`},
	{re(`^got identifier, want`), re(`^\s*assert\b`), "Starlark has no assert", `if not x: fail("why")`},
	{re(`^got '-', want ':'`), re(`->`), "Starlark has no type hints", "say the types in the docstring"},
	{re(`^got ':'`), re(`:=`), "Starlark has no :=", "assign on a line of its own"},
	{re(`^got ':', want ('\)'|newline)`), re(`\w\s*:\s*\w`), "Starlark has no type hints", "say the types in the docstring"},
	{re(`unexpected input character '@'`), nil, "Starlark has no decorators", "call the function on the other: f = wrap(f)"},
	{re(`^got '\*\*', want primary`), re(`\{`), "Starlark has no {**a, **b}", "a | b joins dicts"},
	{re(`^got '\*\*'`), nil, "Starlark has no **", "multiply, or math.pow(x, n)"},
	{re(`^got '&'|^got '\|'`), re(`&&|\|\|`), "Starlark has no && and ||", "write and, or"},
	{re(`^got else\b`), re(`^\s*else\s+if\b`), "else if is one word here", "write elif"},
	{re(`^got newline, want primary`), re(`(\+\+|--)\s*$`), "Starlark has no ++ and --", "write x += 1"},
	{re(`unexpected input character '[?]'`), nil, "Starlark has no ? :", "write a if condition else b"},
	{re(`^got string literal, want newline`), re(`^\s*print\b`), "print is a function", `write print("text")`},
	{re(`unexpected newline in string`), nil, "the string does not end on its line", `close it, or use """ for several lines`},
	{re(`^got newline, want ':'`), nil, "a colon is missing at the end of the line before", "def f():   if x:   for a in b:"},
}

func re(s string) *regexp.Regexp { return regexp.MustCompile(s) }

// explainSyntax turns the parser's words into a plan author's, with a hint
// where the error is a habit from another language. The parser notices a habit
// late; the problem's place is where the habit begins.
func explainSyntax(e syntax.Error, line string) runtime.Problem {
	for _, h := range habits {
		if !h.message.MatchString(e.Msg) {
			continue
		}
		if h.line == nil {
			return runtime.Problem{Pos: e.Pos, Msg: h.says, Hint: h.hint}
		}
		if at := h.line.FindStringIndex(line); at != nil {
			before := line[:at[1]-len(strings.TrimLeft(line[at[0]:at[1]], " \t"))]
			e.Pos.Col = int32(utf8.RuneCountInString(before)) + 1
			return runtime.Problem{Pos: e.Pos, Msg: h.says, Hint: h.hint}
		}
	}
	return runtime.Problem{Pos: e.Pos, Msg: strings.NewReplacer("got ", "unexpected ", ", want ", ", expected ").Replace(e.Msg)}
}

// foreign are names that Python or a shell has and a plan does not.
var foreign = map[string]string{
	"open":       "fs.read(path) reads a file, fs.write(path, text) writes one",
	"isinstance": `type(x) == "string"`,
	"map":        "[f(x) for x in xs]",
	"filter":     "[x for x in xs if f(x)]",
	"sum":        "add in a for loop",
	"os":         "local.run, fs and secrets.env do what os does",
	"sys":        "fail(\"why\") ends a step",
	"subprocess": `local.run(["cmd", "arg"])`,
	"re":         "strings have find, split, startswith, removeprefix",
	"requests":   "http.get(url)",
	"input":      `step(f, confirm = "question") asks a person`,
	"Exception":  `fail("why") ends a step`,
	"null":       "None",
	"true":       "True",
	"false":      "False",
	"round":      "math.round(x)",
	"exit":       `fail("why") ends a step`,
	"format":     `"{}".format(x)`,
	"sleep":      "ssh.wait(host) waits for what you sleep for",
}
