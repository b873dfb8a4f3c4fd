package nix

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"time"
)

// A lock is what a flake.lock holds.
type lock struct {
	Root  string
	Nodes map[string]lockNode
	text  []byte         // as it is in the file
	all   map[string]any // for what has no word here
}

type lockNode struct {
	Inputs map[string]any // the name of a node, or the way to an input of another
	Locked map[string]any // what it is pinned to; nil for the flake itself
}

// emptyLock is that of a flake without inputs, which needs no file.
const emptyLock = `{"nodes":{"root":{}},"root":"root","version":7}`

// parseLock reads a flake.lock; no text is that of a flake that has none.
func parseLock(text []byte) (*lock, error) {
	data := text
	if len(data) == 0 {
		data = []byte(emptyLock)
	}
	l := &lock{text: text}
	numbers := json.NewDecoder(bytes.NewReader(data))
	numbers.UseNumber()
	if err := numbers.Decode(&l.all); err != nil {
		return nil, fmt.Errorf("it is no lock file: %w", err)
	}
	if err := json.Unmarshal(data, l); err != nil {
		return nil, fmt.Errorf("it is no lock file: %w", err)
	}
	if _, ok := l.Nodes[l.Root]; !ok {
		return nil, fmt.Errorf("it is no lock file: it has no node %q", l.Root)
	}
	return l, nil
}

// lockFile is the text of a flake.lock, byte for byte as nix writes it.
func lockFile(locks json.RawMessage) ([]byte, error) {
	var all any
	d := json.NewDecoder(bytes.NewReader(locks))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(all)
	return text.Bytes(), err
}

// same says that nothing but the order of words or spaces differs.
func (l *lock) same(other *lock) bool { return reflect.DeepEqual(l.all, other.all) }

// inputs lists the flake's own inputs.
func (l *lock) inputs() []string { return slices.Sorted(maps.Keys(l.Nodes[l.Root].Inputs)) }

// has says whether the flake, or an input of it, has an input, "nixpkgs" or "clan-core/nixpkgs".
func (l *lock) has(path []string) bool {
	at := l.Root
	for i, name := range path {
		to, ok := l.Nodes[at].Inputs[name]
		if !ok {
			return false
		}
		if at, ok = to.(string); !ok { // it follows another input, which has what that has
			return i == len(path)-1
		}
	}
	return true
}

// A repinned is an input that a new lock pins to something else; "" is none.
type repinned struct{ input, old, new string }

// since lists what differs from an older lock, by the lock's names of inputs.
func (l *lock) since(old *lock) []repinned {
	var out []repinned
	names := maps.Clone(l.Nodes)
	maps.Copy(names, old.Nodes)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was, is := old.Nodes[name].Locked, l.Nodes[name].Locked; !reflect.DeepEqual(was, is) {
			out = append(out, repinned{name, pinned(was), pinned(is)})
		}
	}
	return out
}

func (r repinned) String() string {
	return fmt.Sprintf("%s: %s -> %s", r.input, cmp.Or(r.old, "none"), cmp.Or(r.new, "none"))
}

// pinned is what an input is pinned to, in words: where it is from, which
// revision, of which day.
func pinned(locked map[string]any) string {
	if locked == nil {
		return ""
	}
	text := func(key string) string {
		s, _ := locked[key].(string)
		return s
	}
	from := text("type")
	switch {
	case text("owner") != "":
		from += ":" + text("owner") + "/" + text("repo")
	case text("url") != "":
		from = "an address"
		if u, err := url.Parse(text("url")); err == nil {
			u.User, u.RawQuery = nil, "" // there may be a token in either
			from = u.String()
		}
	case text("path") != "":
		from += ":" + text("path")
	}
	if rev := text("rev"); rev != "" {
		from += " " + rev[:min(len(rev), 12)]
	} else if hash := text("narHash"); hash != "" {
		from += " " + hash
	}
	if at, ok := locked["lastModified"].(float64); ok {
		from += " of " + time.Unix(int64(at), 0).UTC().Format(time.DateOnly)
	}
	return from
}
