package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// errTraceback ends the program with what Python prints, and 1.
var errTraceback = errors.New("a traceback was printed")

const (
	ctrlC, ctrlD = 3, 4
	backspace    = 8
	del          = 127
	keep         = "<Enter to keep, Backspace for new>"
)

// typed reads what a person types, one for all prompts: what came with one
// answer is not lost.
var typed = bufio.NewReader(os.Stdin)

// ask asks for a prompt's value as clan does: an announcement, the prompt's own
// words, the terminal in raw mode, and a hidden value twice.
func ask(id string, p prompt, machine string, previous *string) (string, error) {
	text := "Enter the value for " + id + ":"
	if _, name, _ := strings.Cut(id, "/"); p.Description != "" && p.Description != name {
		text = p.Description
	}
	if !fault("old prompts") {
		info("Prompting value for %s for machines: %s", id, machine)
	}
	switch p.Type {
	case "line":
		fmt.Print(text + ": ")
		return input(false, false, previous)
	case "multiline":
		fmt.Println(text + " (Finish with Ctrl-D): ")
		return input(true, false, previous)
	case "hidden":
		return twice(text+" (hidden): ", "Confirm "+text+" (hidden): ", false, previous)
	case "multiline-hidden":
		return twice("Enter multiple lines (press Ctrl-D to finish or Ctrl-C to cancel):\n",
			"Confirm by entering the same value again (press Ctrl-D to finish or Ctrl-C to cancel):\n", true, previous)
	}
	return "", fmt.Errorf("'%s' is not a valid PromptType", p.Type)
}

func twice(first, confirm string, multiline bool, previous *string) (string, error) {
	for left := 2; ; left-- {
		fmt.Print(first)
		value, err := input(multiline, true, previous)
		if err != nil || previous != nil && value == *previous {
			return value, err
		}
		fmt.Print(confirm)
		again, err := input(multiline, true, nil)
		if err != nil || again == value {
			return value, err
		}
		if left == 0 {
			return "", says("Failed to confirm value after 3 attempts.")
		}
		info("Values do not match. %d attempts remaining.", left)
	}
}

// input reads keys from a terminal in raw mode.
func input(multiline, hidden bool, previous *string) (string, error) {
	fd := int(os.Stdin.Fd())
	old, err := term.GetState(fd)
	if err != nil {
		fmt.Fprint(os.Stderr, "Traceback (most recent call last):\n  File \"clan_lib/vars/prompt.py\", line 90, in get_input\n    old_settings = termios.tcgetattr(fd)\ntermios.error: (25, 'Inappropriate ioctl for device')\n")
		return "", errTraceback
	}
	e := editor{multiline: multiline, hidden: hidden, previous: previous}
	e.prefill()
	if _, err := term.MakeRaw(fd); err != nil {
		return "", err
	}
	err = e.read()
	_ = term.Restore(fd, old)
	fmt.Println()
	if err != nil {
		return "", err
	}
	if e.kept {
		return *previous, nil
	}
	return strings.Join(e.lines, "\n"), nil
}

// An editor is what is typed so far.
type editor struct {
	multiline, hidden bool
	previous          *string
	marker, kept      bool
	lines             []string
	line              []rune
}

// prefill shows the previous value, or what stands for it.
func (e *editor) prefill() {
	switch {
	case e.previous == nil:
	case e.hidden:
		e.marker = true
		fmt.Print(keep)
	case e.multiline:
		all := strings.Split(*e.previous, "\n")
		e.lines, e.line = all[:len(all)-1], []rune(all[len(all)-1])
		fmt.Print(*e.previous)
	default:
		e.line = []rune(*e.previous)
		fmt.Print(*e.previous)
	}
}

func (e *editor) read() error {
	for {
		r, _, err := typed.ReadRune()
		if err != nil || r == ctrlC {
			return says("User cancelled the input.")
		}
		if e.marker {
			fmt.Print(strings.Repeat("\b \b", len(keep)))
			if e.marker = false; r == '\r' || r == '\n' || r == ctrlD {
				e.kept = true
				return nil
			}
			if r != del && r != backspace {
				e.line = append(e.line, r)
			}
			continue
		}
		if e.key(r) {
			return nil
		}
	}
}

// key takes one key, and says whether it was the last.
func (e *editor) key(r rune) (done bool) {
	switch {
	case r == ctrlD:
		if len(e.line) > 0 {
			e.lines = append(e.lines, string(e.line))
		}
		return true
	case r == '\r' || r == '\n':
		e.lines, e.line = append(e.lines, string(e.line)), nil
		if e.multiline {
			fmt.Print("\r\n")
		}
		return !e.multiline
	case r == del || r == backspace:
		if len(e.line) > 0 {
			e.line = e.line[:len(e.line)-1]
			if !e.hidden {
				fmt.Print("\b \b")
			}
		}
		return false
	}
	e.line = append(e.line, r)
	if !e.hidden {
		fmt.Print(string(r))
	}
	return false
}
