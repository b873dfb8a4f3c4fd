package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// flakeRef makes what a plan writes a flake for nix: "." is the module's own.
func (m module) flakeRef(flake string) (string, error) {
	ref, err := m.resolve(flake)
	if err != nil {
		return "", fmt.Errorf("flake: %q is none: write \".\" for the project's", flake)
	}
	if strings.Contains(flake, "#") {
		return "", errors.New("flake: name it without an attribute: \".\", not \".#name\"")
	}
	return ref, nil
}

// ask asks nix for JSON about a flake, as a read that hands it on as plain data.
func (m module) ask(c *call.Call, flake, verb string) (starlark.Value, error) {
	ref, err := m.flakeRef(flake)
	if err != nil {
		return nil, fmt.Errorf("nix.flake.%s: %w", verb, err)
	}
	op := runtime.Op{Show: "nix flake " + verb + " --json " + flake, Alters: runtime.Nothing}
	op.Looks, op.Beyond = m.looks(ref)
	op.Flake = true
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		out, err := m.takingTurn(ctx, log, "flake", verb, "--no-write-lock-file", "--json", ref)
		if err != nil {
			return runtime.Result{}, err
		}
		v, err := plainData(c, out.Stdout)
		return runtime.Result{Value: v}, err
	}
	return c.Value(op)
}
