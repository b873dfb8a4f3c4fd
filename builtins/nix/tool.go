package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// nixCommand runs a subcommand of nix here, whatever its configuration allows,
// and never writes a lock file: reading a flake must not alter the project.
func (m module) nixCommand(ctx context.Context, log io.Writer, env map[string]runtime.Text, args ...string) (command.Output, error) {
	return m.nixCopy(ctx, log, env, nil, args...)
}

// nixCopy is nixCommand for a copy of paths. What they take is asked for only
// where nix does not tell it, and the copy takes long.
func (m module) nixCopy(ctx context.Context, log io.Writer, env map[string]runtime.Text, sizes func([]string) map[string]int64, args ...string) (command.Output, error) {
	work := activitiesOf(ctx)
	work.sizes = sizes
	return m.nixFollowed(ctx, log, env, work, args...)
}

// nixFollowed is nixCommand for who wants to know what nix did.
func (m module) nixFollowed(ctx context.Context, log io.Writer, env map[string]runtime.Text, work *activities, args ...string) (command.Output, error) {
	// The form of what nix says goes first: a --print-build-logs after it undoes it (2.8).
	args = slices.Concat(internalJSON, []string{"--extra-experimental-features", "nix-command flakes", "--no-warn-dirty"}, args)
	nix := func(args []string) (command.Output, error) {
		return m.here(log).follow(ctx, work, "nix", remote.Command{Env: env, Dir: m.root}, `exec nix "$@"`, args...)
	}
	out, err := nix(args)
	if cacheBusy(err) { // which it says before it does anything
		work.said = nil
		out, err = nix(append(args, withoutCache...))
	}
	return out, withAdvice(err)
}

// evaluates is nixFollowed for a subcommand that evaluates an installable, which is one of
// args: as many at a time as there are turns, and of a copy of its flake where there is one.
// Should that fail before anything is built, nix is asked of the flake itself, so that an
// error is about the user's files, and nothing depends on the copy.
func (m module) evaluates(ctx context.Context, log io.Writer, work *activities, installable string, args ...string) (command.Output, error) {
	done, err := m.turns.take(ctx, log)
	if err != nil {
		return command.Output{}, err
	}
	defer done()
	copied := m.copied(ctx, installable)
	if copied == "" {
		return m.nixFollowed(ctx, log, nil, work, args...)
	}
	of := slices.Clone(args)
	of[slices.Index(of, installable)] = copied
	out, err := m.nixFollowed(ctx, log, nil, work, of...)
	if err == nil || ctx.Err() != nil || work.acted() {
		return out, err
	}
	_, _ = fmt.Fprintln(log, "asking again of the flake itself, "+installable)
	work.said = nil
	out, err = m.nixFollowed(ctx, log, nil, work, args...)
	if err == nil {
		m.distrust(ctx, installable)
	}
	return out, err
}

// evaluated is evaluates for who does not ask what nix did.
func (m module) evaluated(ctx context.Context, log io.Writer, installable string, args ...string) (command.Output, error) {
	return m.evaluates(ctx, log, activitiesOf(ctx), installable, args...)
}

// takingTurn is nixCommand for a subcommand that evaluates much of a flake, and is to
// be told of the flake itself.
func (m module) takingTurn(ctx context.Context, log io.Writer, args ...string) (command.Output, error) {
	done, err := m.turns.take(ctx, log)
	if err != nil {
		return command.Output{}, err
	}
	defer done()
	return m.nixCommand(ctx, log, nil, args...)
}

// withoutCache keeps nix from its cache of evaluations.
var withoutCache = []string{"--option", "eval-cache", "false"}

// cacheBusy tells a failure that only means that another nix evaluates the same
// flake just now: nix goes on without what it could not read of its
// cache, and then misses attributes that are there.
func cacheBusy(err error) bool {
	return err != nil && strings.Contains(err.Error(), "eval-cache-v") && strings.Contains(err.Error(), "is busy")
}

// withAdvice adds what to do about the failures that every user meets.
func withAdvice(err error) error {
	if err == nil || runtime.HintOf(err) != "" {
		return err
	}
	said := err.Error()
	switch {
	case strings.Contains(said, "does not provide attribute"):
		return runtime.WithHint(err, "nix flake show lists what a flake provides")
	case strings.Contains(said, "does not contain a 'flake.nix'"):
		return runtime.WithHint(err, "--flake names the folder of the flake that . means")
	case strings.Contains(said, "is not tracked by Git"):
		return runtime.WithHint(err, "nix sees only files that git knows: git add them")
	}
	return err
}

// resolve makes what a plan writes an installable for nix: "." is the module's flake.
func (m module) resolve(installable string) (string, error) {
	rest, dot := strings.CutPrefix(installable, ".")
	switch {
	case installable == "" || strings.HasPrefix(installable, "-"):
		return "", fmt.Errorf("installable: %q is none: write \".#name\"", installable)
	case strings.ContainsAny(installable, "\n\x00"):
		return "", errors.New("installable: it has more than one line")
	case dot && (rest == "" || strings.IndexByte("#?^", rest[0]) >= 0):
		return m.flake + rest, nil
	}
	return installable, nil
}
