package sops

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/getsops/sops/v3"

	"infra/runtime"
)

// A spot is where a path leads in a tree: a name for each map and list on the
// way. The last of them need not be there yet.
type spot struct {
	document int // of a YAML file, counted from 0
	steps    []string
	there    bool
	old      any // what is there
}

// spotOf finds the spot of a path. As in [Document.Value], of keys with dots
// in them the longest that fits is taken; what is not there yet is split at its
// dots.
func (d *draft) spotOf(path string) (spot, error) {
	if d.file.Format == Binary {
		return d.whole(path)
	}
	best, depth := spot{}, -1
	for i, branch := range d.tree.Branches {
		s, found, err := d.walk(branch, path)
		if err != nil {
			return spot{}, err
		}
		if found > depth || s.there && !best.there {
			best, depth = s, found
			best.document = i
		}
	}
	return best, d.fits(path, best)
}

func (d *draft) whole(path string) (spot, error) {
	if path != "" {
		return spot{}, runtime.WithHint(fmt.Errorf("%s is a binary file: it has no keys", d.file.Name), `set it whole, with the path ""`)
	}
	s := spot{steps: []string{"data"}}
	for _, item := range d.tree.Branches[0] {
		if item.Key == any("data") {
			s.there, s.old = true, item.Value
		}
	}
	return s, nil
}

// walk takes the steps that a path has in one document; found is how many of
// them are there.
func (d *draft) walk(branch sops.TreeBranch, path string) (s spot, found int, err error) {
	at := cursor{node: branch, rest: path}
	for !at.done {
		next, ok := at.down()
		if !ok || !next.done && d.flat(len(s.steps)) {
			break
		}
		name := at.rest
		if !next.done {
			name = at.rest[:len(at.rest)-len(next.rest)-1]
		}
		s.steps = append(s.steps, name)
		at = next
	}
	found = len(s.steps)
	if at.done {
		s.there, s.old = true, at.node
		return s, found, nil
	}
	more, err := d.missingSteps(at, path, found)
	s.steps = append(s.steps, more...)
	return s, found, err
}

// flat says whether keys at a depth have nothing below them, so that a dot is
// part of the name.
func (d *draft) flat(depth int) bool {
	return d.file.Format == Dotenv || d.file.Format == INI && depth == 1
}

// missingSteps are those of a path that are to be made below a node.
func (d *draft) missingSteps(at cursor, path string, depth int) ([]string, error) {
	switch node := at.node.(type) {
	case sops.TreeBranch, nil:
	case []any:
		return d.nextElement(at, path, len(elements(node)))
	default:
		parent := strings.TrimSuffix(path[:len(path)-len(at.rest)], ".")
		return nil, runtime.WithHint(fmt.Errorf("%s[%s]: %s is a value, with nothing below it", d.file.Name, path, parent), "set %q", parent)
	}
	switch {
	case d.flat(depth):
		return []string{at.rest}, nil
	case d.file.Format == INI:
		section, key, ok := strings.Cut(at.rest, ".")
		if !ok || section == "" || key == "" {
			return nil, runtime.WithHint(fmt.Errorf("%s[%s]: a key of an INI file is in a section", d.file.Name, path), `write "section.key"`)
		}
		return []string{section, key}, nil
	}
	return d.names(at.rest, path)
}

// nextElement lets a list grow by one.
func (d *draft) nextElement(at cursor, path string, n int) ([]string, error) {
	first, rest, more := strings.Cut(at.rest, ".")
	if first != strconv.Itoa(n) {
		return nil, runtime.WithHint(fmt.Errorf("%s[%s]: the list has no element %q", d.file.Name, path, first), "it has %d, counted from 0; %d would be new", n, n)
	}
	if !more {
		return []string{first}, nil
	}
	names, err := d.names(rest, path)
	return append([]string{first}, names...), err
}

func (d *draft) names(rest, path string) ([]string, error) {
	names := strings.Split(rest, ".")
	for _, name := range names {
		if name == "" {
			return nil, runtime.WithHint(fmt.Errorf("%s[%s]: a key has no name", d.file.Name, path), `write keys with a dot between them: "db.password"`)
		}
	}
	return names, nil
}

// fits refuses to put a value in the place of a map or a list, or of what sops
// itself keeps in a file.
func (d *draft) fits(path string, s spot) error {
	if len(s.steps) == 0 {
		return fmt.Errorf("%s[%s]: %w", d.file.Name, path, errNoPlace)
	}
	if d.store.HasSopsTopLevelKey(sops.TreeBranch{{Key: s.steps[0]}}) {
		return fmt.Errorf("%s[%s]: the key %s is sops' own", d.file.Name, path, s.steps[0])
	}
	if !s.there || s.old == nil {
		return nil
	}
	if _, ok := scalar(s.old); !ok {
		return (&Document{name: d.file.Name}).notOne(path, s.old)
	}
	return nil
}

var errNoPlace = errors.New("no place for it")

// put puts a value where the steps lead, and makes what is missing.
func put(node any, steps []string, value any) (any, error) {
	if len(steps) == 0 {
		return value, nil
	}
	switch node := node.(type) {
	case nil:
		return put(sops.TreeBranch{}, steps, value)
	case sops.TreeBranch:
		for i, item := range node {
			if item.Key == any(steps[0]) {
				v, err := put(item.Value, steps[1:], value)
				node[i].Value = v
				return node, err
			}
		}
		v, err := put(nil, steps[1:], value)
		return append(node, sops.TreeItem{Key: steps[0], Value: v}), err
	case []any:
		if i := elementIndex(node, steps[0]); i >= 0 {
			v, err := put(node[i], steps[1:], value)
			node[i] = v
			return node, err
		}
		v, err := put(nil, steps[1:], value)
		return append(node, v), err
	}
	return nil, errNoPlace
}

// indices are where in a tree the steps lead, level by level, comments counted:
// there they still lead when the tree is encrypted and its comments are values.
// They end where nothing is there.
func indices(node any, steps []string) []int {
	var out []int
	for _, step := range steps {
		i := -1
		switch n := node.(type) {
		case sops.TreeBranch:
			i = slices.IndexFunc(n, func(item sops.TreeItem) bool { return item.Key == any(step) })
		case []any:
			i = elementIndex(n, step)
		}
		if i < 0 {
			return out
		}
		out = append(out, i)
		node = child(node, i)
	}
	return out
}

func elementIndex(list []any, step string) int {
	nth, err := strconv.Atoi(step)
	if err != nil {
		return -1
	}
	return slices.IndexFunc(list, func(e any) bool {
		if _, comment := e.(sops.Comment); comment {
			return false
		}
		nth--
		return nth < 0
	})
}

func child(node any, i int) any {
	if branch, ok := node.(sops.TreeBranch); ok {
		return branch[i].Value
	}
	return node.([]any)[i]
}

// valueAt is what lies at indices of the same tree.
func valueAt(node any, indices []int) any {
	for _, i := range indices {
		node = child(node, i)
	}
	return node
}
