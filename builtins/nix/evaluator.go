package nix

import (
	"context"
	"io"
)

// JSON returns what an installable evaluates to, as JSON. apply is a function
// in the Nix language to which it is given first; "" is none.
func (n Module) JSON(ctx context.Context, log io.Writer, installable, apply string) ([]byte, error) {
	installable, err := n.resolve(installable)
	if err != nil {
		return nil, err
	}
	args := []string{"eval", "--no-write-lock-file", "--json", installable}
	if apply != "" {
		args = append(args, "--apply", apply)
		args = append(args, withoutCache...) // it keeps no function's results, and is in the way of who evaluates at the same time
	}
	out, err := n.evaluated(ctx, log, installable, args...)
	return []byte(out.Stdout), err
}

// Looks returns what nix observes here to evaluate an installable, and whether
// it asks further than this machine.
func (n Module) Looks(installable string) (paths []string, beyond bool) {
	if resolved, err := n.resolve(installable); err == nil {
		return n.looks(resolved)
	}
	return nil, true
}
