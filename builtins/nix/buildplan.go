package nix

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"infra/runtime"
)

// parseBuilt reads the path and the derivation from `nix build --json`. An
// element is an object of a derivation and its outputs; for what was built
// already, an object of a path (2.8) or the path itself (later, and Lix).
func parseBuilt(stdout string) (*runtime.StorePath, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal([]byte(stdout), &elements); err != nil {
		return nil, fmt.Errorf("nix build --json said what is no JSON list: %w", err)
	}
	if len(elements) != 1 {
		return nil, fmt.Errorf("the installable names %d things to build: name one", len(elements))
	}
	var path string
	if json.Unmarshal(elements[0], &path) == nil && path != "" {
		return &runtime.StorePath{Path: path}, nil
	}
	var built struct {
		Path    string
		DrvPath string
		Outputs map[string]*string
	}
	if err := json.Unmarshal(elements[0], &built); err != nil {
		return nil, fmt.Errorf("nix build --json: %w", err)
	}
	if built.Path != "" {
		return &runtime.StorePath{Path: built.Path}, nil
	}
	if built.DrvPath == "" {
		return nil, fmt.Errorf("nix build --json names neither a path nor a derivation: %s", elements[0])
	}
	path = outputOf(built.Outputs)
	if path == "" {
		return nil, fmt.Errorf("the path of %s is not known before it is built", built.DrvPath)
	}
	return &runtime.StorePath{Path: path, Drv: built.DrvPath}, nil
}

// outputOf returns the output "out", or the first by name.
func outputOf(outputs map[string]*string) string {
	for _, name := range append([]string{"out"}, slices.Sorted(maps.Keys(outputs))...) {
		if p := outputs[name]; p != nil {
			return *p
		}
	}
	return ""
}

// A buildPlan is what a build would do, as `nix build --dry-run` says it.
type buildPlan struct {
	build, fetch []string // store paths
	fetched      string   // "1.2 MiB download, 5.0 MiB unpacked"
}

// parsePlan reads the lists that follow lines such as "these 2 derivations
// will be built:" and "this path will be fetched (...):". What it does not
// know it passes over.
func parsePlan(stderr string) buildPlan {
	var p buildPlan
	var list *[]string
	for line := range strings.Lines(stderr) {
		line = strings.TrimRight(line, "\r\n")
		path, listed := strings.CutPrefix(line, "  /nix/store/")
		switch {
		case listed && list != nil:
			*list = append(*list, "/nix/store/"+path)
		case strings.Contains(line, "will be built"):
			list = &p.build
		case strings.Contains(line, "will be fetched"):
			list = &p.fetch
			p.fetched = within(line, "(", ")")
		case !listed:
			list = nil
		}
	}
	return p
}

// within returns what stands between two marks of a line, or "".
func within(line, from, to string) string {
	_, rest, _ := strings.Cut(line, from)
	inner, _, found := strings.Cut(rest, to)
	if !found {
		return ""
	}
	return inner
}

// String lists what would be built and fetched, by name.
func (p buildPlan) String() string {
	var parts []string
	if len(p.build) > 0 {
		parts = append(parts, count(len(p.build), "derivation")+" would be built:"+names(p.build))
	}
	if len(p.fetch) > 0 {
		title := count(len(p.fetch), "path") + " would be fetched"
		if p.fetched != "" {
			title += " (" + p.fetched + ")"
		}
		parts = append(parts, title+":"+names(p.fetch))
	}
	return strings.Join(parts, "\n")
}

// names lists store paths without store and hash, one a line and not too many.
func names(paths []string) string {
	const shown = 20
	var b strings.Builder
	for _, p := range paths[:min(len(paths), shown)] {
		fmt.Fprintf(&b, "\n  %s", strings.TrimSuffix((&runtime.StorePath{Path: p}).Name(), ".drv"))
	}
	if more := len(paths) - shown; more > 0 {
		fmt.Fprintf(&b, "\n  … %d more", more)
	}
	return b.String()
}
