package clan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

// pending is what of a machine's vars is to be generated.
type pending struct {
	dir        string // the clan's
	machine    string
	vars       *flakeVars
	generators []string // that clan will run
	anew       []string // of them, those that are there already and were asked for again
	missing    []string // the vars that are not there, as "generator/file"
}

// pending finds out what is to be done, and refuses what would fail.
func (g *generating) pending(ctx context.Context) (*pending, error) {
	vars, err := g.vars(ctx, g.Host.Name)
	if err != nil {
		return nil, err
	}
	p := &pending{dir: g.dir, machine: g.Host.Name, vars: vars}
	wanted := g.Generators
	for _, name := range wanted {
		if _, ok := vars.Generators[name]; !ok {
			return nil, misspelt("generator", name, g.Host.Name, slices.Sorted(maps.Keys(vars.Generators)))
		}
	}
	if len(wanted) == 0 {
		wanted = slices.Sorted(maps.Keys(vars.Generators))
	}
	p.choose(wanted, g.Regenerate)
	return p, g.answered(p)
}

// choose lists the generators that clan will run for those that are wanted:
// the incomplete ones, or all, what they need and lack, and what is made of
// what they make.
func (p *pending) choose(wanted []string, again bool) {
	chosen := map[string]bool{}
	for _, name := range wanted {
		if again || !p.complete(name) {
			p.need(chosen, name)
		}
		if again && p.complete(name) {
			p.anew = append(p.anew, name)
		}
	}
	for grown := true; grown; {
		grown = false
		for name, g := range p.vars.Generators {
			if !chosen[name] && slices.ContainsFunc(g.Dependencies, func(d string) bool { return chosen[d] }) {
				chosen[name], grown = true, true
			}
		}
	}
	p.generators = slices.Sorted(maps.Keys(chosen))
	for _, name := range p.generators {
		for _, file := range slices.Sorted(maps.Keys(p.vars.Generators[name].Files)) {
			if !p.there(name, file) {
				p.missing = append(p.missing, name+"/"+file)
			}
		}
	}
}

// need adds a generator, and those that it depends on and that are incomplete.
func (p *pending) need(chosen map[string]bool, name string) {
	if chosen[name] {
		return
	}
	chosen[name] = true
	for _, d := range p.vars.Generators[name].Dependencies {
		if _, ok := p.vars.Generators[d]; ok && !p.complete(d) {
			p.need(chosen, d)
		}
	}
}

// complete says whether all files of a generator are there, and of its
// definition as it is now.
func (p *pending) complete(name string) bool {
	for file := range p.vars.Generators[name].Files {
		if !p.there(name, file) {
			return false
		}
	}
	return p.current(name)
}

func (p *pending) current(name string) bool {
	stored, err := os.ReadFile(filepath.Join(p.dir, p.folder(name), ".validation-hash"))
	wanted := p.vars.Generators[name].ValidationHash
	if errors.Is(err, fs.ErrNotExist) {
		return wanted == nil
	}
	return err == nil && wanted != nil && strings.TrimSpace(string(stored)) == *wanted
}

func (p *pending) there(name, file string) bool {
	info, err := os.Stat(filepath.Join(p.dir, p.file(name, file)))
	return err == nil && info.Mode().IsRegular()
}

// folder is where a generator's vars are, from the clan's folder.
func (p *pending) folder(name string) string {
	if p.vars.Generators[name].Share {
		return filepath.Join("vars", "shared", name)
	}
	return filepath.Join("vars", "per-machine", p.machine, name)
}

// file is where a var is, from the clan's folder.
func (p *pending) file(name, file string) string {
	kind := "value"
	if p.vars.Generators[name].Files[file].Secret {
		kind = "secret"
	}
	return filepath.Join(p.folder(name), file, kind)
}

// prompts are all of the machine's, by "generator/prompt".
func (v *flakeVars) prompts() map[string]flakePrompt {
	all := map[string]flakePrompt{}
	for g, of := range v.Generators {
		for name, p := range of.Prompts {
			all[g+"/"+name] = p
		}
	}
	return all
}

// answered fails where clan would ask what the plan does not answer, and for
// answers to what is not asked anywhere.
func (g *generating) answered(p *pending) error {
	prompts := p.vars.prompts()
	for id := range g.Prompts {
		if _, ok := prompts[id]; !ok {
			return misspelt("prompt", id, p.machine, slices.Sorted(maps.Keys(prompts)))
		}
	}
	for _, name := range p.generators {
		of := p.vars.Generators[name]
		for _, prompt := range slices.Sorted(maps.Keys(of.Prompts)) {
			id := name + "/" + prompt
			_, file := of.Files[prompt]
			kept := of.Prompts[prompt].Persist && file && p.there(name, prompt) && !g.Regenerate
			answer, ok := g.Prompts[id]
			switch {
			case !ok && !kept:
				return (&dialog{}).undeclared(id, of.Prompts[prompt])
			case !ok:
				continue
			}
			if err := typable(of.Prompts[prompt], answer.Reveal()); err != nil {
				return fmt.Errorf("the prompt %s: %w", id, err)
			}
		}
	}
	return nil
}

func misspelt(what, name, machine string, names []string) error {
	err := fmt.Errorf("%s has no %s %s", machine, what, name)
	if near := call.Nearest(name, names); near != "" {
		return runtime.WithHint(err, "did you mean %s?", near)
	}
	if len(names) == 0 {
		return runtime.WithHint(err, "it has none")
	}
	return runtime.WithHint(err, "there are: %s", strings.Join(names, ", "))
}

// verify finds out whether clan did what its exit code says.
func (p *pending) verify(changed []string) error {
	var lacking []string
	for _, name := range p.generators {
		for _, file := range slices.Sorted(maps.Keys(p.vars.Generators[name].Files)) {
			if !p.there(name, file) {
				lacking = append(lacking, name+"/"+file+" is not there")
			}
		}
		if !p.current(name) {
			lacking = append(lacking, name+" was not made of its definition as it is now")
		}
	}
	for _, name := range p.anew {
		for _, file := range slices.Sorted(maps.Keys(p.vars.Generators[name].Files)) {
			if p.vars.Generators[name].Files[file].Secret && !slices.Contains(changed, p.file(name, file)) {
				lacking = append(lacking, name+"/"+file+" is the one that was there")
			}
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return runtime.WithHint(fmt.Errorf("clan says that it succeeded, and:\n%s", listed(lacking)),
		"infra log shows what clan printed; clan vars generate %s by hand shows more", p.machine)
}

// varsIn names the vars among changed files, as "generator/file".
func varsIn(files []string) []string {
	var vars []string
	for _, f := range files {
		parts := strings.Split(f, string(filepath.Separator))
		n := len(parts)
		if n >= 5 && parts[0] == "vars" && (parts[n-1] == "secret" || parts[n-1] == "value") {
			vars = append(vars, parts[n-3]+"/"+parts[n-2])
		}
	}
	slices.Sort(vars)
	return slices.Compact(vars)
}

// decrypted is the value of a secret in the clan's folder.
func (d driver) decrypted(ctx context.Context, file string) (string, error) {
	if d.Sealed == nil {
		return "", errors.New("nothing decrypts")
	}
	doc, err := d.Sealed.Open(ctx, sops.File{Root: d.dir, Name: file, Format: sops.Binary}, io.Discard)
	if err != nil {
		return "", err
	}
	return doc.Content()
}
