package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/interp"
)

// A bench is a project in which plans of the model check are tried one after
// another.
type bench struct {
	root  string
	specs []builtins.Spec
	lie   lie // of the dry run
}

func newBench(t testing.TB) *bench {
	t.Helper()
	root, err := os.MkdirTemp(memory(), "infra-model-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	return &bench{root: root, specs: builtins.All(builtins.Deps{Root: root})}
}

// memory is a folder that is no disk, or "" for the usual one: a journal that
// waits for the disk is not what is tested here.
func memory() string {
	if i, err := os.Stat("/dev/shm"); err == nil && i.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// dryRun previews a plan in a new world of the seed.
func (b *bench) dryRun(t testing.TB, text string, seed uint64) (*recording, error) {
	return b.play(t, text, seed, true)
}

// run runs it.
func (b *bench) run(t testing.TB, text string, seed uint64) (*recording, error) {
	return b.play(t, text, seed, false)
}

func (b *bench) play(t testing.TB, text string, seed uint64, preview bool) (*recording, error) {
	path := filepath.Join(b.root, "a.star")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return nil, err
	}
	opts, rec := optionsOf(seed), newRecording()
	opts.Show = rec.show
	var e *Engine
	var file *interp.File
	var err error
	if preview {
		e = newWorld(seed).engine(b.root, b.specs, b.lie)
		file, err = e.Preview(t.Context(), path)
	} else {
		e = newWorld(seed).engine(b.root, b.specs, lie{})
		file, err = e.Read(t.Context(), path)
	}
	if err != nil {
		return nil, err
	}
	if preview || seed%500 == 0 {
		_, err = e.Run(t.Context(), file, opts)
	} else {
		err = e.runUnjournaled(t.Context(), file, opts)
	}
	return rec, err
}

// runUnjournaled is Run without the locks and the journal, which would be most
// of the work of thousands of small plans.
func (e *Engine) runUnjournaled(ctx context.Context, file *interp.File, opts Options) error {
	tasks, err := build(file.Plan, opts.Steps, opts.Hosts)
	if err != nil {
		return err
	}
	r := &run{id: "model", root: e.root, file: file, plan: file.Plan, opts: opts, started: time.Now(),
		totals: runtime.Totals{Verdicts: map[runtime.Verdict]int{}, Steps: map[runtime.Status]int{}, Checks: map[runtime.Status]int{}}}
	r.start = &runtime.RunStart{Plan: r.plan, File: file.Path, Steps: tasks.steps}
	r.do = r.chain(carryOut)
	ctx, cancel := r.contexts(ctx)
	defer cancel()
	_, err = r.all(ctx, tasks)
	return err
}

// optionsOf a seed: how many steps at once, and what a preview may ask.
func optionsOf(seed uint64) Options {
	h := hash("options", fmt.Sprint(seed))
	return Options{Jobs: []int{1, 1, 2, 8}[h%4], Offline: h>>4%16 == 0, Build: h>>8%8 == 0}
}

// try dry-runs and runs a plan, and compares.
func (b *bench) try(t testing.TB, text string, seed uint64) (dry, run *recording, err error) {
	if dry, err = b.dryRun(t, text, seed); err != nil {
		return nil, nil, errInvalid{err}
	}
	if run, err = b.run(t, text, seed); err != nil {
		return nil, nil, errInvalid{err}
	}
	return dry, run, compare(dry, run)
}

// errInvalid: the plan was not run at all.
type errInvalid struct{ error }

// A lie is what a dry run is made to get wrong, to see that it is found out.
type lie struct {
	without string            // the form of code that it does not look at
	alter   func(*runtime.Op) // what it is told of operations; nil: the truth
	sure    bool              // it forgets that what it foresees may fail
}

// engine makes an engine whose operations happen in the world.
func (w *world) engine(root string, specs []builtins.Spec, l lie) *Engine {
	e := &Engine{root: root}
	e.in = interp.New(root, specs, func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		op = w.take(op)
		if l.alter != nil {
			l.alter(&op)
		}
		if l.sure {
			ctx = withTask(context.Background(), taskOf(ctx))
		}
		return door(ctx, op)
	})
	if l.without == "all" {
		e.in.Forms = interp.Forms{}
	} else if l.without != "" {
		e.in.Forms = maps.Clone(e.in.Forms)
		delete(e.in.Forms, l.without)
	}
	return e
}
