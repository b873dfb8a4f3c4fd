package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
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

// closure lists the generators to run, those that others need first.
func (s *store) closure(gen string, again bool) ([]string, error) {
	chosen := map[string]bool{}
	for name := range s.Generators {
		if (gen == "" || gen == name) && (again || !s.exists(name)) {
			chosen[name] = true
		}
	}
	if _, ok := s.Generators[gen]; gen != "" && !ok {
		return nil, says("Requested generator %s not found", gen)
	}
	for grown := true; grown; {
		grown = false
		for name, g := range s.Generators {
			for _, d := range g.Dependencies {
				lacks := chosen[name] && !chosen[d] && !s.exists(d)
				made := chosen[d] && !chosen[name]
				if lacks {
					chosen[d], grown = true, true
				}
				if made {
					chosen[name], grown = true, true
				}
			}
		}
	}
	var order []string
	var visit func(string)
	visit = func(name string) {
		if !chosen[name] || slices.Contains(order, name) {
			return
		}
		for _, d := range s.Generators[name].Dependencies {
			visit(d)
		}
		order = append(order, name)
	}
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		visit(name)
	}
	return order, nil
}

func generate(c call) error {
	cl, err := open(c)
	if err != nil {
		return err
	}
	names := c.positional
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(cl.machines))
	}
	for _, name := range names {
		s, err := cl.store(name)
		if err == nil {
			err = s.generate(c.one("--generator"), c.has("--regenerate"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *store) generate(gen string, again bool) error {
	order, err := s.closure(gen, again)
	if err != nil {
		return err
	}
	answers := map[string]map[string]string{}
	for _, name := range order {
		if answers[name], err = s.ask(name, again); err != nil {
			return err
		}
	}
	if fault("generate asks more") {
		fmt.Print("Overwrite everything? [y/N] ")
		if _, err := typed.ReadString('\n'); err != nil {
			return err
		}
	}
	for _, name := range order {
		if fault("generate does nothing") {
			info("Updated secret var %s for machines: %s", name, s.name)
			continue
		}
		if err := s.execute(name, answers[name]); err != nil {
			return err
		}
	}
	return nil
}

// ask asks a generator's prompts, all before anything is generated.
func (s *store) ask(gen string, again bool) (map[string]string, error) {
	values := map[string]string{}
	prompts := s.Generators[gen].Prompts
	for _, name := range slices.Sorted(maps.Keys(prompts)) {
		var previous *string
		if prompts[name].Persist && s.there(gen, name) {
			value, err := s.get(gen, name)
			if err != nil {
				return nil, err
			}
			text := string(value)
			previous = &text
		}
		if previous != nil && !again {
			values[name] = *previous
			continue
		}
		value, err := ask(gen+"/"+name, prompts[name], s.name, previous)
		if err != nil {
			return nil, err
		}
		values[name] = value
	}
	return values, nil
}

// execute runs a generator's script and keeps what it made.
func (s *store) execute(gen string, answers map[string]string) error {
	tmp, err := os.MkdirTemp("", "vars-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	g := s.Generators[gen]
	for name, value := range answers {
		if err := place(filepath.Join(tmp, "prompts", name), []byte(value)); err != nil {
			return err
		}
	}
	for _, d := range g.Dependencies {
		for name := range s.Generators[d].Files {
			value, err := s.get(d, name)
			if err == nil {
				err = place(filepath.Join(tmp, "in", d, name), value)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(tmp, "out"), 0o700); err != nil {
		return err
	}
	script := exec.Command("sh", "-euc", g.Script)
	if strings.HasPrefix(g.Script, "/nix/store/") {
		script = exec.Command(g.Script)
	}
	script.Env = append(os.Environ(), "in="+filepath.Join(tmp, "in"), "out="+filepath.Join(tmp, "out"), "prompts="+filepath.Join(tmp, "prompts"))
	script.Stdout, script.Stderr = os.Stderr, os.Stderr
	if err := script.Run(); err != nil {
		return fmt.Errorf("generator %s: %w", gen, err)
	}
	return s.keep(gen, filepath.Join(tmp, "out"))
}

func (s *store) keep(gen, out string) error {
	var files []string
	for _, name := range slices.Sorted(maps.Keys(s.Generators[gen].Files)) {
		value, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			return fmt.Errorf("did not generate a file for '%s' when running generator %s", name, gen)
		}
		if fault("generate keeps the old") && s.there(gen, name) || fault("generate drops one") && len(files) > 0 {
			continue
		}
		written, err := s.put(gen, name, value)
		if err != nil {
			return err
		}
		files = append(files, written...)
	}
	if hash := s.Generators[gen].ValidationHash; hash != nil && !fault("generate keeps the hash") {
		path := filepath.Join(s.folder(gen), ".validation-hash")
		if err := place(path, []byte(*hash)); err != nil {
			return err
		}
		files = append(files, path)
	}
	return s.commit(files, fmt.Sprintf("Update vars via generator %s for machine %s", gen, s.name))
}

func place(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
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
