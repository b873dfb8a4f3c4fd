package nix

import (
	"context"
	"io"
)

// An Evaluator evaluates attributes of flakes for other modules, exactly as
// nix.eval does.
type Evaluator struct{ m module }

// NewEvaluator makes an evaluator; its parameters are those of [Specs].
func NewEvaluator(flake, root string) Evaluator {
	if flake == "" {
		flake = root
	}
	return Evaluator{module{flake: flake, root: root}}
}

// JSON returns what an installable evaluates to, as JSON. apply is a function
// in the Nix language to which it is given first; "" is none.
func (e Evaluator) JSON(ctx context.Context, log io.Writer, installable, apply string) ([]byte, error) {
	installable, err := e.m.resolve(installable)
	if err != nil {
		return nil, err
	}
	args := []string{"eval", "--no-write-lock-file", "--json", installable}
	if apply != "" {
		args = append(args, "--apply", apply)
		args = append(args, withoutCache...) // it keeps no function's results, and is in the way of who evaluates at the same time
	}
	out, err := e.m.nixCommand(ctx, log, nil, args...)
	return []byte(out.Stdout), err
}

// Looks returns what nix observes here to evaluate an installable, and whether
// it asks further than this machine.
func (e Evaluator) Looks(installable string) (paths []string, beyond bool) {
	if resolved, err := e.m.resolve(installable); err == nil {
		return e.m.looks(resolved)
	}
	return nil, true
}
