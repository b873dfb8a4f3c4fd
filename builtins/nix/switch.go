package nix

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var switchSpec = call.Spec{
	Name:   "nix.switch",
	Effect: runtime.Change,
	Doc: "Copies a system to a host and makes it the running one, now and after a reboot. Whatever the new system breaks, the host itself goes back " +
		"to exactly what it ran before, unless a new connection works, the checks pass and infra confirms it in time. " +
		"A host that ran no system of nix before has nothing to go back to. A host that runs it already is left alone.",
	Returns: "switch_result",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "False where there was nothing to do"},
		{Name: "previous", Type: "store_path", Doc: "what ran before; None where no system of nix did"},
		{Name: "current", Type: "store_path", Doc: "what runs now"},
		{Name: "generation", Type: "int", Doc: "of the system profile"},
		{Name: "units_failed", Type: "list of strings", Doc: "units that did not start, where degraded = \"warn\""},
		{Name: "reboot_needed", Type: "bool", Doc: "the system runs from the next boot on"},
	},
	Example: `def answers(host):
    return ssh.run(host, ["zerotier-cli", "info"], reads = True, check = False).code == 0
system = nix.build(".#darwinConfigurations.blackphos.system")
done = nix.switch(mac, system, confirm_within = "3m", checks = [answers])
log("%s instead of %s" % (done.current, done.previous))
`,
}

type switchArgs struct {
	Host     *runtime.Host      `arg:"host" doc:"which host"`
	System   *runtime.StorePath `arg:"system" doc:"the system to run"`
	Within   time.Duration      `arg:"confirm_within,keyword" default:"2m" doc:"how long the activation, and then the confirmation, may take before the host goes back by itself"`
	Checks   []starlark.Value   `arg:"checks,keyword" default:"" doc:"functions that must find the new system well before it is confirmed; they take the host, or nothing, only read, and return truth or a struct(ok, detail)"`
	Via      []starlark.Value   `arg:"via,keyword" default:"" doc:"further addresses, or hosts, at which the same machine must be reached by a new connection"`
	Action   string             `arg:"action,keyword" default:"switch" doc:"\"switch\"; \"boot\": only from the next boot on; \"test\": only until the next boot"`
	Degraded string             `arg:"degraded,keyword" default:"fail" doc:"what units that do not start mean: \"fail\" goes back, \"warn\" goes on and lists them"`
}

// The actions of a switch.
const (
	actSwitch = "switch"
	actBoot   = "boot"
	actTest   = "test"
)

// valid refuses what no host can do.
func (a switchArgs) valid() error {
	switch {
	case !slices.Contains([]string{actSwitch, actBoot, actTest}, a.Action):
		return fmt.Errorf("nix.switch: action: want \"switch\", \"boot\" or \"test\", got %q", a.Action)
	case a.Degraded != "fail" && a.Degraded != "warn":
		return fmt.Errorf("nix.switch: degraded: want \"fail\" or \"warn\", got %q", a.Degraded)
	case CheckWithin(a.Within) != nil:
		return fmt.Errorf("nix.switch: confirm_within: %w", CheckWithin(a.Within))
	case a.Action == actBoot && a.Host.Kind() == runtime.Darwin:
		return runtime.WithHint(fmt.Errorf("nix.switch: action: a Mac activates a system only while it runs"), "leave action out")
	}
	for _, fn := range a.Checks {
		if _, ok := fn.(starlark.Callable); !ok {
			return fmt.Errorf("nix.switch: checks: want functions, got %s", fn.Type())
		}
	}
	_, err := a.via()
	return err
}

// CheckWithin refuses a time that no confirmation can keep.
func CheckWithin(d time.Duration) error {
	if d < 5*time.Second || d > 24*time.Hour {
		return fmt.Errorf("want 5s to 24h, got %s", d)
	}
	return nil
}

// via are the further ways to the host, as hosts.
func (a switchArgs) via() ([]*runtime.Host, error) {
	var ways []*runtime.Host
	for _, v := range a.Via {
		switch v := v.(type) {
		case *runtime.Host:
			ways = append(ways, v)
		case starlark.String:
			if v == "" || strings.HasPrefix(string(v), "-") {
				return nil, fmt.Errorf("nix.switch: via: %q is no address", string(v))
			}
			ways = append(ways, &runtime.Host{Name: a.Host.Name, System: a.Host.System, SSH: string(v)})
		default:
			return nil, fmt.Errorf("nix.switch: via: want hosts or addresses, got %s", v.Type())
		}
	}
	return ways, nil
}

// switching is one host on its way to another system.
type switching struct {
	module
	switchArgs
	unknown    runtime.Unknown
	generation int // of the profile, that the system is; 0: it becomes one
}

// switchTo is a list of operations, the same in a preview and in every run of it:
//
//	copy      the closure
//	root      both systems, so that no garbage collection takes either; what ran
//	          before is recorded here, and counts from then on
//	units     are asked for in a preview: what an activation would stop and start
//	arm       the host's own watchdog, on the recorded system
//	activate  the new one, without the profile: a boot still starts the old one
//	reach     the host by a new connection, and by every other way; the checks
//	confirm   which takes the watchdog away; or the host goes back
//	profile   and boot entry
//	verify
func (m module) switchTo(c *call.Call, a switchArgs) (starlark.Value, error) {
	if err := a.valid(); err != nil {
		return nil, err
	}
	previewed := a
	previewed.Checks = nil // a preview calls none of them
	c.Identify(previewed)
	return m.switchAs(c, switching{m, a, c.Unknown(), 0})
}

// switchAs is switchTo.
func (m module) switchAs(c *call.Call, s switching) (starlark.Value, error) {
	a := s.switchArgs
	if _, err := c.Do(m.copyOp([]*runtime.StorePath{a.System}, a.Host)); err != nil {
		return nil, err
	}
	recorded, err := c.Value(s.rootOp())
	if err != nil {
		return nil, err
	}
	b := readBefore(recorded)
	if b.known && !b.changed {
		return s.result(b, b.generation, outcome{current: a.System}), nil
	}
	done := outcome{current: a.System}
	if a.Action == actBoot {
		done.reboot, done.current = true, b.previous
	} else if done, err = s.activated(c, b); err != nil {
		return nil, err
	}
	if a.Action == actTest && !done.reboot {
		return s.result(b, b.generation, done), nil
	}
	return s.made(c, b, done)
}

// made makes the system the one that the next boot starts.
func (s switching) made(c *call.Call, b before, done outcome) (starlark.Value, error) {
	if _, err := c.Do(s.profileOp(b, done)); err != nil {
		return nil, err
	}
	if done.foreseen {
		return s.result(b, s.unknown.As(runtime.IntShape), done), nil
	}
	generation, err := c.Read(s.verifyOp(done))
	if err != nil {
		return nil, err
	}
	return s.result(b, generation.Value, done), nil
}

// activated is the system running and confirmed; or an error, and what ran before
// running again. Where the run was resumed too late, since infra had ended, nobody has
// judged the system that the host went back from: it is tried anew. Whatever else the
// host went back for is an error, and what a resume after that tries anew.
func (s switching) activated(c *call.Call, b before) (outcome, error) {
	units, err := s.units(c, b)
	if err != nil {
		return outcome{}, err
	}
	begun := false
	done, err := s.tried(c, b, units, &begun)
	if back := (rolledBack{}); begun || !errors.As(err, &back) || !back.unjudged {
		return done, err
	}
	runtime.Print(c.Context(), fmt.Sprintf("%s went back to %s by itself, since infra had ended before it confirmed %s; nothing speaks against that, so it is tried anew",
		s.Host.Name, b.path(), s.System.Path))
	return s.tried(c, b, units, &begun)
}

// tried is activated, once.
func (s switching) tried(c *call.Call, b before, units string, begun *bool) (outcome, error) {
	if _, err := c.Do(s.armOp(b)); err != nil {
		return outcome{}, err
	}
	said, err := c.Value(s.activateOp(b, units, begun))
	if err != nil {
		return outcome{}, err
	}
	done := readOutcome(said, s.System)
	var refused error
	if !done.foreseen && !done.reboot {
		refused = s.examined(c, b)
	}
	if done.reboot {
		done.current = b.previous
	}
	_, err = c.Do(s.confirmOp(b, done, refused))
	if err == nil || isRolledBack(err) || !b.back || c.Context().Err() != nil || errors.Is(err, runtime.ErrUntold) || errors.Is(err, runtime.ErrInterrupted) {
		return done, err
	}
	if refused == nil {
		return done, s.watched(c, b, err)
	}
	return done, s.watched(c, b, fmt.Errorf("%w\n%v", refused, err))
}

// name is that of the system, for people.
func (s switching) name() string {
	if !inStore(s.System.Path) {
		return s.System.Path
	}
	return s.System.Name()
}

// operation is what all operations of a switch have in common. What they do in
// order is theirs alone, so they look at nothing that one before could alter.
func (s switching) operation(name, show string) runtime.Op {
	return runtime.Op{
		Name: "nix.switch." + name, Host: s.Host.Name, Show: show, Repeatable: true,
		Args:  runtime.Args{"host": s.Host.Name, "system": s.System.Path, "action": s.Action},
		Looks: runtime.Nothing, Alters: runtime.Nothing,
		NotKnown: func() starlark.Value { return starlark.None },
	}
}

// result is the switch_result.
func (s switching) result(b before, generation starlark.Value, done outcome) *runtime.Record {
	failed := make([]starlark.Value, len(done.failed))
	for i, unit := range done.failed {
		failed[i] = starlark.String(unit)
	}
	var changed, failures, reboot starlark.Value = starlark.Bool(b.changed), starlark.NewList(failed), starlark.Bool(done.reboot)
	if !b.known {
		changed = s.unknown.As(runtime.BoolShape)
	}
	if done.foreseen {
		failures = s.unknown.As(runtime.StringsShape)
		if s.Degraded == "fail" {
			failures = starlark.NewList(nil)
		}
		reboot = s.unknown.As(runtime.BoolShape)
		if s.Host.Kind() == runtime.Darwin {
			failures, reboot = starlark.NewList(nil), starlark.False
		}
	}
	if !inStore(s.System.Path) {
		done.current = s.unknown.As(runtime.StorePathShape)
	}
	return runtime.NewRecord("switch_result",
		runtime.Field{Name: "changed", Value: changed},
		runtime.Field{Name: "previous", Value: b.previous},
		runtime.Field{Name: "current", Value: done.current},
		runtime.Field{Name: "generation", Value: generation},
		runtime.Field{Name: "units_failed", Value: failures},
		runtime.Field{Name: "reboot_needed", Value: reboot})
}
