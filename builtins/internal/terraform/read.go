package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"

	"infra/runtime"
)

// Validate says what is wrong with the configuration, as far as that can be
// seen without asking anybody.
func (d *Dir) Validate(ctx context.Context, w io.Writer) error {
	log := newLog(w)
	r, err := d.prepare(ctx, log)
	if err != nil {
		return err
	}
	defer r.close()
	tool, err := r.reader()
	if err != nil {
		return err
	}
	said, err := tool.Validate(ctx)
	if err != nil {
		return r.readError(ctx, "validate", err)
	}
	s := &stream{log: log}
	for _, d := range said.Diagnostics {
		s.diagnose(d)
	}
	if said.Valid && len(s.problems) == 0 {
		return nil
	}
	return fmt.Errorf("the configuration in %s is not valid: %s", r.Path, s.said(r.shownDir(), "terraform does not say why"))
}

// Outputs are the outputs of what was last applied.
func (d *Dir) Outputs(ctx context.Context, w io.Writer) (map[string]Output, error) {
	r, err := d.prepare(ctx, newLog(w))
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.outputs(ctx)
}

func (r *ready) outputs(ctx context.Context) (map[string]Output, error) {
	defer r.forgetEmptyWorkspace()
	tool, err := r.reader()
	if err != nil {
		return nil, err
	}
	said, err := tool.Output(ctx)
	if err != nil {
		return nil, r.readError(ctx, "output", err)
	}
	outputs := map[string]Output{}
	for name, o := range said {
		outputs[name] = Output{Sensitive: o.Sensitive, Value: o.Value}
	}
	return outputs, nil
}

// readError is the error of a command that only reads.
func (r *ready) readError(ctx context.Context, command string, err error) error {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		cause := context.Cause(ctx)
		if cause == nil {
			cause = context.Canceled
		}
		return fmt.Errorf("%s %s of %s: %w", r.named(), command, r.Path, cause)
	}
	return fmt.Errorf("%s %s of %s: %s", r.named(), command, r.Path, runtime.Scrub(unboxed(textOf(err))))
}

// textOf is err's text. An error of terraform-exec whose context ended just as
// terraform succeeded panics when it is asked for its own.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "it was cancelled"
		}
	}()
	return err.Error()
}
