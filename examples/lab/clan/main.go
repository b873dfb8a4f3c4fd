// Clan is a stand-in for the CLI of the same name, for the lab and for tests.
//
// It takes exactly what clan's own parser takes (clan-cli.json), in the same
// places: flags of a command behind it and nowhere else. Of the commands it
// carries out those that infra drives, and those that one looks with: it keeps
// real vars in the real layout, encrypted by sops to age keys, asks prompts on
// a terminal in raw mode and fails without one, commits in the middle unless
// CLAN_NO_COMMIT is set, and its exit codes lie where clan's do.
//
// It differs where a lab without a network has to: generators run without a
// sandbox, their script is a text or a program, and install copies a system to
// a machine that runs already instead of partitioning its disks.
//
// LAB_CLAN_FAULT, for tests, makes a command go wrong in a way that its exit
// code does not tell.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit code: 0, 1 for what failed, 2 for what the parser
// refuses.
func run(args []string) int {
	call, err := parse(args)
	var wrong usageError
	switch {
	case errors.Is(err, errHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(os.Stderr, wrong)
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	act, ok := commands[call.name]
	if !ok {
		fmt.Fprintf(os.Stderr, "clan %s: the stand-in takes its arguments, and does nothing\n", call.name)
		return 1
	}
	if err := act(call); err != nil {
		if !errors.Is(err, errTraceback) {
			fmt.Fprintln(os.Stderr, "ERROR:", err)
		}
		return 1
	}
	return 0
}

// commands are those that are carried out.
var commands = map[string]func(call) error{
	"vars generate":                   generate,
	"vars set":                        set,
	"vars list":                       list,
	"vars check":                      check,
	"machines list":                   listMachines,
	"machines install":                install,
	"machines init-hardware-config":   hardware,
	"machines update-hardware-config": hardware,
	"ssh":                             ssh,
}

// fault says whether a test asks for one.
func fault(name string) bool { return os.Getenv("LAB_CLAN_FAULT") == name }

// A message is an error in clan's own words.
type message string

func (m message) Error() string { return string(m) }

func says(format string, args ...any) error { return message(fmt.Sprintf(format, args...)) }

// info prints as clan's logger does, on standard error.
func info(format string, args ...any) {
	fmt.Fprintln(os.Stderr, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
}
