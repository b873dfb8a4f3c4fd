package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/remote"
)

// confirmName is the name of confirmOp: where that fails, the host has gone back, or
// is to be mended, and a resumed run arms and activates anew.
const confirmName = "nix.switch.confirm"

// confirmOp confirms the new system, upon which the watchdog is gone without a
// trace; or, where something speaks against it, has the host go back at once.
func (s switching) confirmOp(b before, done outcome, refused error) runtime.Op {
	g := guard{s, b}
	op := s.operation("confirm", s.name()+" stays")
	op.Alters = g.files()
	op.Predict = func(context.Context) (runtime.Prediction, error) {
		p := runtime.Prediction{Verdict: runtime.WillChange, Value: starlark.None, Detail: s.conditions()}
		if b.known && !b.back {
			p.Verdict = runtime.NoChange
		}
		return p, nil
	}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		switch {
		case refused != nil:
			return runtime.Result{}, g.goBack(ctx, log, refused)
		case g.token() == "":
			return runtime.Result{Value: starlark.None}, nil
		}
		return runtime.Result{Changed: true, Value: starlark.None}, g.confirm(ctx, log, done)
	}
	return op
}

// conditions are what has to hold before the new system is confirmed.
func (s switching) conditions() string {
	lines := []string{"a new connection to " + s.Host.Name + " works"}
	ways, _ := s.via()
	for _, way := range ways {
		lines = append(lines, "a new connection to "+address(way)+" works")
	}
	for _, v := range s.Checks {
		lines = append(lines, "check "+v.(starlark.Callable).Name())
	}
	return "if " + strings.Join(lines, "\n   ")
}

// confirm takes the watchdog away. Where the connection is lost over it, another
// one tells whether that was in time.
func (g guard) confirm(ctx context.Context, log io.Writer, done outcome) error {
	anyway := ""
	if done.reboot { // nothing was activated
		anyway = "anyway"
	}
	take := func(ctx context.Context) (map[string]string, error) {
		return g.script(ctx, "confirming", "", confirmScript, g.token(), g.System.Path, anyway)
	}
	said, err := take(ctx)
	if err != nil && errors.Is(err, runtime.ErrInterrupted) {
		return err
	}
	if err != nil {
		fmt.Fprintf(log, "%v; trying again\n", err)
		again, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.Within)
		defer cancel()
		for err != nil && again.Err() == nil {
			if problem := g.pool.Fresh(again, g.Host); problem != nil {
				pause(again)
				continue
			}
			said, err = take(again)
		}
	}
	switch {
	case err != nil:
		return g.goBack(ctx, log, err)
	case said["claim"] == claimBack:
		return g.goBack(ctx, log, g.late())
	case said["confirmed"] == "":
		return g.goBack(ctx, log, fmt.Errorf("something else than %s runs when it is to be confirmed", g.System.Path))
	}
	fmt.Fprintln(log, "confirmed: it stays")
	return nil
}

// profileOp makes the system the one of the next boot.
func (s switching) profileOp(b before, done outcome) runtime.Op {
	op := s.operation("profile", s.Host.Name+" starts "+s.name()+" from the next boot on")
	op.Alters = []string{profileDir, "/boot"}
	op.Predict = func(context.Context) (runtime.Prediction, error) {
		return runtime.Prediction{Verdict: runtime.WillChange, Value: starlark.None}, nil
	}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		runs, hint := s.System.Path, s.Host.Name+" runs the new system until its next boot; infra resume tries this again"
		if done.reboot {
			runs, hint = "", "infra resume tries this again"
		}
		argv := []string{"sh", "-c", toolPath + profileScript, "sh", runs, systemProfile, s.System.Path, s.toGeneration()}
		if s.Host.Kind() != runtime.Darwin {
			argv = append(argv, s.System.Path+"/"+switchProgram, "boot")
		}
		out, err := s.asRoot(ctx, log, argv...)
		if err == nil && out.Exit.Code == elsewhere {
			return runtime.Result{}, s.bootedSince(ctx, b)
		}
		if err == nil && out.Exit.Code == notFound {
			err = s.storeOf(s.Host, log).missing("setting the system profile")
		}
		if err == nil {
			err = out.Err("setting the profile and the boot entry")
		}
		if err != nil {
			return runtime.Result{}, runtime.WithHint(err, "%s", hint)
		}
		return runtime.Result{Changed: true, Value: starlark.None}, nil
	}
	op.Forget = func(ctx context.Context) {
		_ = s.pool.Forget(ctx, s.Host, remote.Command{Unit: runtime.OpID(ctx), Sudo: true})
	}
	return op
}

// bootedSince is the error of a switch whose host was booted when the new system was
// confirmed, and the old one still that of the next boot.
func (s switching) bootedSince(ctx context.Context, b before) error {
	g := guard{s, b}
	failure := fmt.Errorf("%s was booted, or switched, before the profile led to %s", s.Host.Name, s.System.Path)
	w, err := g.ask(ctx, false)
	if err != nil {
		return fmt.Errorf("%w\nhow it left the host is not known: %v", failure, err)
	}
	return g.verdict(w, failure, fromStart)
}

// elsewhere is the exit status of [profileScript] where another system runs.
const elsewhere = 94

// profileScript sets a profile to a system and then runs that one's program, if the
// system of its first argument runs, or that is "". NixOS installs its boot loader
// from the profile, so that is set first. Where the system is the generation of the
// fourth argument, the profile keeps its generations; else it gets a new one.
const profileScript = `
[ -z "$1" ] || [ "$(cd -P /run/current-system && pwd -P)" = "$1" ] || exit 94
if [ "$4" ] && [ "$(readlink "$2-$4-link")" = "$3" ]; then nix-env -p "$2" --switch-generation "$4"
else nix-env -p "$2" --set "$3"; fi || exit
shift 4
[ "$#" = 0 ] || NIXOS_INSTALL_BOOTLOADER=0 "$@"
`

// verifyOp looks whether all of it came true, and answers with the generation.
func (s switching) verifyOp(done outcome) runtime.Op {
	op := s.operation("verify", s.Host.Name+" runs "+s.name())
	op.Looks = runningFiles
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		state, err := s.storeOf(s.Host, log).systemState(ctx, s.System.Path)
		switch {
		case err != nil:
		case state.profile != s.System.Path, !done.reboot && state.current != s.System.Path:
			err = fmt.Errorf("every command succeeded, and still the host does not run %s: %s", s.System.Path, state)
		}
		return runtime.Result{Value: starlark.MakeInt(state.generation)}, err
	}
	return op
}
