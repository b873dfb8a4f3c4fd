package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

var switchSpec = call.Spec{
	Name:   "nix.switch",
	Effect: runtime.Change,
	Doc: "Copies a system to a host and makes it the running one, now and after a reboot. A host that runs it already is left alone. " +
		"It returns what ran before, to which nix.switch goes back.",
	Returns: "switch_result",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "False where the host ran it already"},
		{Name: "previous", Type: "store_path", Doc: "what ran before; None where no system of nix did"},
		{Name: "current", Type: "store_path", Doc: "what runs now"},
		{Name: "generation", Type: "int", Doc: "of the system profile"},
	},
	Example: `system = nix.build(".#darwinConfigurations.blackphos.system")
done = nix.switch(mac, system)
log("%s instead of %s" % (done.current, done.previous))
`,
}

type switchArgs struct {
	Host   *runtime.Host      `arg:"host" doc:"which host"`
	System *runtime.StorePath `arg:"system" doc:"the system to run"`
}

// switchTo is two operations, so that a preview and the journal tell the
// harmless one from the other.
func (m module) switchTo(c *call.Call, a switchArgs) (starlark.Value, error) {
	if _, err := c.Do(m.copyOp([]*runtime.StorePath{a.System}, a.Host)); err != nil {
		return nil, err
	}
	s := switching{m, a, c.Unknown()}
	return c.Value(runtime.Op{Repeatable: true,
		Host: a.Host.Name, Show: a.Host.Name + " -> " + a.System.Path,
		// The system's own files are looked at too. But the copy brings them,
		// and what the store holds already it does not alter. An activation
		// may alter anything.
		Looks: runningFiles, Alters: nil,
		Predict: s.predict, Run: s.run, NotKnown: s.notKnown,
	})
}

// switching is one host on its way to another system.
type switching struct {
	module
	switchArgs
	unknown runtime.Unknown
}

func (s switching) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	there := s.storeOf(s.Host, log)
	before, err := there.systemState(ctx, s.System.Path)
	if err != nil {
		return runtime.Result{}, err
	}
	if err := notASystem(s.System.Path, s.Host, before.programs); err != nil {
		return runtime.Result{}, err
	}
	if before.runs(s.System.Path) {
		return runtime.Result{Value: s.result(before, starlark.MakeInt(before.generation))}, nil
	}
	for _, act := range s.acts() {
		if err := act(ctx, log); err != nil {
			return runtime.Result{}, s.aftermath(ctx, before, err)
		}
	}
	after, err := there.systemState(ctx, s.System.Path)
	if err == nil && !after.runs(s.System.Path) {
		err = fmt.Errorf("every command succeeded, and still the host does not run %s", s.System.Path)
	}
	if err != nil {
		return runtime.Result{}, s.aftermath(ctx, before, err)
	}
	return runtime.Result{Changed: true, Value: s.result(before, starlark.MakeInt(after.generation))}, nil
}

// acts is what a switch does, in order. NixOS installs its boot loader from
// the profile, so that is set first. On a Mac a failed activation must leave
// the profile behind: after a reboot the profile wins.
func (s switching) acts() []func(context.Context, io.Writer) error {
	if s.Host.Kind() == runtime.Darwin {
		return []func(context.Context, io.Writer) error{s.activateDarwin, s.verifyActive, s.setProfile}
	}
	return []func(context.Context, io.Writer) error{s.setProfile, s.switchNixOS}
}

func (s switching) setProfile(ctx context.Context, log io.Writer) error {
	_, err := s.storeOf(s.Host, log).script(ctx, "setting the system profile", remote.Command{Sudo: true},
		`exec nix-env -p "$1" --set "$2"`, systemProfile, s.System.Path)
	return err
}

// asUnit runs a program as a unit of systemd where that runs the host, as
// nixos-rebuild does: a switch that restarts the network or sshd must not be
// ended by it. The fixed name keeps two switches apart.
const asUnit = `if [ -d /run/systemd/system ]; then
	exec systemd-run -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER --collect --no-ask-password --pipe --wait --quiet \
		--service-type=exec --unit=nixos-rebuild-switch-to-configuration "$@"
fi
exec "$@"`

func (s switching) switchNixOS(ctx context.Context, log io.Writer) error {
	out, err := s.asRoot(ctx, log, "sh", "-c", asUnit, "sh", s.System.Path+"/"+switchProgram, "switch")
	if err != nil {
		return err
	}
	return out.Err(switchFailure(out.Exit.Code))
}

// switchFailure names what switch-to-configuration means by its exit code.
func switchFailure(code int) string {
	const program = "switch-to-configuration"
	switch code {
	case 1:
		return "a check before the switch, or the boot loader's installation: " + program
	case 2:
		return "an activation script: " + program
	case 4:
		return "some units did not start (systemctl --failed lists them): " + program
	case 100:
		return "the system needs a reboot to be switched to: " + program
	}
	return program
}

func (s switching) activateDarwin(ctx context.Context, log io.Writer) error {
	out, err := s.asRoot(ctx, log, s.System.Path+"/"+activateProgram)
	if err != nil {
		return err
	}
	return out.Err("the activation")
}

// verifyActive: an activation links /run/current-system last, so a link that
// is still the old one tells of a half activated system whatever it exited with.
func (s switching) verifyActive(ctx context.Context, log io.Writer) error {
	state, err := s.storeOf(s.Host, log).systemState(ctx, s.System.Path)
	if err == nil && state.current != s.System.Path {
		err = errors.New("the activation ended without an error, but not with the system running")
	}
	return err
}

func (s switching) asRoot(ctx context.Context, log io.Writer, argv ...string) (command.Output, error) {
	return command.Run(ctx, command.On(s.pool, s.Host), remote.Command{Argv: argv, Sudo: true}, log)
}

// aftermathTime is how long a failed switch, even an interrupted one, may take
// to find out how it left the host.
const aftermathTime = 15 * time.Second

// aftermath adds to a failure how it left the host and how a person goes back.
func (s switching) aftermath(ctx context.Context, before systemState, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), aftermathTime)
	defer cancel()
	left := "how it left the host is not known: it does not answer"
	if now, err := s.storeOf(s.Host, io.Discard).systemState(ctx, s.System.Path); err == nil {
		left = now.String()
	}
	err := fmt.Errorf("%w\n%s", failure, left)
	if before.current == "" || before.current == s.System.Path {
		return err
	}
	return runtime.WithHint(err, "go back with: %s", goBack(s.Host, before.current))
}

// result is the switch_result from the state before and the generation after.
func (s switching) result(before systemState, generation starlark.Value) *runtime.Record {
	var previous starlark.Value = starlark.None
	if before.current != "" {
		previous = &runtime.StorePath{Path: before.current}
	}
	return runtime.NewRecord("switch_result",
		runtime.Field{Name: "changed", Value: starlark.Bool(!before.runs(s.System.Path))},
		runtime.Field{Name: "previous", Value: previous},
		runtime.Field{Name: "current", Value: s.System},
		runtime.Field{Name: "generation", Value: generation})
}
