package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

func TestAPlanChangesOnlyItsHosts(t *testing.T) {
	plan := fleet + `
def f(host): ssh.run(%s, ["true"])
p = plan(hosts = fleet[:2], steps = [step(f, each = fleet[:2])])
`
	t.Run("not one that it does not list", func(t *testing.T) {
		tr := newTrial(t)
		tr.must(runtime.Failed, fmt.Sprintf(plan, "fleet[5]"), Options{})
		if got := tr.end("f h0"); !strings.Contains(got, "ssh.run would change h5, which the plan does not list") {
			t.Error(got)
		}
	})
	t.Run("not one that was not chosen", func(t *testing.T) {
		tr := newTrial(t)
		out := tr.must(runtime.Failed, fmt.Sprintf(plan, "fleet[1]"), Options{Hosts: []string{"h0"}})
		if got := tr.end("f h0"); !strings.Contains(got, "ssh.run would change h1, which was not chosen") || len(out.Totals.Steps) != 1 {
			t.Error(got, out.Totals.Steps)
		}
	})
}

func TestOneRunAtATimeOnAHost(t *testing.T) {
	tr := newTrial(t)
	plan := "def f(): local.run([\"true\"])\np = plan(hosts = [host(\"h\", system = \"x86_64-linux\")], steps = [step(f)])"
	var second error
	tr.must(runtime.OK, plan, Options{Show: func(e runtime.Event) {
		if e.Kind == runtime.OpAsked {
			_, second = (&trial{T: t, root: tr.root}).run(plan, Options{})
		}
	}})
	if !errors.Is(second, runtime.ErrLocked) || !strings.Contains(second.Error(), "works on h") {
		t.Errorf("the second run got %v", second)
	}
	var resumed error
	tr.must(runtime.OK, "def f(): local.run([\"true\"])\np = plan(steps = [step(f)])", Options{Show: func(e runtime.Event) {
		if e.Kind == runtime.OpAsked {
			_, resumed = lockRun(tr.root, e.Run)
		}
	}})
	if !errors.Is(resumed, runtime.ErrLocked) || !strings.Contains(resumed.Error(), "still goes on") {
		t.Errorf("a process that resumed the running run got %v", resumed)
	}
	if left, _ := filepath.Glob(filepath.Join(tr.root, ".infra", "locks", "run-*")); left != nil {
		t.Errorf("locks are left: %q", left)
	}
	tr.must(runtime.OK, plan, Options{})
}

func TestNothingIsDoneThatIsNotJournaled(t *testing.T) {
	j, err := journal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	r := &run{file: &interp.File{}, plan: &runtime.Plan{}, journal: j, stop: t.Context(), totals: runtime.Totals{}}
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	acted := false
	do := r.chain(func(context.Context, runtime.Op) (runtime.Result, error) {
		acted = true
		return runtime.Result{}, nil
	})
	if _, err := do(withTask(t.Context(), tk), runtime.Op{Name: "x", Effect: runtime.Change}); err == nil || acted {
		t.Errorf("acted is %v, error is %v", acted, err)
	}
}

func TestTheOrderOfPolicies(t *testing.T) {
	var names []string
	for _, p := range policies {
		names = append(names, p.name)
	}
	if got := strings.Join(names, " "); got != "ahead scoped reviewed replayed stoppable confirmed kept locked announced scrubbing located" {
		t.Errorf("the policies are %s", got)
	}
	secret := runtime.NewSecret("token", "hunter2-hunter2")
	var seen []string
	r := &run{file: &interp.File{}, plan: &runtime.Plan{Hosts: []*runtime.Host{{Name: "h"}}}, stop: t.Context(), opts: Options{Show: func(e runtime.Event) {
		s := string(e.Kind)
		if e.Err != nil {
			s += " " + e.Err.Error()
		}
		seen = append(seen, s)
	}}}
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	do := r.chain(func(context.Context, runtime.Op) (runtime.Result, error) {
		seen = append(seen, "acts")
		return runtime.Result{}, fmt.Errorf("said %s", secret.Reveal())
	})
	_, err := do(withTask(t.Context(), tk), runtime.Op{Name: "ssh.run", Host: "h", Effect: runtime.Change})
	want := "op_asked|acts|op_ended ssh.run on h: said ‹secret token›"
	if got := strings.Join(seen, "|"); got != want || err.Error() != "ssh.run on h: said ‹secret token›" {
		t.Errorf("got %s, then %v", got, err)
	}
	seen = nil
	if _, err := do(withTask(t.Context(), tk), runtime.Op{Name: "ssh.run", Host: "other", Effect: runtime.Change}); err == nil || seen != nil {
		t.Errorf("a refused operation was announced: %q, %v", seen, err)
	}
}

// What a step calls to look may not change anything, not even on a host of the plan.
func TestWhatOnlyReadsChangesNothing(t *testing.T) {
	r := &run{file: &interp.File{}, plan: &runtime.Plan{Hosts: []*runtime.Host{{Name: "h"}}}, stop: t.Context()}
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	for _, effect := range []runtime.Effect{runtime.Read, runtime.Build, runtime.Change, runtime.Destroy} {
		acted := false
		do := scoped(r, func(context.Context, runtime.Op) (runtime.Result, error) {
			acted = true
			return runtime.Result{}, nil
		})
		ctx := runtime.WithReadsOnly(withTask(t.Context(), tk), "a check of nix.switch")
		_, err := do(ctx, runtime.Op{Name: "ssh.run", Host: "h", Effect: effect})
		want := fmt.Sprintf("ssh.run is a %s, and a check of nix.switch only reads", effect)
		if effect == runtime.Read && (err != nil || !acted) {
			t.Errorf("a read is refused: %v", err)
		} else if effect != runtime.Read && (acted || err == nil || err.Error() != want || !strings.Contains(runtime.HintOf(err), "reads = True")) {
			t.Errorf("a %s: acted is %v, error is %v (%s)", effect, acted, err, runtime.HintOf(err))
		}
	}
}

func TestAStoppedRunAsksForNothing(t *testing.T) {
	stop, cancel := context.WithCancelCause(t.Context())
	cancel(runtime.ErrInterrupted)
	r := &run{file: &interp.File{}, plan: &runtime.Plan{}, stop: stop, opts: Options{Show: func(e runtime.Event) { t.Errorf("it was announced: %v", e) }}}
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	do := r.chain(func(context.Context, runtime.Op) (runtime.Result, error) {
		t.Error("it was carried out")
		return runtime.Result{}, nil
	})
	if _, err := do(withTask(t.Context(), tk), runtime.Op{Name: "x"}); !errors.Is(err, runtime.ErrInterrupted) {
		t.Errorf("got %v", err)
	}
}

func TestOutputIsKeptScrubbedInTheRunsFolder(t *testing.T) {
	t.Setenv("TOKEN", "s3cr3t-value")
	tr := newTrial(t)
	out := tr.must(runtime.OK, `
def f(): local.run("echo before; echo $T; echo $T | base64", env = {"T": secrets.env("TOKEN")})
p = plan(steps = [step(f)])
`, Options{})
	files, _ := filepath.Glob(filepath.Join(tr.root, ".infra", "runs", out.Run, "*"))
	if len(files) != 1 {
		t.Fatalf("the run's folder holds %q", files)
	}
	data, _ := os.ReadFile(files[0])
	if s := string(data); !strings.Contains(s, "before\n‹secret env[TOKEN]›\n‹secret env[TOKEN]›") {
		t.Errorf("kept %q", s)
	}
}
