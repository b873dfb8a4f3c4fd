package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"infra/examples/lab/fleet"
)

const (
	currentSystem = "/run/current-system"
	profiles      = "/nix/var/nix/profiles/system-"
	activations   = "/var/log/activations"
)

// A snapshot is what every host of the fleet was like at one time.
type snapshot map[string]hostState

type hostState struct {
	files       map[string]fleet.File
	activations []string
}

func takeSnapshot(f *fleet.Fleet) (snapshot, error) {
	s := snapshot{}
	running, err := f.Running()
	if err != nil {
		return nil, err
	}
	for _, h := range f.Hosts() {
		if running[h.Name] == 0 {
			continue
		}
		files, err := f.Files(h.Name)
		if err != nil {
			return nil, err
		}
		log, err := f.Read(h.Name, activations)
		if err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", activations, h.Name, err)
		}
		s[h.Name] = hostState{files, slices.Collect(strings.Lines(log))}
	}
	return s, nil
}

// printChanges says, host by host, what is different after.
func printChanges(w io.Writer, before, after snapshot) {
	var same []string
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[name]; !ok {
			fmt.Fprintf(w, "\n%s is gone\n", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok {
			fmt.Fprintf(w, "\n%s is new: it runs %s\n", name, orNone(after[name].files[currentSystem].Target))
			continue
		}
		lines := changesOf(before[name], after[name])
		if len(lines) == 0 {
			same = append(same, name)
			continue
		}
		fmt.Fprintf(w, "\nwhat changed on %s:\n", name)
		for _, l := range lines {
			fmt.Fprintln(w, "  "+l)
		}
	}
	if len(same) > 0 {
		fmt.Fprintf(w, "\nno change on %s\n", strings.Join(same, ", "))
	}
}

// changesOf lists the differences that a person asks for first; of the store
// and nix's own files it gives the number.
func changesOf(before, after hostState) []string {
	var lines []string
	others := 0
	for _, name := range changedPaths(before.files, after.files) {
		was, is := before.files[name], after.files[name]
		switch {
		case name == currentSystem || strings.HasPrefix(name, profiles):
			lines = append(lines, fmt.Sprintf("%s: %s -> %s", name, orNone(was.Target), orNone(is.Target)))
		case name == activations || is.Mode.IsDir() || was.Mode.IsDir() && is == (fleet.File{}):
		case strings.HasPrefix(name, "/nix/") || strings.HasPrefix(name, "/root/."):
			others++
		default:
			lines = append(lines, fmt.Sprintf("%s: %s", name, fileChange(was, is)))
		}
	}
	if others > 0 {
		lines = append(lines, fmt.Sprintf("and %d files of /nix and of root's nix profile", others))
	}
	for _, a := range after.activations[min(len(before.activations), len(after.activations)):] {
		lines = append(lines, activations+": "+strings.TrimSpace(a))
	}
	return lines
}

func changedPaths(before, after map[string]fleet.File) []string {
	changed := map[string]bool{}
	for name, file := range after {
		if was, ok := before[name]; !ok || was != file {
			changed[name] = true
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			changed[name] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}

func fileChange(was, is fleet.File) string {
	none := fleet.File{}
	if is == none {
		return "removed"
	}
	how := "changed"
	if was == none {
		how = "new"
	}
	if is.Target != "" {
		return how + ", a link to " + is.Target
	}
	return fmt.Sprintf("%s, %d bytes, mode %04o, owner %s", how, is.Size, is.Mode.Perm(), is.Owner)
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
