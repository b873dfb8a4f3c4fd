package nix

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

// A Rollback takes a host to an earlier generation of its system profile. What it
// goes to is chosen once, before anything is done, and is a store path from then on:
// nothing that happens to the profile meanwhile makes it another one.
type Rollback struct {
	Host       *runtime.Host `json:"host"`
	Generation int           `json:"generation"`
	System     string        `json:"system"`            // the path that it leads to
	Made       time.Time     `json:"made"`              // when it was
	From       int           `json:"from,omitempty"`    // the generation that the profile leads to; 0 where that is none
	Profile    string        `json:"profile,omitempty"` // the path that it leads to; "" where that is none
	Running    string        `json:"running,omitempty"` // what the host runs; "" where that is no system of nix
	Within     string        `json:"confirm_within"`
	Degraded   string        `json:"degraded"`

	named bool // the generation was asked for by its number
	all   []generation
}

// ChooseRollback looks at a host and chooses where it goes back to: the generation to,
// or, where that is 0, the last one before the current that is another system. It
// changes nothing. The error lists the generations that there are.
func ChooseRollback(ctx context.Context, pool *remote.Pool, host *runtime.Host, to int) (*Rollback, error) {
	there := module{pool: pool}.storeOf(host, io.Discard)
	r, err := there.profileOf(ctx, host)
	if err != nil {
		return nil, err
	}
	r.named = to != 0
	g, err := r.choose(to)
	if err != nil {
		return nil, err
	}
	state, err := there.systemState(ctx, g.path)
	switch {
	case err != nil:
		return nil, err
	case !state.held:
		return nil, fmt.Errorf("generation %d of %s leads to %s, which is not in its store any more%s", g.number, host.Name, g.path, r.Generations())
	}
	if err := notASystem(g.path, host, state.programs); err != nil {
		return nil, fmt.Errorf("generation %d of %s: %w", g.number, host.Name, err)
	}
	r.Generation, r.System, r.Made = g.number, g.path, g.date
	return r, nil
}

// profileOf is what the host runs, and what its profile has.
func (s store) profileOf(ctx context.Context, host *runtime.Host) (*Rollback, error) {
	out, err := s.script(ctx, "listing generations", remote.Command{}, generationsScript, profileDir)
	if err != nil {
		return nil, err
	}
	state, err := s.systemState(ctx, "")
	if err != nil {
		return nil, err
	}
	r := &Rollback{Host: host, Profile: state.profile, Running: state.current, all: parseGenerations(out.Stdout)}
	for _, g := range r.all {
		if g.current {
			r.From = g.number
		}
	}
	return r, nil
}

// choose is the generation of that number; of 0, the one that it goes back to.
func (r *Rollback) choose(to int) (generation, error) {
	var chosen *generation
	for i, g := range r.all {
		if g.number == to || to == 0 && g.number < r.From && g.path != r.Profile {
			chosen = &r.all[i]
		}
	}
	switch {
	case chosen != nil:
		return *chosen, nil
	case len(r.all) == 0:
		return generation{}, fmt.Errorf("the system profile of %s has no generations: there is nothing to go back to", r.Host.Name)
	case to != 0:
		return generation{}, fmt.Errorf("%s has no generation %d%s", r.Host.Name, to, r.Generations())
	case r.From == 0:
		return generation{}, runtime.WithHint(fmt.Errorf("the system profile of %s leads to none of its generations, so none is the one before%s", r.Host.Name, r.Generations()),
			"say which: infra rollback %s --to N", r.Host.Name)
	}
	err := fmt.Errorf("no generation of %s is before the current one and another system: there is nothing to go back to%s", r.Host.Name, r.Generations())
	if r.all[len(r.all)-1].number > r.From {
		err = runtime.WithHint(err, "a later one is gone to by its number: infra rollback %s --to N", r.Host.Name)
	}
	return generation{}, err
}

const dateForm = "2006-01-02 15:04 MST"

// Generations lists them, a line each, the latest last.
func (r *Rollback) Generations() string {
	var b strings.Builder
	for _, g := range r.all {
		mark := ""
		switch running := g.path == r.Running; {
		case g.current && running:
			mark = " (current, running)"
		case g.current:
			mark = " (current)"
		case running:
			mark = " (running)"
		}
		fmt.Fprintf(&b, "\n%5d  %s  %s%s", g.number, g.date.Format(dateForm), g.path, mark)
	}
	return b.String()
}

// Title is what it does, in a line.
func (r *Rollback) Title() string {
	if r.From == 0 || r.From == r.Generation {
		return fmt.Sprintf("%s goes to generation %d", r.Host.Name, r.Generation)
	}
	return fmt.Sprintf("%s goes from generation %d to %d", r.Host.Name, r.From, r.Generation)
}

// Doc says which system that is.
func (r *Rollback) Doc() string { return "Switch to the system of " + r.Made.Format(dateForm) }

// Done says whether the host runs that system already, now and after a boot.
func (r *Rollback) Done() bool { return r.Running == r.System && r.Profile == r.System }

// Note says where the host does not run what its profile leads to, which a person
// may not expect; "" where it does.
func (r *Rollback) Note() string {
	if r.Running == r.Profile {
		return ""
	}
	now := systemState{current: r.Running, profile: r.Profile, generation: r.From}
	text := fmt.Sprintf("%s does not run what its profile leads to (it was only tried out, waits for a boot, or was cut off): %s.\nIt goes to generation %d", r.Host.Name, now, r.Generation)
	if r.named || r.From == 0 || r.From == r.Generation {
		return text
	}
	return text + fmt.Sprintf(", which is before that; --to %d goes to what the profile leads to", r.From)
}

// Args are those of the builtin of [RollbackSpec].
func (r *Rollback) Args() []starlark.Tuple {
	arg := func(name string, v starlark.Value) starlark.Tuple { return starlark.Tuple{starlark.String(name), v} }
	return []starlark.Tuple{
		arg("generation", starlark.MakeInt(r.Generation)), arg("system", &runtime.StorePath{Path: r.System}),
		arg("from", starlark.MakeInt(r.From)), arg("profile", starlark.String(r.Profile)), arg("running", starlark.String(r.Running)),
		arg("note", starlark.String(r.Note())), arg("confirm_within", starlark.String(r.Within)), arg("degraded", starlark.String(r.Degraded)),
	}
}

// RollbackSpec is the builtin that infra rollback calls. Plans do not have it:
// nix.generations and nix.switch say more.
func RollbackSpec(pool *remote.Pool, root, sshConfig string) call.Spec {
	m := New(Config{Pool: pool, Root: root, SSHConfig: sshConfig}).module
	return call.New(call.Spec{Name: "nix.rollback", Effect: runtime.Change, Doc: "Switches a host to a generation of its system profile.", Returns: "switch_result"}, m.rollback)
}

type rollbackArgs struct {
	Host       *runtime.Host      `arg:"host" doc:"which host"`
	Generation int                `arg:"generation" doc:"the generation to go to"`
	System     *runtime.StorePath `arg:"system" doc:"what that leads to"`
	From       int                `arg:"from" doc:"the generation that the profile led to when that was chosen"`
	Profile    string             `arg:"profile" doc:"the system that it led to"`
	Running    string             `arg:"running" doc:"what the host ran"`
	Note       string             `arg:"note" doc:"what to say first"`
	Within     time.Duration      `arg:"confirm_within" doc:"as nix.switch has it"`
	Degraded   string             `arg:"degraded" doc:"as nix.switch has it"`
}

// rollback is a switch to a system that the host has, by which the profile keeps its
// generations.
func (m module) rollback(c *call.Call, a rollbackArgs) (starlark.Value, error) {
	to := switchArgs{Host: a.Host, System: a.System, Within: a.Within, Action: actSwitch, Degraded: a.Degraded}
	if err := to.valid(); err != nil {
		return nil, err
	}
	if a.Note != "" {
		runtime.Print(c.Context(), a.Note)
	}
	if _, err := c.Read(m.unmovedOp(a)); err != nil {
		return nil, err
	}
	return m.switchAs(c, switching{m, to, c.Unknown(), a.Generation})
}

// unmovedOp looks whether the host is as it was when the generation was chosen: who
// waits for a lock, or for an answer, may wait for somebody else's switch.
func (m module) unmovedOp(a rollbackArgs) runtime.Op {
	op := runtime.Op{
		Name: "nix.rollback.look", Host: a.Host.Name, Show: fmt.Sprintf("generation %d of %s is %s", a.Generation, a.Host.Name, a.System.Path),
		Args:  runtime.Args{"host": a.Host.Name, "generation": a.Generation, "system": a.System.Path, "from": a.From, "profile": a.Profile, "running": a.Running},
		Looks: runningFiles, Alters: runtime.Nothing,
		NotKnown: func() starlark.Value { return starlark.None },
	}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		now, err := m.storeOf(a.Host, log).profileOf(ctx, a.Host)
		if err != nil {
			return runtime.Result{}, err
		}
		return runtime.Result{Value: starlark.None}, now.moved(a)
	}
	return op
}

// moved says what is not as it was when the generation was chosen.
func (r *Rollback) moved(a rollbackArgs) error {
	var err error
	switch {
	case r.Running != a.Running || r.Profile != a.Profile || r.From != a.From:
		err = fmt.Errorf("since generation %d was chosen, somebody has switched %s%s", a.Generation, a.Host.Name, r.Generations())
	case !slices.ContainsFunc(r.all, func(g generation) bool { return g.number == a.Generation && g.path == a.System.Path }):
		err = fmt.Errorf("since generation %d was chosen, somebody has removed it from %s%s", a.Generation, a.Host.Name, r.Generations())
	default:
		return nil
	}
	return runtime.WithHint(err, "choose anew: infra rollback %s", a.Host.Name)
}

// toGeneration is the number of the generation that a profile is set to, as an
// argument of [profileScript]; "" makes one.
func (s switching) toGeneration() string {
	if s.generation == 0 {
		return ""
	}
	return strconv.Itoa(s.generation)
}
