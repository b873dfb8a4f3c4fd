package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// surface is what clan's own parser takes. builtins/clan holds infra to the
// same file.
//
//go:embed clan-cli.json
var surface []byte

type leaf struct {
	Command []string
	Aliases [][]string
	Args    []arg
}

type arg struct {
	Flags      []string
	Positional string
	Nargs      any // nil, a number, "?", "*", "+" or "..."
	Choices    []string
	Default    string
}

// A call is a command with its arguments.
type call struct {
	name       string
	positional []string
	flags      map[string][]string // by the first of a flag's names; the values of its last use
}

// has says whether a switch was given.
func (c call) has(flag string) bool { return c.flags[flag] != nil }

// one is a flag's value, or "".
func (c call) one(flag string) string {
	if v := c.flags[flag]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

var errHelp = errors.New("help was asked for")

// usageError is what the parser refuses; it ends the program with 2.
type usageError string

func (e usageError) Error() string { return string(e) }

// commonFlags belong to every leaf.
var commonFlags = []arg{
	{Flags: []string{"--debug"}, Nargs: 0.0},
	{Flags: []string{"--option"}, Nargs: 2.0},
	{Flags: []string{"--flake"}},
}

func parse(args []string) (call, error) {
	var all struct{ Leaves []leaf }
	if err := json.Unmarshal(surface, &all); err != nil {
		return call{}, err
	}
	for i := range all.Leaves {
		l := &all.Leaves[i]
		if n := l.matches(args); n > 0 {
			l.Args = append(l.Args, commonFlags...)
			return l.parse(args[n:])
		}
	}
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") || len(args) == 0 {
		fmt.Println("usage: clan [-h] [--version] {show,init,backups,templates,flash,ssh,secrets,vars,machines,select,network} ...")
		return call{}, errHelp
	}
	return call{}, usageError("usage: clan [-h] ...\nclan: error: argument command: invalid choice: '" + strings.Join(args, " ") + "'")
}

// matches returns how many words name the leaf, by name or alias; 0 is not it.
func (l *leaf) matches(args []string) int {
	if len(args) < len(l.Command) {
		return 0
	}
	for i, name := range l.Command {
		if args[i] != name && !(i < len(l.Aliases) && slices.Contains(l.Aliases[i], args[i])) {
			return 0
		}
	}
	return len(l.Command)
}

func (l *leaf) parse(words []string) (call, error) {
	c := call{name: strings.Join(l.Command, " "), flags: map[string][]string{}}
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		if w == "-h" || w == "--help" {
			fmt.Print(l.help())
			return c, errHelp
		}
		if !strings.HasPrefix(w, "-") || w == "-" {
			c.positional = append(c.positional, w)
			continue
		}
		name, value, joined := strings.Cut(w, "=")
		i := slices.IndexFunc(l.Args, func(a arg) bool { return slices.Contains(a.Flags, name) })
		if i < 0 {
			return c, l.wrong("unrecognized arguments: %s", w)
		}
		if joined {
			words = append([]string{value}, words...)
		}
		values, rest, err := l.values(l.Args[i], name, words)
		if err != nil {
			return c, err
		}
		c.flags[l.Args[i].Flags[0]], words = append([]string{}, values...), rest
	}
	return c, l.count(c)
}

// values takes a flag's values from the words behind it.
func (l *leaf) values(a arg, name string, words []string) (values, rest []string, err error) {
	n := 1
	switch nargs := a.Nargs.(type) {
	case float64:
		n = int(nargs)
	case string:
		n = 0
		for n < len(words) && (nargs == "..." || !strings.HasPrefix(words[n], "-")) {
			n++
		}
	}
	if len(words) < n || slices.ContainsFunc(words[:n], func(w string) bool { return a.Nargs != "..." && strings.HasPrefix(w, "-") }) {
		return nil, nil, l.wrong("argument %s: expected %d arguments", name, n)
	}
	for _, v := range words[:n] {
		if len(a.Choices) > 0 && !slices.Contains(a.Choices, v) {
			return nil, nil, l.wrong("argument %s: invalid choice: '%s' (choose from %s)", name, v, strings.Join(a.Choices, ", "))
		}
	}
	return words[:n], words[n:], nil
}

func (l *leaf) count(c call) error {
	least, most := 0, 0
	var names []string
	for _, a := range l.Args {
		switch {
		case a.Positional == "":
		case a.Nargs == "*":
			most = 1 << 20
		case a.Nargs == "?":
			most++
		default:
			least, most = least+1, most+1
			names = append(names, a.Positional)
		}
	}
	switch {
	case len(c.positional) < least:
		return l.wrong("the following arguments are required: %s", strings.Join(names[len(c.positional):], ", "))
	case len(c.positional) > most:
		return l.wrong("unrecognized arguments: %s", strings.Join(c.positional[most:], " "))
	}
	return nil
}

func (l *leaf) wrong(format string, args ...any) error {
	name := strings.Join(l.Command, " ")
	return usageError(fmt.Sprintf("usage: clan %s [-h] ...\nclan %s: error: %s", name, name, fmt.Sprintf(format, args...)))
}

// help prints as argparse does, as far as programs read it: the flags of an
// option, joined by commas, at the beginning of a line.
func (l *leaf) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usage: clan %s [-h]", strings.Join(l.Command, " "))
	for _, a := range l.Args {
		if len(a.Flags) > 0 {
			fmt.Fprintf(&b, " [%s]", a.Flags[0])
		}
	}
	b.WriteString("\n\npositional arguments:\n")
	for _, a := range l.Args {
		if a.Positional != "" {
			fmt.Fprintf(&b, "  %-22s what to work on, with --no-such-flag in its words\n", a.Positional)
		}
	}
	b.WriteString("\noptions:\n  -h, --help            show this help message and exit\n")
	for _, a := range l.Args {
		if len(a.Flags) == 0 {
			continue
		}
		flags := slices.Clone(a.Flags)
		if a.Nargs != 0.0 {
			for i := range flags {
				flags[i] += " VALUE"
			}
		}
		fmt.Fprintf(&b, "  %s\n                        in the manner of --another-flag\n", strings.Join(flags, ", "))
	}
	return b.String()
}
