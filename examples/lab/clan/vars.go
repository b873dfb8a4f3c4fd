package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"
)

// A store is a machine's vars in the files of its clan.
type store struct {
	*clan
	name string
	machine
}

func (cl *clan) store(name string) (*store, error) {
	m, err := cl.machine(name)
	return &store{cl, name, m}, err
}

func (s *store) folder(gen string) string {
	if s.Generators[gen].Share {
		return filepath.Join(s.dir, "vars", "shared", gen)
	}
	return filepath.Join(s.dir, "vars", "per-machine", s.name, gen)
}

// there is clan's exists: the file is there, whatever is in it.
func (s *store) there(gen, name string) bool {
	kind := "value"
	if s.Generators[gen].Files[name].Secret {
		kind = "secret"
	}
	_, err := os.Stat(filepath.Join(s.folder(gen), name, kind))
	return err == nil
}

func (s *store) exists(gen string) bool {
	for name := range s.Generators[gen].Files {
		if !s.there(gen, name) {
			return false
		}
	}
	stored, err := os.ReadFile(filepath.Join(s.folder(gen), ".validation-hash"))
	wanted := s.Generators[gen].ValidationHash
	if err != nil || wanted == nil {
		return err != nil && wanted == nil
	}
	return strings.TrimSpace(string(stored)) == *wanted
}

// get is a var's value, decrypted.
func (s *store) get(gen, name string) ([]byte, error) {
	dir := filepath.Join(s.folder(gen), name)
	if s.Generators[gen].Files[name].Secret {
		return decrypt(filepath.Join(dir, "secret"))
	}
	return os.ReadFile(filepath.Join(dir, "value"))
}

// put writes a var and returns what to commit.
func (s *store) put(gen, name string, value []byte) ([]string, error) {
	dir, f := filepath.Join(s.folder(gen), name), s.Generators[gen].Files[name]
	if f.Secret {
		info("Updated secret var %s/%s for machines: %s", gen, name, s.name)
		return s.seal(dir, value, f.Deploy)
	}
	old, err := os.ReadFile(filepath.Join(dir, "value"))
	if err != nil {
		old = []byte("<not set>")
	}
	info("Updated var %s/%s for machines: %s\n  old: %s\n  new: %s", gen, name, s.name, old, value)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return []string{filepath.Join(dir, "value")}, os.WriteFile(filepath.Join(dir, "value"), value, 0o644)
}

func set(c call) error {
	cl, err := open(c)
	if err != nil {
		return err
	}
	s, err := cl.store(c.positional[0])
	if err != nil {
		return err
	}
	gen, name, _ := strings.Cut(c.positional[1], "/")
	if _, ok := s.Generators[gen].Files[name]; !ok {
		return says("No var found with the given query string: %s", c.positional[1])
	}
	var value []byte
	if term.IsTerminal(int(os.Stdin.Fd())) {
		text, err := ask(c.positional[1], prompt{Type: "hidden"}, s.name, nil)
		if err != nil {
			return err
		}
		value = []byte(text)
	} else if value, err = io.ReadAll(os.Stdin); err != nil {
		return err
	}
	if fault("set does nothing") {
		return nil
	}
	if fault("set cuts") {
		value = value[:len(value)/2]
	}
	files, err := s.put(gen, name, value)
	if err != nil {
		return err
	}
	return s.commit(files, fmt.Sprintf("Update var %s for machine %s", c.positional[1], s.name))
}

func list(c call) error {
	cl, err := open(c)
	if err != nil {
		return err
	}
	s, err := cl.store(c.positional[0])
	if err != nil {
		return err
	}
	for _, gen := range slices.Sorted(maps.Keys(s.Generators)) {
		for _, name := range slices.Sorted(maps.Keys(s.Generators[gen].Files)) {
			shown := "<not set>"
			if s.there(gen, name) {
				shown = "********"
				if !s.Generators[gen].Files[name].Secret {
					value, err := s.get(gen, name)
					if err != nil {
						return err
					}
					shown = string(bytes.TrimSpace(value))
				}
			}
			fmt.Printf("%s/%s: %s\n", gen, name, shown)
		}
	}
	return nil
}

// check lies as clan's does: an unknown machine is filtered out, and well.
func check(c call) error {
	cl, err := open(c)
	if err != nil {
		return err
	}
	bad := false
	for _, name := range c.positional {
		s, err := cl.store(name)
		if err != nil {
			continue
		}
		for gen := range s.Generators {
			if !s.exists(gen) {
				bad = true
				info("[%s] Generator '%s' has missing or outdated files", name, gen)
			}
		}
	}
	if bad {
		return says("Check failed")
	}
	return nil
}
