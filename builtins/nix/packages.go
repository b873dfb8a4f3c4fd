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

// packageDiff says in which packages two closures differ, a line each, sorted
// by name. What was only built anew, without another version, is counted.
func packageDiff(before, after []string) string {
	was, is := versionsOf(before), versionsOf(after)
	all := maps.Clone(was)
	maps.Copy(all, is)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if line := packageChange(name, was[name], is[name]); line != "" {
			lines = append(lines, line)
		}
	}
	if n := rebuilt(before, after); n > 0 {
		lines = append(lines, count(n, "path")+" rebuilt, of the same version")
	}
	return strings.Join(lines, "\n")
}

func packageChange(name string, was, is []string) string {
	switch {
	case slices.Equal(was, is):
		return ""
	case was == nil:
		return strings.TrimRight(name+": added "+listed(is), " ")
	case is == nil:
		return strings.TrimRight(name+": removed "+listed(was), " ")
	}
	return fmt.Sprintf("%s: %s -> %s", name, orNone(was), orNone(is))
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
