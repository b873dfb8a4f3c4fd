package main

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSurface: the stand-in takes what infra is held to.
func TestSurface(t *testing.T) {
	held, err := os.ReadFile("../../../builtins/clan/testdata/clan-cli.json")
	if err != nil || !bytes.Equal(held, surface) {
		t.Errorf("clan-cli.json is not the one of builtins/clan (%v)", err)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"vars generate m --flake /f -g gen -r", "vars generate [m] --flake=/f --generator=gen --regenerate="},
		{"va generate", "vars generate []"},
		{"m u a b --tags x y --no-check", "machines update [a b] --no-check= --tags=x y"},
		{"machines install --yes m --target-host=root@h", "machines install [m] --target-host=root@h --yes="},
		{"ssh m -c ls -la --x", "ssh [m] -c=ls -la --x"},
		{"--flake /f vars generate m", "2 invalid choice"},
		{"vars --flake /f generate m", "2 invalid choice"},
		{"vars generate --no-sandbx", "2 clan vars generate: error: unrecognized arguments: --no-sandbx"},
		{"vars set m", "2 the following arguments are required: var_id"},
		{"vars set m a/b c", "2 unrecognized arguments: c"},
		{"vars generate -g", "2 argument -g: expected 1 arguments"},
		{"machines install m --build-on here", "2 argument --build-on: invalid choice: 'here'"},
		{"facts list m", "2 invalid choice"},
	} {
		c, err := parse(strings.Fields(tt.args))
		var wrong usageError
		if code, text, isError := strings.Cut(tt.want, " "); isError && code == "2" {
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
			}
			continue
		}
		if got := shown(c); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.args, got, err, tt.want)
		}
	}
}

func shown(c call) string {
	text := c.name + " [" + strings.Join(c.positional, " ") + "]"
	var flags []string
	for name, values := range c.flags {
		flags = append(flags, name+"="+strings.Join(values, " "))
	}
	slices.Sort(flags)
	for _, f := range flags {
		text += " " + f
	}
	return text
}
