package nix

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"infra/runtime"
)

// foreseen is the host's state, if a run would not refuse the system.
func (s switching) foreseen(ctx context.Context) (systemState, error) {
	state, err := s.storeOf(s.Host, io.Discard).systemState(ctx, s.System.Path)
	if err != nil {
		return state, err
	}
	if state.held {
		err = notASystem(s.System.Path, s.Host, state.programs)
	} else if _, statErr := os.Stat(s.System.Path); statErr == nil {
		err = notASystem(s.System.Path, s.Host, programsHere(s.System.Path))
	}
	return state, err
}

// predictActivation says what the host would get, and what becomes of its units.
func (s switching) predictActivation(ctx context.Context, units string) (runtime.Prediction, error) {
	there := s.storeOf(s.Host, io.Discard)
	state, err := there.systemState(ctx, s.System.Path)
	if err != nil {
		return runtime.Prediction{}, err
	}
	detail := s.detail(ctx, there, state)
	if units != "" {
		detail += "\n" + units
	}
	return runtime.Prediction{Verdict: runtime.WillChange, Value: s.unknown, Detail: detail}, nil
}

func programsHere(path string) []string {
	var programs []string
	for _, p := range []string{switchProgram, activateProgram} {
		if info, err := os.Stat(filepath.Join(path, p)); err == nil && info.Mode()&0o111 != 0 {
			programs = append(programs, p)
		}
	}
	return programs
}

// detail says what the host would get. It is for reading only: where a closure
// is not known the words say so, and the prediction stands.
func (s switching) detail(ctx context.Context, there store, state systemState) string {
	if state.current == s.System.Path {
		return "it runs this system, and the profile would lead to it"
	}
	if state.current == "" {
		return "the first system of nix on this host"
	}
	step := versionStep(state.current, s.System.Path)
	from := there
	if built, err := s.here(io.Discard).holds(ctx, s.System.Path); err == nil && built {
		from = s.here(io.Discard)
	} else if !state.held {
		return step + "\nit is not built yet: what else differs is known after the build"
	}
	after, err := from.closure(ctx, s.System.Path)
	if err != nil {
		return fmt.Sprintf("%s\nwhat else differs is not known: %v", step, err)
	}
	before, err := there.closure(ctx, state.current)
	if err != nil {
		return fmt.Sprintf("%s\nwhat else differs is not known: %v", step, err)
	}
	return after.since(before)
}

// versionStep compares two systems by their names alone, which their paths say.
func versionStep(before, after string) string {
	was, is := (&runtime.StorePath{Path: before}).Name(), (&runtime.StorePath{Path: after}).Name()
	if was == is {
		return is + ", another build of it"
	}
	if c := comparePackages([]string{before}, []string{after}); c.changed == 1 {
		return c.lines[0]
	}
	return was + " -> " + is
}

// A closure is what a path needs, and how much that takes.
type closure struct {
	paths []string
	size  int64
}

func (s store) closure(ctx context.Context, path string) (closure, error) {
	paths, err := s.requisites(ctx, path)
	if err != nil {
		return closure{}, err
	}
	sizes, err := s.sizes(ctx, paths)
	return closure{paths, sum(sizes)}, err
}

// since says how the closure differs from an earlier one.
func (c closure) since(before closure) string {
	return fmt.Sprintf("%s\nsize: %s -> %s (%s)", comparePackages(before.paths, c.paths).brief(),
		human(before.size), human(c.size), growth(c.size-before.size))
}

// growth prints a difference of sizes: "+1.2 MiB".
func growth(bytes int64) string {
	if bytes < 0 {
		return "-" + human(-bytes)
	}
	return "+" + human(bytes)
}
