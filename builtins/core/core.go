// Package core holds the words that every plan begins with:
//
//	host(name, system, ssh, tags)
//	step(fn, needs, name, each, ...)
//	check(fn, name, host, required)
//	plan(steps, hosts, checks, title, phase, after)
//	done(plan), stable(plan, since), approved(name), go(plan)
//	attempt(fn)
//	fail(message)
//	log(message)
package core

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
)

// Specs lists the words.
func Specs() []call.Spec {
	return []call.Spec{hostSpec(), stepSpec(), checkSpec(), planSpec(), doneSpec(), stableSpec(), approvedSpec(), goSpec(), attemptSpec(), failSpec(), logSpec()}
}

// firstLine is what a list shows of a function's docstring.
func firstLine(fn starlark.Callable) string {
	f, ok := fn.(*starlark.Function)
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(f.Doc()), "\n")
	return line
}

// named returns the name a step or check goes by, and reports a lambda without
// one.
func named(c *call.Call, what, name string, fn starlark.Callable) string {
	if name != "" {
		return name
	}
	if fn.Name() == "lambda" {
		c.Report(`name = "..."`, "a %s of a lambda needs a name", what)
	}
	return fn.Name()
}

// checkArity reports a function that cannot take the arguments it will get.
func checkArity(c *call.Call, what, name string, fn starlark.Callable, gets []string) {
	f, ok := fn.(*starlark.Function)
	if !ok {
		return
	}
	required, positional := 0, f.NumParams()-f.NumKwonlyParams()
	if f.HasVarargs() {
		positional--
	}
	if f.HasKwargs() {
		positional--
	}
	for i := range positional {
		if f.ParamDefault(i) == nil {
			required++
		}
	}
	if required <= len(gets) && (len(gets) <= positional || f.HasVarargs()) {
		return
	}
	takes := fmt.Sprint(positional)
	if required < positional {
		takes = fmt.Sprintf("%d to %d", required, positional)
	}
	c.Report(fmt.Sprintf("def %s(%s):", f.Name(), strings.Join(gets, ", ")),
		"%s %s hands its function %d %s, but it takes %s", what, name, len(gets), plural(len(gets), "value"), takes)
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
