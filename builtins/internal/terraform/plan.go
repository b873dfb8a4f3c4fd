package terraform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	tfjson "github.com/hashicorp/terraform-json"

	"infra/runtime"
)

// Plan makes a plan, of destroying everything if destroy is set. It takes no
// lock of the state and writes none. Numbers in the plan are json.Number.
func (d *Dir) Plan(ctx context.Context, w io.Writer, destroy bool) (*Saved, error) {
	log := newLog(w)
	r, err := d.prepare(ctx, log)
	if err != nil {
		return nil, err
	}
	defer r.close()
	defer r.forgetEmptyWorkspace()
	var args []string
	if destroy {
		args = append(args, "-destroy")
	}
	saved, said, err := r.plan(ctx, log, true, r.work, args...)
	if err != nil && said.wantsInit() && ctx.Err() == nil {
		if err := r.initAgain(ctx, log); err != nil {
			return nil, err
		}
		saved, _, err = r.plan(ctx, log, true, r.work, args...)
	}
	if err != nil {
		return nil, err
	}
	if err := r.checkBegun(ctx, log, saved, destroy); err != nil {
		return nil, err
	}
	return saved, nil
}

// plan plans in a folder and reads the plan. The stream is never nil.
func (r *ready) plan(ctx context.Context, log *lineLog, tell bool, dir string, args ...string) (*Saved, *stream, error) {
	nobody := &stream{log: log}
	s, err := newScratch()
	if err != nil {
		return nil, nobody, err
	}
	defer s.close()
	args = append([]string{"plan", "-json", "-input=false", "-no-color", "-lock=false", "-out=" + s.planPath()}, args...)
	said, state, err := r.run(ctx, log, task{args: args, vars: true, dir: dir, scratch: s, grace: readGrace, planning: tell})
	if err != nil {
		return nil, said, r.failed("plan", ctx, err)
	}
	if !state.Success() {
		return nil, said, r.planError(ctx, said, howEnded(state))
	}
	saved := &Saved{}
	if saved.file, err = os.ReadFile(s.planPath()); err != nil {
		return nil, said, fmt.Errorf("reading the plan of %s: %w", r.Path, err)
	}
	saved.Plan, err = r.show(ctx, s.planPath())
	return saved, said, err
}

// show reads a plan. It does what terraform-exec does, which would ask for
// terraform's version first: one more process, a tenth of what a plan takes.
func (r *ready) show(ctx context.Context, path string) (*tfjson.Plan, error) {
	s, err := newScratch()
	if err != nil {
		return nil, err
	}
	defer s.close()
	p := process{argv: []string{r.bin, "show", "-json", "-no-color", path}, dir: r.work, env: environ(r.env), scratch: s, grace: readGrace}
	state, err := p.run(ctx)
	if err != nil || ctx.Err() != nil {
		return nil, r.failed("show", ctx, err)
	}
	if !state.Success() {
		why, _ := os.ReadFile(s.stderr.Name())
		return nil, r.failed("show", ctx, errors.New(runtime.Scrub(cmp.Or(unboxed(string(why)), howEnded(state)))))
	}
	text, err := os.ReadFile(s.stdout.Name())
	if err != nil {
		return nil, err
	}
	plan := &tfjson.Plan{}
	plan.UseJSONNumber(true)
	if err := json.Unmarshal(text, plan); err != nil {
		return nil, fmt.Errorf("reading the plan of %s: %w", r.Path, err)
	}
	return plan, nil
}

func (r *ready) planError(ctx context.Context, said *stream, ended string) error {
	err := fmt.Errorf("%s plan of %s failed: %s", r.named(), r.Path, said.said(r.shownDir(), ended))
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	if said.has("No value for required variable") {
		return runtime.WithHint(err, "give it a value in vars or var_files")
	}
	return err
}
