package sops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/cmd/sops/common"

	"infra/runtime"
)

// A Rotation is what rotating a file alters besides its data key.
type Rotation struct {
	Added, Removed []Recipient
	Threshold      [2]int   // of the key groups, before and after
	Encrypts       []string // what is in clear now and will not be
	Ruled          bool     // a rule says so; else the recipients stay
}

// Rotation says what Rotate would do. It needs no key.
func (f File) Rotation() (Rotation, error) {
	rules, err := f.rules()
	if err != nil {
		return Rotation{}, err
	}
	data, err := f.Read()
	if err != nil {
		return Rotation{}, err
	}
	store := common.StoreForFormat(f.Format, rules.stores)
	tree, err := f.load(store, data)
	if err != nil {
		return Rotation{}, err
	}
	rotation, _, err := f.rotation(rules, tree)
	if err != nil {
		return Rotation{}, err
	}
	return rotation, f.writable()
}

// Rotate gives the file a new data key and encrypts every value anew, for the
// recipients that the rules of .sops.yaml name: who is removed reads no later
// version, even with the file and the key of an earlier one.
func (r *Reader) Rotate(ctx context.Context, f File, log io.Writer) (Rotation, error) {
	rules, err := f.rules()
	if err != nil {
		return Rotation{}, err
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return Rotation{}, err
	}
	defer unlock()
	d, err := r.draft(ctx, f, rules, log)
	if err != nil {
		return Rotation{}, err
	}
	rotation, meta, err := f.rotation(rules, d.tree)
	if err != nil {
		return Rotation{}, err
	}
	d.tree.Metadata = meta
	if err := r.newKey(ctx, d, log); err != nil {
		return Rotation{}, err
	}
	data, err := d.seal()
	if err != nil {
		return Rotation{}, err
	}
	if ctx.Err() != nil {
		return Rotation{}, context.Cause(ctx)
	}
	return rotation, f.replace(d.was, data)
}

// rotation is what the rules alter in a file, and its metadata then.
func (f File) rotation(rules rules, tree sops.Tree) (Rotation, sops.Metadata, error) {
	meta := tree.Metadata
	if rules.path == "" {
		return Rotation{Threshold: [2]int{meta.ShamirThreshold, meta.ShamirThreshold}}, meta, nil
	}
	if err := rules.mustHave(f); err != nil {
		return Rotation{}, meta, err
	}
	meta.KeyGroups, meta.ShamirThreshold = rules.rule.KeyGroups, rules.threshold()
	out := Rotation{Ruled: true, Threshold: [2]int{tree.Metadata.ShamirThreshold, meta.ShamirThreshold}}
	out.Added, out.Removed = differ(tree.Metadata.KeyGroups, meta.KeyGroups)
	if f.Format == Binary {
		return out, meta, nil
	}
	chosen := meta
	choose(&chosen, rules.rule)
	before, after, err := f.selected(tree, tree.Metadata, chosen)
	if err != nil {
		return Rotation{}, meta, err
	}
	if less := minus(before, after); len(less) > 0 {
		return Rotation{}, meta, runtime.WithHint(fmt.Errorf("the rule for %s in %s leaves in clear what is encrypted now: %s", f.Name, rules.path, listed(below("", less))),
			"widen the rule; a rotation writes nothing in clear")
	}
	out.Encrypts = minus(after, before)
	return out, chosen, nil
}

// differ lists whom the second key groups have more and less than the first.
func differ(have, want []sops.KeyGroup) (added, removed []Recipient) {
	h, w := recipientsOf(have), recipientsOf(want)
	for _, r := range w {
		if !slices.Contains(h, r) {
			added = append(added, r)
		}
	}
	for _, r := range h {
		if !slices.Contains(w, r) {
			removed = append(removed, r)
		}
	}
	return added, removed
}

// selected are the paths whose values are encrypted by either of two choices.
func (f File) selected(tree sops.Tree, a, b sops.Metadata) (byA, byB map[string]bool, err error) {
	first, err := guarded(func() (map[string]bool, error) { return recorded(tree, a) })
	if err != nil {
		return nil, nil, fmt.Errorf("%s: what is encrypted in it cannot be told", f.Name)
	}
	second, err := guarded(func() (map[string]bool, error) { return recorded(tree, b) })
	if err != nil {
		return nil, nil, fmt.Errorf("%s: what its rule encrypts cannot be told", f.Name)
	}
	return first, second, nil
}

// A recorder is a cipher that encrypts nothing, and keeps what it was asked to.
type recorder map[string]bool

// Encrypt returns the value as it is. The library gives it the path with a
// colon after each name.
func (r recorder) Encrypt(v any, _ []byte, path string) (string, error) {
	if _, comment := v.(sops.Comment); !comment {
		r[strings.ReplaceAll(strings.TrimSuffix(path, ":"), ":", ".")] = true
	}
	return "", nil
}

func (r recorder) Decrypt(string, []byte, string) (any, error) {
	return nil, errors.New("it only records")
}

// recorded are the paths that the library would encrypt, by its own judgement.
func recorded(tree sops.Tree, m sops.Metadata) (map[string]bool, error) {
	r := recorder{}
	_, err := sops.Tree{Branches: copied(tree.Branches), Metadata: m}.Encrypt(nil, r)
	return r, err
}

// copied is a tree of its own, since the library encrypts in place.
func copied(branches sops.TreeBranches) sops.TreeBranches {
	out := make(sops.TreeBranches, len(branches))
	for i, b := range branches {
		out[i] = copyOf(b).(sops.TreeBranch)
	}
	return out
}

func copyOf(node any) any {
	switch node := node.(type) {
	case sops.TreeBranch:
		out := make(sops.TreeBranch, len(node))
		for i, item := range node {
			out[i] = sops.TreeItem{Key: item.Key, Value: copyOf(item.Value)}
		}
		return out
	case []any:
		out := make([]any, len(node))
		for i, e := range node {
			out[i] = copyOf(e)
		}
		return out
	}
	return node
}

func minus(a, b map[string]bool) []string {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(a)) {
		if !b[path] {
			out = append(out, path)
		}
	}
	return out
}
