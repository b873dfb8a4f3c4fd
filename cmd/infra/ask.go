package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"infra/runtime"
)

// decider puts a question to the person at the terminal that --yes does not
// answer; nil where nobody is there.
func (a *app) decider(show reader) func(context.Context, string) (bool, error) {
	if a.terminal() == nil {
		return nil
	}
	return a.asker(false, show)
}

// terminal is where a person can answer, or nil.
func (a *app) terminal() *os.File {
	if in, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return in
	}
	return nil
}

// asker puts a step's question to the person at the terminal, one question at
// a time. Where nobody can answer, the step is held.
func (a *app) asker(yes bool, show reader) func(context.Context, string) (bool, error) {
	if yes {
		return func(context.Context, string) (bool, error) { return true, nil }
	}
	if a.terminal() == nil {
		return func(_ context.Context, question string) (bool, error) {
			return false, runtime.WithHint(fmt.Errorf("%w: it asks %q, and nobody is here to answer", runtime.ErrHeld, question),
				"run it on a terminal, or with --yes")
		}
	}
	return func(_ context.Context, question string) (bool, error) {
		answer, err := a.answer(show, printable(question)+" [y/N] ")
		if err != nil {
			return false, fmt.Errorf("%w: %q was not answered", runtime.ErrHeld, question)
		}
		answer = strings.ToLower(strings.TrimSpace(answer))
		return answer == "y" || answer == "yes", nil
	}
}

// answer puts one question at a time to the person at the terminal, and returns
// the line that was typed.
func (a *app) answer(show reader, question string) (string, error) {
	a.asking.Lock()
	defer a.asking.Unlock()
	if a.typed == nil {
		a.typed = bufio.NewReader(a.terminal())
	}
	if t, ok := show.(*tree); ok {
		t.Suspend()
		defer t.Resume()
	}
	fmt.Fprint(a.stderr, question)
	return a.typed.ReadString('\n')
}
