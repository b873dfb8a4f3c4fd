package main

import (
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// typed is what infra is called with in a text in Markdown: in a line of its own, or
// within others.
var typed = regexp.MustCompile("(?m)^infra (.+)$|`infra ([^`]+)`")

// TestTheEmergencyPageCanBeTyped holds docs/emergency.md to the program: at 3 a.m. nobody
// wants to read a usage message. It has a command for each way out.
func TestTheEmergencyPageCanBeTyped(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/emergency.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, m := range typed.FindAllStringSubmatch(string(text), -1) {
		args := wordsOf(m[1] + m[2])
		if !slices.Contains(commands, args[0]) {
			commands = append(commands, args[0])
		}
		if err := parsed(args); err != nil {
			t.Errorf("infra %q: %v", args, err)
		}
	}
	slices.Sort(commands)
	if want := []string{"log", "report", "resume", "rollback", "run", "status", "undo", "unlock", "verify"}; !slices.Equal(commands, want) {
		t.Errorf("it has %q, want %q", commands, want)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil || !strings.Contains(string(readme), "(docs/emergency.md)") {
		t.Errorf("the README does not lead there: %v", err)
	}
}

// wordsOf are the words of a line, some of which are in double quotes.
func wordsOf(line string) (words []string) {
	for _, m := range regexp.MustCompile(`"([^"]*)"|\S+`).FindAllStringSubmatch(line, -1) {
		if m[1] == "" {
			m[1] = m[0]
		}
		words = append(words, m[1])
	}
	return words
}

// parsed says what is wrong with arguments, without doing anything.
func parsed(args []string) error {
	c, rest, err := newRoot(&app{stdin: strings.NewReader(""), stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}).Find(args)
	if err != nil {
		return err
	}
	c.SetOut(io.Discard)
	c.SetErr(io.Discard)
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}
