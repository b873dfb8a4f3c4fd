package clan

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// A contract is what clan's own parser takes.
type contract struct {
	Origin string
	Leaves []struct {
		Command []string
		Args    []contractArg
	}
}

type contractArg struct {
	Flags      []string
	Positional string
	Nargs      any // nil, a number, "?", "*", "+" or "..."
	Choices    []string
}

// commonArgs are taken by every leaf, and by nothing but leaves.
var commonArgs = []contractArg{{Flags: []string{"--debug"}, Nargs: 0.0}, {Flags: []string{"--option"}, Nargs: 2.0}, {Flags: []string{"--flake"}}}

func readContract(t testing.TB) contract {
	t.Helper()
	data, err := os.ReadFile("testdata/clan-cli.json")
	if err != nil {
		t.Fatal(err)
	}
	var c contract
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	if c.Origin == "" || len(c.Leaves) < 50 {
		t.Fatalf("the contract has %d leaves, and says %q of its origin", len(c.Leaves), c.Origin)
	}
	return c
}

// accepts says why clan's parser would refuse an argument list.
func (c contract) accepts(argv []string) error {
	if len(argv) == 0 || argv[0] != "clan" {
		return fmt.Errorf("%q does not start clan", argv)
	}
	for _, l := range c.Leaves {
		n := len(l.Command)
		if len(argv) > n && slices.Equal(argv[1:n+1], l.Command) {
			return accept(append(slices.Clip(l.Args), commonArgs...), argv[n+1:])
		}
	}
	return fmt.Errorf("%q is no leaf", argv)
}

func accept(args []contractArg, words []string) error {
	var positional []string
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		if !strings.HasPrefix(w, "-") {
			positional = append(positional, w)
			continue
		}
		i := slices.IndexFunc(args, func(a contractArg) bool { return slices.Contains(a.Flags, w) })
		if i < 0 {
			return fmt.Errorf("unrecognized arguments: %s", w)
		}
		n := 1
		switch nargs := args[i].Nargs.(type) {
		case float64:
			n = int(nargs)
		case string:
			return fmt.Errorf("%s takes %s arguments, which is not driven", w, nargs)
		}
		if len(words) < n || slices.ContainsFunc(words[:n], func(v string) bool { return strings.HasPrefix(v, "-") }) {
			return fmt.Errorf("%s: expected %d arguments", w, n)
		}
		for _, v := range words[:n] {
			if c := args[i].Choices; len(c) > 0 && !slices.Contains(c, v) {
				return fmt.Errorf("%s: invalid choice: %s", w, v)
			}
		}
		words = words[n:]
	}
	least, most := 0, 0
	for _, a := range args {
		switch {
		case a.Positional == "":
		case a.Nargs == "*":
			most += 1000
		case a.Nargs == "?":
			most++
		default:
			least, most = least+1, most+1
		}
	}
	if len(positional) < least || len(positional) > most {
		return fmt.Errorf("%d positional arguments, wanted %d to %d", len(positional), least, most)
	}
	return nil
}

// positionals of the leaves that are driven.
var positionals = map[leaf][]string{
	varsGenerate: {"blackphos"}, varsSet: {"blackphos", "gen/file"}, machinesInstall: {"cinnabar"},
	updateHardware: {"cinnabar"},
}

// TestContract checks every argument list that can come of the options, each
// on, off and with each of its choices, against clan's own parser.
func TestContract(t *testing.T) {
	c := readContract(t)
	checked := 0
	for l := range options {
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(options[l])), func(n string) bool { return n == "flake" })
		every(l, names, nil, func(given []setting) {
			argv, err := invocation{l, positionals[l], given, "/home/me/infra"}.argv(nil)
			if err == nil {
				err = c.accepts(argv)
			}
			if err != nil {
				t.Errorf("%q: %v", argv, err)
			}
			if argv[len(argv)-2] != "--flake" || argv[len(argv)-1] != "/home/me/infra" {
				t.Errorf("%q does not end with the flake", argv)
			}
			checked++
		})
	}
	if want := 8 + 1 + 32*4*4 + 8*3*4; checked != want {
		t.Errorf("%d argument lists were checked, not %d", checked, want)
	}
}

// every calls do with all combinations of the named options.
func every(l leaf, names []string, given []setting, do func([]setting)) {
	if len(names) == 0 {
		do(given)
		return
	}
	name, rest := names[0], names[1:]
	every(l, rest, given, do)
	o := options[l][name]
	values := o.choices
	if len(values) == 0 {
		values = []string{"value"}
	}
	for _, v := range values {
		every(l, rest, append(slices.Clip(given), setting{name, v}), do)
	}
}

// TestTheContractRefuses shows that the contract finds what is wrong.
func TestTheContractRefuses(t *testing.T) {
	c := readContract(t)
	for _, tt := range []struct{ argv, want string }{
		{"clan vars generate m --flake /f", ""},
		{"clan vars generate m --no-sandbx --flake /f", "unrecognized arguments: --no-sandbx"},
		{"clan --flake /f vars generate m", "is no leaf"},
		{"clan vars --flake /f generate m", "is no leaf"},
		{"clan vars set m --flake /f", "1 positional arguments"},
		{"clan vars set m gen/file value --flake /f", "3 positional arguments"},
		{"clan machines install m --build-on here --flake /f", "invalid choice: here"},
		{"clan machines install m --kexec --flake /f", "--kexec: expected 1 arguments"},
		{"clan machines install m --phases", "--phases: expected 1 arguments"},
	} {
		err := c.accepts(strings.Fields(tt.argv))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.argv, err, tt.want)
		}
	}
}

// TestMisspeltFlag: a flag of ours that clan does not have is found by the
// contract, whichever it is.
func TestMisspeltFlag(t *testing.T) {
	c := readContract(t)
	for l, of := range options {
		for name, o := range of {
			value := "value"
			if len(o.choices) > 0 {
				value = o.choices[0]
			}
			argv, err := invocation{l, positionals[l], []setting{{name, value}}, "/f"}.argv(nil)
			if err != nil {
				t.Fatal(err)
			}
			argv[slices.Index(argv, o.flag)] = o.flag + "x"
			if err := c.accepts(argv); err == nil || !strings.Contains(err.Error(), "unrecognized arguments: "+o.flag+"x") {
				t.Errorf("%q was accepted: %v", argv, err)
			}
		}
	}
}

func TestMissingFlags(t *testing.T) {
	known := func(flags ...string) map[string]bool {
		m := map[string]bool{"--flake": true}
		for _, f := range flags {
			m[f] = true
		}
		return m
	}
	base := []setting{{"target", "root@h"}, {"yes", ""}, {"no_persist_state", ""}, {"host_key_check", "strict"}}
	for _, tt := range []struct {
		known map[string]bool
		want  string
	}{
		{known("--target-host", "--yes", "--no-persist-state", "--host-key-check"), "clan machines install m --target-host root@h --yes --no-persist-state --host-key-check strict --flake /f"},
		{known("--target-host", "--yes", "--no-persist-state"), "clan machines install m --target-host root@h --yes --no-persist-state --flake /f"},
		{known("--target-host", "--yes"), "the installed clan has no machines install --no-persist-state"},
		{known("--target-host", "--no-persist-state"), "the installed clan has no machines install --yes"},
		{map[string]bool{}, "the installed clan has no machines install --target-host"},
	} {
		argv, err := invocation{machinesInstall, []string{"m"}, base, "/f"}.argv(tt.known)
		got := strings.Join(argv, " ")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// TestWords: nothing that a plan says becomes a flag, or no argument.
func TestWords(t *testing.T) {
	for _, i := range []invocation{
		{varsGenerate, []string{"--fake-prompts"}, nil, "/f"},
		{varsGenerate, []string{""}, nil, "/f"},
		{varsGenerate, []string{"m"}, []setting{{"generator", "-r"}}, "/f"},
		{varsGenerate, []string{"m"}, []setting{{"generator", "a\nb"}}, "/f"},
		{varsGenerate, []string{"m"}, []setting{{"password", "x"}}, "/f"},
		{machinesInstall, []string{"m"}, []setting{{"host_key_check", "ask"}}, "/f"},
	} {
		if argv, err := i.argv(nil); err == nil {
			t.Errorf("%q was made", argv)
		}
	}
}
