// Package terraform is the module terraform of the plan language: what
// Terraform, or OpenTofu, makes of a folder with a configuration.
//
//	terraform.dir(path, ...) -> terraform_dir  # computes; what follows are its methods
//	    tf.validate()                         # reads
//	    tf.plan(destroy = False) -> terraform_plan  # reads, in a dry run too
//	    tf.apply(plan) -> terraform_applied   # changes, or destroys: what the plan says
//	    tf.output(name) -> value              # reads
//	    tf.outputs() -> dict                  # reads
//	    tf.destroy() -> terraform_applied     # destroys all that is there
//
// A plan is read as typed values, and an apply carries out that plan and no
// other: the one that terraform saved, as long as infra lives, and afterwards
// one that is the same by its digest. The digest is made of all that is shown
// of a plan and of no secret, and is among the arguments of the apply, so that
// a preview which a person reviewed holds a run to it.
//
// What terraform marks as sensitive is a secret here too.
package terraform

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"sync"

	"infra/builtins/internal/call"
	tool "infra/builtins/internal/terraform"
)

// A module is what every function of terraform works with.
type module struct {
	root  string // of the project
	works *works
}

// Specs lists the module's functions, and the methods of what they return.
// Plain paths are relative to root, the project's folder.
func Specs(root string) []call.Spec {
	m := module{root, &works{by: map[string]*work{}}}
	return slices.Concat([]call.Spec{call.New(dirSpec, m.dir)}, methods)
}

// methods are those of what terraform.dir returns.
var methods = []call.Spec{
	call.New(validateSpec, validate),
	call.New(planSpec, plan),
	call.New(applySpec, apply),
	call.New(outputSpec, oneOutput),
	call.New(outputsSpec, outputs),
	call.New(destroySpec, destroy),
}

// works are the folders that this process works in. A plan that one step made
// is applied by another, whose terraform.dir is not the same value.
type works struct {
	mu sync.Mutex
	by map[string]*work // by all that terraform is given
}

// A work is one folder, with all that terraform is given there.
type work struct {
	dir *tool.Dir

	mu   sync.Mutex
	made map[bool]*made // the last plan, and the last plan to destroy
}

// A made is a plan that terraform made in this process.
type made struct {
	saved   *tool.Saved
	planned planned
	digest  string
}

// of is the work that d stands for. Its key holds secrets, digested, and is
// never shown.
func (ws *works) of(d *tool.Dir) (*work, error) {
	key, err := keyOf(d)
	if err != nil {
		return nil, err
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.by[key]
	if w == nil {
		w = &work{dir: d, made: map[bool]*made{}}
		ws.by[key] = w
	}
	return w, nil
}

func keyOf(d *tool.Dir) (string, error) {
	revealed := map[string]string{}
	for name, v := range d.Env {
		revealed["env "+name] = v.Reveal()
	}
	for name, v := range d.Vars {
		revealed["var "+name] = v.Reveal()
	}
	data, err := json.Marshal([]any{d.Binary, d.Path, d.Workspace, d.VarFiles, d.Backend, string(d.Config), d.LockTimeout, revealed})
	return digestOf(data), err
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// keep remembers a plan until the next one.
func (w *work) keep(destroy bool, m *made) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made[destroy] = m
}

// kept returns the plan of a digest, where it is the last one; else nil.
func (w *work) kept(destroy bool, digest string) *made {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := w.made[destroy]; m != nil && m.digest == digest {
		return m
	}
	return nil
}

// used forgets what is no plan any more once one was applied.
func (w *work) used() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.made)
}
