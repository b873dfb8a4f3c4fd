package nix

import (
	"strings"
	"testing"

	"infra/runtime"
)

// profiled is a host with three generations, of which the last two are the same system.
func profiled(current int, running string) *Rollback {
	r := &Rollback{Host: &runtime.Host{Name: "h"}, From: current, Running: running, all: []generation{
		{number: 3, path: "/a"}, {number: 5, path: "/b"}, {number: 8, path: "/b"},
	}}
	for i := range r.all {
		if r.all[i].number == current {
			r.all[i].current, r.Profile = true, r.all[i].path
		}
	}
	return r
}

func TestChooseGeneration(t *testing.T) {
	for _, tt := range []struct {
		current, to, want int
		fails, hint       string
	}{
		{current: 8, want: 3}, // 5 is the same system
		{current: 5, want: 3},
		{current: 3, fails: "there is nothing to go back to", hint: "infra rollback h --to N"},
		{current: 0, fails: "leads to none of its generations", hint: "infra rollback h --to N"},
		{current: 3, to: 8, want: 8},
		{current: 0, to: 5, want: 5},
		{current: 8, to: 4, fails: "h has no generation 4\n    3  "},
	} {
		r := profiled(tt.current, "/b")
		g, err := r.choose(tt.to)
		if g.number != tt.want || (err == nil) != (tt.fails == "") {
			t.Errorf("from %d to %d: generation %d, %v; want %d", tt.current, tt.to, g.number, err, tt.want)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.fails) || !strings.Contains(runtime.HintOf(err), tt.hint)) {
			t.Errorf("from %d to %d: %v\nhint: %s", tt.current, tt.to, err, runtime.HintOf(err))
		}
	}
}

// TestRollbackWhereSomebodySwitched: what was chosen holds only for a host that is as
// it was then.
func TestRollbackWhereSomebodySwitched(t *testing.T) {
	chosen := func(change func(*rollbackArgs)) rollbackArgs {
		a := rollbackArgs{Host: &runtime.Host{Name: "h"}, Generation: 3, System: &runtime.StorePath{Path: "/a"}, From: 8, Profile: "/b", Running: "/b"}
		change(&a)
		return a
	}
	for _, tt := range []struct {
		name   string
		change func(*rollbackArgs)
		says   string
	}{
		{"nobody", func(*rollbackArgs) {}, ""},
		{"the running system", func(a *rollbackArgs) { a.Running = "/c" }, "somebody has switched h"},
		{"the profile", func(a *rollbackArgs) { a.Profile = "/c" }, "somebody has switched h"},
		{"its generation", func(a *rollbackArgs) { a.From = 5 }, "somebody has switched h"},
		{"another system is that generation", func(a *rollbackArgs) { a.System = &runtime.StorePath{Path: "/c"} }, "somebody has removed it from h"},
		{"it is gone", func(a *rollbackArgs) { a.Generation = 2 }, "somebody has removed it from h"},
	} {
		err := profiled(8, "/b").moved(chosen(tt.change))
		if said := errorText(err); (said == "") != (tt.says == "") || !strings.Contains(said, tt.says) {
			t.Errorf("%s: got %q, want %q", tt.name, said, tt.says)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
