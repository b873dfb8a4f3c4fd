package nix

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"infra/runtime"
)

// outputSuffixes are the names of outputs as they end a path's name; they are
// no part of the version.
var outputSuffixes = []string{"bin", "dev", "debug", "devdoc", "doc", "info", "lib", "man", "out", "static"}

// packageVersion splits a store path's name as nix does: the version begins at
// the first dash that no letter follows.
func packageVersion(path string) (name, version string) {
	name = (&runtime.StorePath{Path: path}).Name()
	for _, output := range outputSuffixes {
		if trimmed, ok := strings.CutSuffix(name, "-"+output); ok {
			name = trimmed
			break
		}
	}
	for i := 0; i+1 < len(name); i++ {
		if name[i] == '-' && !isLetter(name[i+1]) {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// versionsOf lists each package's versions among paths.
func versionsOf(paths []string) map[string][]string {
	versions := map[string][]string{}
	for _, p := range paths {
		name, version := packageVersion(p)
		if !slices.Contains(versions[name], version) {
			versions[name] = append(versions[name], version)
		}
	}
	for _, v := range versions {
		slices.Sort(v)
	}
	return versions
}

// A comparison is how two closures differ.
type comparison struct {
	changed, added, removed int // packages
	rebuilt                 int // paths that were built anew, without another version
	lines                   []string
}

// comparePackages compares two closures package by package, sorted by name.
func comparePackages(before, after []string) comparison {
	was, is := versionsOf(before), versionsOf(after)
	all := maps.Clone(was)
	maps.Copy(all, is)
	c := comparison{rebuilt: rebuilt(before, after)}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c.add(name, was[name], is[name])
	}
	return c
}

func (c *comparison) add(name string, was, is []string) {
	line := ""
	switch {
	case slices.Equal(was, is):
		return
	case was == nil:
		c.added++
		line = strings.TrimRight(name+": added "+listed(is), " ")
	case is == nil:
		c.removed++
		line = strings.TrimRight(name+": removed "+listed(was), " ")
	default:
		c.changed++
		line = fmt.Sprintf("%s: %s -> %s", name, orNone(was), orNone(is))
	}
	c.lines = append(c.lines, line)
}

// String is a line for each package; it is empty for equal closures.
func (c comparison) String() string {
	lines := slices.Clone(c.lines)
	if c.rebuilt > 0 {
		lines = append(lines, c.rebuiltLine())
	}
	return strings.Join(lines, "\n")
}

func (c comparison) rebuiltLine() string {
	return count(c.rebuilt, "path") + " rebuilt, of the same version"
}

// brief is a title with the numbers, and not too many of the lines.
func (c comparison) brief() string {
	const shown = 30
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{c.changed, "changed"}, {c.added, "added"}, {c.removed, "removed"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	title := "the same packages"
	if len(parts) > 0 {
		title = "packages: " + strings.Join(parts, ", ")
	}
	if c.rebuilt > 0 {
		title += "; " + c.rebuiltLine()
	}
	return title + indented(c.lines, shown)
}

func listed(versions []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(versions), func(v string) bool { return v == "" }), ", ")
}

func orNone(versions []string) string {
	if s := listed(versions); s != "" {
		return s
	}
	return "no version"
}

// rebuilt counts the new paths whose name and version stood in a path before.
func rebuilt(before, after []string) int {
	type release struct{ name, version string }
	had, paths := map[release]bool{}, map[string]bool{}
	for _, p := range before {
		name, version := packageVersion(p)
		had[release{name, version}], paths[p] = true, true
	}
	n := 0
	for _, p := range after {
		name, version := packageVersion(p)
		if !paths[p] && had[release{name, version}] {
			n++
		}
	}
	return n
}
