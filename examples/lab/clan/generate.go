package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

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
	if fault("generate stays") {
		time.Sleep(time.Hour)
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
