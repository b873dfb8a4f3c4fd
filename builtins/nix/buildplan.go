package nix

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
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
	lost         []string // store paths that nix knows no way to get
	fetched      string   // "1.2 MiB download, 5.0 MiB unpacked"
}

// A planReader reads the lists that follow lines such as "these 2 derivations
// will be built:" and "this path will be fetched (...):" from what nix says,
// as it comes. What it does not know it passes over.
type planReader struct {
	plan buildPlan
	list *[]string // the one that the next lines belong to
}

// The headings of the lists, with and without a number, and with and without sizes.
var (
	buildHeading = regexp.MustCompile(`^(?:this derivation|these(?: \S+)? derivations) will be built:$`)
	fetchHeading = regexp.MustCompile(`^(?:this path|these(?: \S+)? paths) will be fetched(?: \(([^()]*)\))?:$`)
	lostHeading  = regexp.MustCompile(`^don't know how to build these paths(?: \([^()]*\))?:$`)
	listedPath   = regexp.MustCompile(`^  (/nix/store/\S+)$`)
	colour       = regexp.MustCompile("\x1b\\[[0-9;]*m")
)

// Write takes whole lines.
func (r *planReader) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		r.read(strings.TrimRight(colour.ReplaceAllString(line, ""), " \r\n"))
	}
	return len(p), nil
}

func (r *planReader) read(line string) {
	if line == "" {
		return
	}
	if path := listedPath.FindStringSubmatch(line); path != nil && r.list != nil {
		*r.list = append(*r.list, path[1])
		return
	}
	r.list = nil
	if buildHeading.MatchString(line) {
		r.list = &r.plan.build
	} else if sizes := fetchHeading.FindStringSubmatch(line); sizes != nil {
		r.list, r.plan.fetched = &r.plan.fetch, sizes[1]
	} else if lostHeading.MatchString(line) {
		r.list = &r.plan.lost
	}
}

// obstacle is the error of a build for which nix lacks something: it would
// fail before it begins.
func (p buildPlan) obstacle(goal *runtime.StorePath) error {
	if len(p.lost) == 0 {
		return nil
	}
	return runtime.WithHint(fmt.Errorf("%s cannot be had here: nix finds neither a derivation nor a cache for%s",
		goal.Name(), listing(p.lost, func(path string) string { return path })),
		"build it from its flake, .#name, or add a cache that has it to the substituters of nix")
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

// names lists store paths without store and hash.
func names(paths []string) string {
	return listing(paths, func(path string) string {
		return strings.TrimSuffix((&runtime.StorePath{Path: path}).Name(), ".drv")
	})
}

// listing shows items by what word says of each, sorted, one a line and not too many.
func listing(items []string, word func(string) string) string {
	const shown = 20
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = word(item)
	}
	slices.Sort(words)
	return indented(words, shown)
}

// indented puts each of lines on a line of its own, and cuts them after most.
func indented(lines []string, most int) string {
	var b strings.Builder
	for _, line := range lines[:min(len(lines), most)] {
		b.WriteString("\n  " + line)
	}
	if more := len(lines) - most; more > 0 {
		fmt.Fprintf(&b, "\n  … %d more", more)
	}
	return b.String()
}

// outputsIn are the names of the outputs that `nix build --json` tells.
func outputsIn(stdout string) []string {
	var elements []struct{ Outputs map[string]*string }
	if json.Unmarshal([]byte(stdout), &elements) != nil || len(elements) != 1 || len(elements[0].Outputs) == 0 {
		return []string{"out"}
	}
	return slices.Sorted(maps.Keys(elements[0].Outputs))
}
