package nix

import (
	"context"
	"fmt"
	"io"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/remote"
)

// rootsDir keeps garbage collections from the systems of a switch: from the new
// one until the profile leads to it, and from the one before until the next switch.
const rootsDir = "/nix/var/nix/gcroots/infra"

// rootScript tells the state as [stateScript] does, and roots a system that does
// not run yet, together with the one that does. Its arguments are that system, the
// profile and the program that both must have.
const rootScript = "(" + stateScript + `)
resolve() { (cd -P "$1" 2>/dev/null && pwd -P); }
current=$(resolve /run/current-system)
[ -z "$current" ] || [ ! -x "$current/$3" ] || echo back=1
[ -x "$1/$3" ] || exit 0
[ "$current" != "$1" ] || [ "$(resolve "$2")" != "$1" ] || exit 0
mkdir -p ` + rootsDir + ` && ln -sfn "$1" ` + rootsDir + `/new || exit
[ -z "$current" ] || ln -sfn "$current" ` + rootsDir + `/previous
`

// A before is what a host was like before the switch, as it was recorded.
type before struct {
	known      bool           // a preview may not know anything of it
	foreseen   bool           // nothing was recorded: this is a preview
	changed    bool           // there is something to do
	previous   starlark.Value // a store path; None; or not known
	generation starlark.Value // of the profile
	profile    string         // what that led to; "none"
	back       bool           // the host can go back to what ran
}

// path is what ran before; "" where nothing did.
func (b before) path() string {
	if p, ok := b.previous.(*runtime.StorePath); ok {
		return p.Path
	}
	return ""
}

// rootOp records what runs, and roots it and the new system. Whatever becomes of
// the run, what it answered counts: a switch that is resumed never takes the new
// system for the one before.
func (s switching) rootOp() runtime.Op {
	op := s.operation("root", s.Host.Name+": "+s.System.Path+", and what runs now")
	op.Looks, op.Alters = runningFiles, []string{rootsDir}
	op.Predict = func(ctx context.Context) (runtime.Prediction, error) {
		state, err := s.foreseen(ctx)
		if err != nil {
			return runtime.Prediction{}, err
		}
		r := s.recorded(state, state.current != "")
		r.foreseen = true
		if !r.changed {
			return runtime.Prediction{Verdict: runtime.NoChange, Value: r.record()}, nil
		}
		return runtime.Prediction{Verdict: runtime.WillChange, Value: r.record()}, nil
	}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		program := programOf(s.Host.Kind())
		out, err := s.storeOf(s.Host, log).script(ctx, "recording the running system", remote.Command{Sudo: true},
			rootScript, s.System.Path, systemProfile, program)
		state := parseState(out.Stdout)
		if err == nil {
			err = notASystem(s.System.Path, s.Host, state.programs)
		}
		if err != nil {
			return runtime.Result{}, err
		}
		r := s.recorded(state, strings.Contains(out.Stdout, "\nback=1\n"))
		if r.changed {
			fmt.Fprintf(log, "before: %s\n", state)
		}
		return runtime.Result{Changed: r.changed, Value: r.record()}, nil
	}
	op.NotKnown = func() starlark.Value { return s.unknown }
	return op
}

func (s switching) recorded(state systemState, back bool) before {
	b := before{known: true, previous: starlark.None, profile: "none", back: back && state.current != s.System.Path,
		generation: starlark.MakeInt(state.generation)}
	if state.current != "" {
		b.previous = &runtime.StorePath{Path: state.current}
	}
	if state.profile != "" {
		b.profile = state.profile
	}
	switch s.Action {
	case actBoot:
		b.changed = state.profile != s.System.Path
	case actTest:
		b.changed = state.current != s.System.Path
	default:
		b.changed = !state.runs(s.System.Path)
	}
	return b
}

func (b before) record() *runtime.Record {
	return runtime.NewRecord("switch_before",
		runtime.Field{Name: "changed", Value: starlark.Bool(b.changed)},
		runtime.Field{Name: "previous", Value: b.previous},
		runtime.Field{Name: "generation", Value: b.generation},
		runtime.Field{Name: "profile", Value: starlark.String(b.profile)},
		runtime.Field{Name: "back", Value: starlark.Bool(b.back)},
		runtime.Field{Name: "foreseen", Value: starlark.Bool(b.foreseen)})
}

// readBefore is what was recorded, by this process or by an earlier one.
func readBefore(v starlark.Value) before {
	r, ok := v.(*runtime.Record)
	if !ok {
		return before{previous: v, generation: v, changed: true, foreseen: true}
	}
	b := before{known: true}
	for _, f := range r.Fields() {
		switch f.Name {
		case "changed":
			b.changed = bool(f.Value.Truth())
		case "previous":
			b.previous = f.Value
		case "generation":
			b.generation = f.Value
		case "profile":
			b.profile, _ = starlark.AsString(f.Value)
		case "back":
			b.back = bool(f.Value.Truth())
		case "foreseen":
			b.foreseen = bool(f.Value.Truth())
		}
	}
	return b
}

// nothingBefore says where there is nothing that the host could go back to.
func (s switching) nothingBefore(b before) string {
	switch {
	case b.back || b.path() == s.System.Path || s.Action == actBoot:
		return ""
	case b.path() == "":
		return "no system of nix runs there: there is nothing to go back to, and no watchdog"
	}
	return b.path() + " cannot be activated again: there is nothing to go back to, and no watchdog"
}
