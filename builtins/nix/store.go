package nix

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// A store is a nix store that can be asked: the one here, or a host's.
type store struct {
	run   command.Runner
	where string // "here", "on cinnabar"
	log   io.Writer
}

// toolPath lets a script find nix where a login that is not interactive has it
// not in its PATH, as on a Mac.
const toolPath = "PATH=$PATH:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin; export PATH\n"

// notFound is the exit code of a shell that did not find a command.
const notFound = 127

// script runs a POSIX shell script where the store is. Its standard output is data.
func (s store) script(ctx context.Context, what string, cmd remote.Command, script string, args ...string) (command.Output, error) {
	cmd.Argv = append([]string{"sh", "-c", toolPath + script, "sh"}, args...)
	out, err := command.Query(ctx, s.run, cmd, s.log)
	if err != nil {
		return out, fmt.Errorf("%s %s: %w", what, s.where, err)
	}
	if out.Exit.Code == notFound {
		return out, s.missing(what)
	}
	return out, out.Err(what + " " + s.where)
}

func (s store) missing(what string) error {
	return runtime.WithHint(fmt.Errorf("%s %s: nix was not found there", what, s.where),
		"install nix; it is looked for in PATH, /nix/var/nix/profiles/default/bin and /run/current-system/sw/bin")
}

// each gives paths to a nix-store command in as many runs as their length needs.
func (s store) each(ctx context.Context, what, script string, paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	cmd := remote.Command{Stdin: runtime.PlainText(strings.Join(paths, "\n") + "\n")}
	out, err := s.script(ctx, what, cmd, "xargs "+script)
	return strings.Fields(out.Stdout), err
}

// invalid returns those of paths that the store does not hold.
func (s store) invalid(ctx context.Context, paths []string) ([]string, error) {
	return s.each(ctx, "looking for store paths", "nix-store --check-validity --print-invalid", paths)
}

// holds says whether the store has all of paths, and so all that they need.
func (s store) holds(ctx context.Context, paths ...string) (bool, error) {
	missing, err := s.invalid(ctx, paths)
	return err == nil && len(missing) == 0, err
}

// requisites returns the closure of paths, sorted so that a path follows what it needs.
func (s store) requisites(ctx context.Context, paths ...string) ([]string, error) {
	missing, err := s.invalid(ctx, paths)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, runtime.WithHint(fmt.Errorf("%s is not in the store %s", missing[0], s.where),
			"build it with nix.build, or copy it there with nix.copy; a dry run does neither")
	}
	return s.each(ctx, "asking for the closure", "nix-store --query --requisites", paths)
}

// sizes is what each of paths takes in the store, in bytes.
func (s store) sizes(ctx context.Context, paths []string) ([]int64, error) {
	said, err := s.each(ctx, "asking for sizes", "nix-store --query --size", paths)
	if err != nil {
		return nil, err
	}
	if len(said) != len(paths) {
		return nil, fmt.Errorf("asking for sizes %s: nix-store told %d for %s", s.where, len(said), count(len(paths), "path"))
	}
	sizes := make([]int64, len(said))
	for i, text := range said {
		if sizes[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, fmt.Errorf("asking for sizes %s: nix-store said %q", s.where, text)
		}
	}
	return sizes, nil
}

// human prints a number of bytes as nix does: "1.2 MiB".
func human(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	n, units := float64(bytes)/unit, []string{"KiB", "MiB", "GiB", "TiB"}
	for n >= unit && len(units) > 1 {
		n, units = n/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %s", n, units[0])
}

// count prints a number with its noun: "1 path", "3 paths".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
