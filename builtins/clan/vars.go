package clan

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// A variable is one file that a generator makes, for one machine or shared by all.
type variable struct {
	machine   string // "" where it is shared
	generator string
	file      string
}

// String is what clan's own commands call it: "generator/file".
func (v variable) String() string { return v.generator + "/" + v.file }

// generatorDir is the folder of all that the generator makes.
func (v variable) generatorDir() string {
	if v.machine == "" {
		return path.Join("vars/shared", v.generator)
	}
	return path.Join("vars/per-machine", v.machine, v.generator)
}

func (v variable) dir() string { return path.Join(v.generatorDir(), v.file) }

// secretFile and valueFile are where its value is; only one of them is there.
func (v variable) secretFile() string { return path.Join(v.dir(), "secret") }
func (v variable) valueFile() string  { return path.Join(v.dir(), "value") }

// parseVar reads "generator/file".
func parseVar(name string) (generator, file string, err error) {
	generator, file, ok := strings.Cut(name, "/")
	if !ok || !valid(generator) || !valid(file) {
		return "", "", fmt.Errorf("var: %q is no name of a var: write \"generator/file\"", name)
	}
	return generator, file, nil
}

// A found is a var that is in the repository.
type found struct {
	variable
	secret   bool
	deployed bool // a machine is linked to the secret
}

// vars walks the vars of one machine, or the shared ones where machine is "".
func (r *repository) vars(machine string) ([]found, error) {
	dir := "vars/shared"
	if machine != "" {
		dir = path.Join("vars/per-machine", machine)
	}
	generators, err := r.folders(dir)
	if err != nil {
		return nil, err
	}
	var out []found
	for _, g := range generators {
		files, err := r.folders(path.Join(dir, g))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if f, ok := r.find(variable{machine, g, file}); ok {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// find says what of a var is there; a link counts, wherever it leads.
func (r *repository) find(v variable) (found, bool) {
	switch {
	case r.exists(v.secretFile()):
		return found{v, true, r.exists(path.Join(v.dir(), machines))}, true
	case r.exists(v.valueFile()):
		return found{v, false, false}, true
	}
	return found{}, false
}

// hash returns the hash of the definition by which a generator's files were
// made; "" where it has none.
func (r *repository) hash(v variable) (string, error) {
	name := path.Join(v.generatorDir(), ".validation-hash")
	data, err := r.read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("%s %w", name, err)
	}
	return strings.TrimSpace(string(data)), nil
}
