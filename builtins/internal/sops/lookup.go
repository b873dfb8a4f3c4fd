package sops

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/getsops/sops/v3"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// most is how many names an error lists.
const most = 12

// Value returns the text of the value at a dotted path. Its errors tell
// names, never values.
func (d *Document) Value(path string) (string, error) {
	if d.format == Binary {
		return "", runtime.WithHint(fmt.Errorf("%s is a binary file: it has no keys", d.name), "take it whole, with .content")
	}
	at := cursor{node: d.root, rest: path}
	for !at.done {
		next, ok := at.down()
		if !ok {
			return "", d.missing(path, at)
		}
		at = next
	}
	if at.node == nil {
		return "", fmt.Errorf("%s[%s] is null", d.name, path)
	}
	text, ok := scalar(at.node)
	if !ok {
		return "", d.notOne(path, at.node)
	}
	return text, nil
}

// A cursor is a place in a tree and what is left of the path.
type cursor struct {
	node any
	rest string
	done bool // nothing is left; rest "" alone may be an empty key
}

// down takes one step. In a map it takes the longest key that the rest begins
// with, so that keys with dots in them are within reach.
func (c cursor) down() (cursor, bool) {
	if list, ok := c.node.([]any); ok {
		return c.element(list)
	}
	branch, _ := c.node.(sops.TreeBranch)
	longest, value, found := "", any(nil), false
	for _, item := range branch {
		key, ok := item.Key.(string)
		if !ok || found && len(key) <= len(longest) {
			continue
		}
		if c.rest == key || strings.HasPrefix(c.rest, key+".") {
			longest, value, found = key, item.Value, true
		}
	}
	return c.to(value, len(longest)), found
}

func (c cursor) element(list []any) (cursor, bool) {
	first, _, _ := strings.Cut(c.rest, ".")
	elems := elements(list)
	i, err := strconv.Atoi(first)
	if err != nil || i < 0 || i >= len(elems) || first != strconv.Itoa(i) {
		return cursor{}, false
	}
	return c.to(elems[i], len(first)), true
}

// to is the cursor at node after n bytes of the rest.
func (c cursor) to(node any, n int) cursor {
	if n == len(c.rest) {
		return cursor{node: node, done: true}
	}
	return cursor{node: node, rest: c.rest[n+1:]}
}

// elements leaves out the comments that sops keeps among a list's elements.
func elements(list []any) []any {
	return slices.DeleteFunc(slices.Clone(list), func(e any) bool {
		_, comment := e.(sops.Comment)
		return comment
	})
}

// names lists what may follow node in a path, each once.
func names(node any) []string {
	var out []string
	switch node := node.(type) {
	case sops.TreeBranch:
		seen := map[string]bool{}
		for _, item := range node {
			if key, ok := item.Key.(string); ok && !seen[key] {
				seen[key] = true
				out = append(out, key)
			}
		}
	case []any:
		for i := range elements(node) {
			out = append(out, strconv.Itoa(i))
		}
	}
	return out
}

// scalar is the text of a value that is neither map nor list.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case time.Time:
		return v.Format(time.RFC3339Nano), true
	}
	return "", false
}

// missing says where a path leaves the tree.
func (d *Document) missing(path string, at cursor) error {
	parent := strings.TrimSuffix(path[:len(path)-len(at.rest)], ".")
	switch node := at.node.(type) {
	case sops.TreeBranch:
		return runtime.WithHint(fmt.Errorf("%s has no key %q", d.name, path), "%s", d.suggest(parent, at))
	case []any:
		return runtime.WithHint(fmt.Errorf("%s has no element %q", d.name, path),
			"%s is a list of %d, counted from 0", parent, len(elements(node)))
	}
	return runtime.WithHint(fmt.Errorf("%s has no key %q: %s is a value, with nothing below it", d.name, path, parent),
		"ask for %q", parent)
}

// suggest names the nearest keys, or the first ones where none is near.
func (d *Document) suggest(parent string, at cursor) string {
	first, _, _ := strings.Cut(at.rest, ".")
	all := names(at.node)
	near := nearest(at.rest, all)
	if len(near) == 0 {
		near = nearest(first, all)
	}
	if len(near) > 0 {
		return "did you mean " + strings.Join(below(parent, near), " or ") + "?"
	}
	where := "the file"
	if parent != "" {
		where = parent
	}
	return where + " has " + listed(below(parent, all))
}

// nearest returns up to three names, the nearest first.
func nearest(name string, all []string) []string {
	var near []string
	left := slices.Clone(all)
	for len(near) < 3 {
		n := call.Nearest(name, left)
		if n == "" {
			break
		}
		near = append(near, n)
		left = slices.DeleteFunc(left, func(s string) bool { return s == n })
	}
	return near
}

// notOne says that a path ends at a map or a list, and what is in it.
func (d *Document) notOne(path string, node any) error {
	what := "a map"
	if _, ok := node.([]any); ok {
		what = "a list"
	}
	return runtime.WithHint(fmt.Errorf("%s[%s] is %s, not a value", d.name, path, what),
		"below it are: %s", listed(below(path, names(node))))
}

// Keys lists the names at the top of the file.
func (d *Document) Keys() []string { return names(d.root) }

func listed(paths []string) string {
	if len(paths) == 0 {
		return "no keys"
	}
	return strings.Join(paths, ", ")
}

// below writes names as paths, and cuts a long list short.
func below(parent string, all []string) []string {
	var out []string
	for i, name := range all {
		if i == most {
			return append(out, fmt.Sprintf("... (%d in all)", len(all)))
		}
		if parent != "" {
			name = parent + "." + name
		}
		out = append(out, name)
	}
	return out
}
