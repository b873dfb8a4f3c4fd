package clan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A leaf is a command of clan's that takes arguments: a path of subcommands.
type leaf string

// The leaves that are driven. Of the others, clan ssh exits 0 whatever the
// remote command does, machines update is what nix.copy and nix.switch are for,
// and what reads is read from the files.
const (
	varsGenerate    leaf = "vars generate"
	varsSet         leaf = "vars set"
	machinesInstall leaf = "machines install"
	updateHardware  leaf = "machines update-hardware-config"
)

// An importance says what to do where an installed clan does not know a flag.
type importance uint8

const (
	cosmetic importance = iota // it is left out
	needed                     // what the plan asks for cannot be done without it
	safety                     // without it clan would do what nobody asked for, or wait for a person
)

// An option is what a flag of clan's is called here.
type option struct {
	flag       string
	bare       bool // it takes no value
	choices    []string
	importance importance
}

// options is the one place that knows clan's flags. flake is last of every
// leaf's arguments: the common flags belong to the leaf and not before it.
var options = map[leaf]map[string]option{
	varsGenerate: {
		"generator":  {flag: "--generator", importance: needed},
		"regenerate": {flag: "--regenerate", bare: true, importance: needed},
		"no_sandbox": {flag: "--no-sandbox", bare: true, importance: needed},
		"flake":      {flag: "--flake", importance: safety},
	},
	varsSet: {
		"flake": {flag: "--flake", importance: safety},
	},
	machinesInstall: {
		"target":           {flag: "--target-host", importance: safety},
		"identity":         {flag: "-i", importance: needed},
		"yes":              {flag: "--yes", bare: true, importance: safety},
		"no_persist_state": {flag: "--no-persist-state", bare: true, importance: safety},
		"build_on":         {flag: "--build-on", choices: []string{"auto", "local", "remote"}, importance: needed},
		"kexec":            {flag: "--kexec", importance: needed},
		"host_key_check":   {flag: "--host-key-check", choices: hostKeyChecks, importance: cosmetic},
		"flake":            {flag: "--flake", importance: safety},
	},
	updateHardware: {
		"target":         {flag: "--target-host", importance: safety},
		"identity":       {flag: "-i", importance: needed},
		"yes":            {flag: "--yes", bare: true, importance: safety},
		"backend":        {flag: "--backend", choices: []string{"nixos-generate-config", "nixos-facter"}, importance: needed},
		"host_key_check": {flag: "--host-key-check", choices: hostKeyChecks, importance: safety},
		"flake":          {flag: "--flake", importance: safety},
	},
}

// hostKeyChecks leaves out ask, which waits for a person, and what not every
// version knows.
var hostKeyChecks = []string{"strict", "accept-new", "none"}

// An invocation is one call of clan.
type invocation struct {
	leaf       leaf
	positional []string
	settings   []setting
	flake      string // an absolute path
}

// A setting is an option as it is given; value is "" where it takes none.
type setting struct{ name, value string }

// argv is the argument list for a clan that knows the flags in known; nil is
// one that knows all. Every flag stands behind the leaf and its positional
// arguments, flake last.
func (i invocation) argv(known map[string]bool) ([]string, error) {
	argv := append([]string{"clan"}, strings.Fields(string(i.leaf))...)
	for _, p := range i.positional {
		if err := checkWord(p); err != nil {
			return nil, err
		}
		argv = append(argv, p)
	}
	for _, s := range append(slices.Clip(i.settings), setting{"flake", i.flake}) {
		o, ok := options[i.leaf][s.name]
		if !ok {
			return nil, fmt.Errorf("clan %s has no option %s", i.leaf, s.name)
		}
		words, err := o.words(i.leaf, s, known)
		if err != nil {
			return nil, err
		}
		argv = append(argv, words...)
	}
	return argv, nil
}

func (o option) words(l leaf, s setting, known map[string]bool) ([]string, error) {
	switch {
	case known != nil && !known[o.flag] && o.importance == cosmetic:
		return nil, nil
	case known != nil && !known[o.flag]:
		return nil, fmt.Errorf("the installed clan has no %s %s", l, o.flag)
	case o.bare:
		return []string{o.flag}, nil
	case len(o.choices) > 0 && !slices.Contains(o.choices, s.value):
		return nil, fmt.Errorf("%s: %q is none of %s", s.name, s.value, strings.Join(o.choices, ", "))
	}
	if err := checkWord(s.value); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return []string{o.flag, s.value}, nil
}

// checkWord refuses what argparse would take for a flag, or for nothing.
func checkWord(w string) error {
	switch {
	case w == "":
		return errors.New("it is empty")
	case strings.HasPrefix(w, "-"):
		return fmt.Errorf("%q begins with a dash", w)
	case strings.ContainsAny(w, "\x00\n"):
		return fmt.Errorf("%q is not one line", w)
	}
	return nil
}
