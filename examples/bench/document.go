package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// document is where --write keeps what was measured.
const document = "docs/benchmarks.md"

// packages are those that were measured.
var packages []string

func used(pkgs ...string) {
	for _, p := range pkgs {
		if !slices.Contains(packages, p) {
			packages = append(packages, p)
		}
	}
}

// machine describes what is measured on.
func machine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	system := ""
	release, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(release)) {
		if name, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			system = strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	memory := ""
	info, _ := os.ReadFile("/proc/meminfo")
	if fields := strings.Fields(string(info)); len(fields) > 1 && fields[0] == "MemTotal:" {
		var kib int
		if _, err := fmt.Sscan(fields[1], &kib); err == nil {
			memory = fmt.Sprintf("%.0f GiB, ", float64(kib)/(1<<20))
		}
	}
	return fmt.Sprintf("%s, %d cores, %s%s, Linux %s, %s", cpu(), runtime.NumCPU(), memory, system, strings.TrimSpace(string(kernel)), runtime.Version())
}

// versions names what was measured.
func versions() string {
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("of no known commit")
	}
	all := []string{"infra " + strings.TrimSpace(string(commit))}
	for _, p := range slices.Sorted(slices.Values(packages)) {
		all = append(all, p+" "+versionOf(p))
	}
	return strings.Join(all, ", ")
}

const preface = `# Benchmarks

Written by

    %s

on %s.

Measured: %s.

Hosts are sshd in a network namespace of this machine, each with an address, a key, a home and processes of its own. They share its cores with the
client, so what they have to do for a tool costs it time as well: that is the column *hosts' CPU*, which is not known where a tool keeps its
connections. Key exchange is curve25519 for all, and peers may work on 50 hosts at a time. Tools take turns, and figures are medians of the
rounds. What a tool was to do is looked for on every host after each round. *CPU* is that of the client and of all that it waited for; masters of
ControlMaster, which stay, are in neither CPU nor memory. *Memory* beside *client CPU* is the sum of the tool's processes, each page counted
once, looked at every %d ms in a round of its own; elsewhere it is the largest process. Only infra keeps a journal of what it does, locks each
host, and takes secrets out of what is printed; it does so here too.
%s
## What misses its limit

%s
`

// writeDocument keeps what was printed.
func writeDocument(args []string, tables []byte, missed []string) error {
	command := strings.Join(append([]string{"go run ./examples/bench"}, args...), " ")
	limits := "Nothing."
	if len(missed) > 0 {
		limits = "- " + strings.Join(missed, "\n- ")
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, preface, command, machine(), versions(), lookEvery.Milliseconds(), tables, limits)
	return os.WriteFile(document, text.Bytes(), 0o644)
}
