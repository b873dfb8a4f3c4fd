package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// golden compares got with testdata/golden/name; UPDATE=1 rewrites the file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// at is a place in a plan file.
func at(file string, line, col int32) syntax.Position {
	return syntax.MakePosition(&file, line, col)
}

const planFile = "plans/blackphos.star"

var (
	t0       = time.Date(2026, 11, 22, 21, 19, 0, 0, time.UTC)
	mac      = &runtime.Host{Name: "blackphos", System: "aarch64-darwin", SSH: "root@blackphos"}
	cinnabar = &runtime.Host{Name: "cinnabar", System: "x86_64-linux", SSH: "root@cinnabar"}
)

// A script is a run as a list of events, made by the methods below.
type script struct {
	events []runtime.Event
	now    time.Time
	ops    int
}

func (s *script) add(after time.Duration, e runtime.Event) {
	s.now = s.now.Add(after)
	e.Time, e.Run = s.now, "20261122T2119-k3f9"
	s.events = append(s.events, e)
}

func (s *script) start(dry bool, steps []*runtime.Step, checks []*runtime.Check) {
	s.now = t0
	s.add(0, runtime.Event{Kind: runtime.RunStarted, Start: &runtime.RunStart{
		Plan: &runtime.Plan{Name: "blackphos", Title: "First Mac", Phase: 2},
		File: planFile, DryRun: dry, Steps: steps, Checks: checks,
	}})
}

func (s *script) step(name, host string) {
	s.add(0, runtime.Event{Kind: runtime.StepStarted, Step: name, Host: host})
}

func (s *script) end(after time.Duration, name, host string, st runtime.Status, err error) {
	s.add(after, runtime.Event{Kind: runtime.StepEnded, Step: name, Host: host, Status: st, Took: after, Err: err})
}

func (s *script) check(name, host string, st runtime.Status, detail string) {
	s.add(0, runtime.Event{Kind: runtime.StepStarted, Step: name, Host: host, Check: true})
	s.add(200*time.Millisecond, runtime.Event{Kind: runtime.StepEnded, Step: name, Host: host, Check: true, Status: st, Took: 200 * time.Millisecond, Text: detail})
}

// ask starts an operation and returns what ends it.
func (s *script) ask(step, host string, op runtime.Op, output ...string) func(time.Duration, runtime.Status, func(*runtime.OpEvent)) {
	s.ops++
	id := s.ops
	s.add(0, runtime.Event{Kind: runtime.OpAsked, Step: step, Host: host, Op: &runtime.OpEvent{ID: id, Op: op}})
	for _, line := range output {
		s.add(0, runtime.Event{Kind: runtime.OpOutput, Step: step, Host: host, Op: &runtime.OpEvent{ID: id, Op: op}, Text: line})
	}
	return func(after time.Duration, st runtime.Status, more func(*runtime.OpEvent)) {
		ended := &runtime.OpEvent{ID: id, Op: op}
		if len(output) > 0 {
			ended.Output = fmt.Sprintf("%04d.log", id)
		}
		if more != nil {
			more(ended)
		}
		s.add(after, runtime.Event{Kind: runtime.OpEnded, Step: step, Host: host, Op: ended, Status: st, Took: after})
	}
}

func changed(o *runtime.OpEvent) { o.Changed = true }

func predict(v runtime.Verdict, detail string) func(*runtime.OpEvent) {
	return func(o *runtime.OpEvent) { o.Prediction = &runtime.Prediction{Verdict: v, Detail: detail} }
}

var (
	storePath = "/nix/store/9xdrl7dmw1rp9ffssjbh4f3dvbvxqz8c-darwin-system-blackphos"
	buildOp   = runtime.Op{Name: "nix.build", Effect: runtime.Build, Show: ".#darwinConfigurations.blackphos.system", Args: runtime.Args{"installable": ".#darwinConfigurations.blackphos.system"}, Pos: at(planFile, 16, 12)}
	copyOp    = runtime.Op{Name: "nix.copy", Host: "blackphos", Effect: runtime.Change, Show: storePath, Args: runtime.Args{"path": storePath, "to": "blackphos"}, Pos: at(planFile, 20, 5)}
	switchOp  = runtime.Op{Name: "nix.switch", Host: "blackphos", Effect: runtime.Change, Show: storePath + "\nprofile system", Pos: at(planFile, 21, 12)}
	listOp    = runtime.Op{Name: "ssh.run", Host: "blackphos", Effect: runtime.Read, Show: "ls /run/secrets/vars", Pos: at(planFile, 29, 13)}
	wipeOp    = runtime.Op{Name: "terraform.destroy", Effect: runtime.Destroy, Show: "2 servers", Pos: at(planFile, 40, 5)}
)

func macSteps() ([]*runtime.Step, []*runtime.Check) {
	vars := &runtime.Step{Name: "vars", Doc: "Generate the vars that clan still lacks for blackphos."}
	system := &runtime.Step{Name: "system", Doc: "Build the system; nothing on the Mac changes."}
	sw := &runtime.Step{Name: "switch", Doc: "Copy the system over and switch to it.", Needs: []*runtime.Step{vars, system}}
	after := &runtime.Step{Name: "announce", Needs: []*runtime.Step{sw}}
	checks := []*runtime.Check{
		{Name: "zerotier_online", Host: mac, Required: true},
		{Name: "patterns documented"},
	}
	return []*runtime.Step{vars, system, sw, after}, checks
}

// okRun is a run in which everything goes well.
func okRun() []runtime.Event {
	s := &script{}
	s.start(false, first2(macSteps()), second2(macSteps()))
	s.step("vars", "")
	s.step("system", "")
	build := s.ask("system", "", buildOp, "these 3 derivations will be built:", "building '/nix/store/…-etc.drv'...")
	s.add(0, runtime.Event{Kind: runtime.Logged, Step: "vars", Text: "nothing is missing\n2 generators"})
	s.end(300*time.Millisecond, "vars", "", runtime.OK, nil)
	build(2*time.Second, runtime.OK, changed)
	s.end(0, "system", "", runtime.OK, nil)
	s.step("switch", "")
	s.ask("switch", "", copyOp, "copying 3 paths...")(1200*time.Millisecond, runtime.OK, changed)
	s.ask("switch", "", switchOp)(800*time.Millisecond, runtime.OK, changed)
	s.end(0, "switch", "", runtime.OK, nil)
	s.step("announce", "")
	s.end(0, "announce", "", runtime.OK, nil)
	s.check("zerotier_online", "blackphos", runtime.OK, "10.147.17.3")
	s.check("patterns documented", "", runtime.Warned, "docs/patterns.md is missing")
	s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: runtime.OK, Took: 4700 * time.Millisecond, Totals: &runtime.Totals{
		Ops: 3, Changed: 3, Steps: map[runtime.Status]int{runtime.OK: 4}, Checks: map[runtime.Status]int{runtime.OK: 1, runtime.Warned: 1},
	}})
	return s.events
}

// failedRun is a run in which one of two hosts fails, after a retry.
func failedRun() []runtime.Event {
	update := &runtime.Step{Name: "update", Each: []*runtime.Host{mac, cinnabar}}
	after := &runtime.Step{Name: "announce", Needs: []*runtime.Step{update}}
	s := &script{}
	s.start(false, []*runtime.Step{update, after}, nil)
	s.step("update", "blackphos")
	s.step("update", "cinnabar")
	s.ask("update", "cinnabar", runtime.Op{Name: "ssh.reachable", Host: "cinnabar", Show: "root@cinnabar"})(100*time.Millisecond, runtime.Failed, nil)
	s.add(0, runtime.Event{Kind: runtime.StepRetried, Step: "update", Host: "cinnabar", Err: errors.New("ssh.reachable: cinnabar does not answer")})
	fails := s.ask("update", "blackphos", switchOp, "setting up /etc...", "\x1b[31merror:\x1b[0m launchd said no\a", "10%\r50%\r100%")
	s.ask("update", "cinnabar", runtime.Op{Name: "nix.switch", Host: "cinnabar", Effect: runtime.Change, Show: "/nix/store/…-nixos-system-cinnabar"})(500*time.Millisecond, runtime.OK, nil)
	s.end(0, "update", "cinnabar", runtime.OK, nil)
	fails(65*time.Second, runtime.Failed, nil)
	s.end(0, "update", "blackphos", runtime.Failed, runtime.WithHint(errors.New("nix.switch: activate exited with 1"), "the old system still runs; mend it and run again"))
	s.end(0, "announce", "", runtime.Skipped, errors.New(`"update" did not succeed`))
	s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: runtime.Failed, Took: 3725 * time.Second, Totals: &runtime.Totals{
		Ops: 3, Steps: map[runtime.Status]int{runtime.OK: 1, runtime.Failed: 1, runtime.Skipped: 1},
	}})
	return s.events
}

// dryRun is a preview with every verdict, whose steps end out of order.
func dryRun() []runtime.Event {
	s := &script{}
	s.start(true, first2(macSteps()), second2(macSteps()))
	s.step("vars", "")
	s.step("system", "")
	s.ask("system", "", buildOp)(2*time.Second, runtime.OK, predict(runtime.WillChange, ""))
	s.ask("system", "", runtime.Op{Name: "nix.eval", Effect: runtime.Read, Show: ".#lib.version"})(0, runtime.OK, nil)
	s.end(0, "system", "", runtime.OK, nil)
	s.add(0, runtime.Event{Kind: runtime.Logged, Step: "vars", Text: "nothing is missing"})
	s.end(0, "vars", "", runtime.OK, nil)
	s.step("switch", "")
	s.ask("switch", "", copyOp)(0, runtime.OK, predict(runtime.NoChange, ""))
	s.ask("switch", "", switchOp)(0, runtime.OK, predict(runtime.WillChange, "--- /run/current-system\n+++ new\n-zsh 5.8\n+zsh 5.9"))
	s.ask("switch", "", wipeOp)(0, runtime.OK, predict(runtime.WillDestroy, "server web-1\nserver web-2"))
	s.ask("switch", "", listOp)(0, runtime.OK, nil)
	s.ask("switch", "", runtime.Op{Name: "ssh.run", Host: "blackphos", Effect: runtime.Change, Show: "softwareupdate -i -a"})(0, runtime.OK, predict(runtime.NotKnown, ""))
	s.end(0, "switch", "", runtime.Stopped, &runtime.NotKnownError{Field: "stdout", Origin: runtime.Unknown{Op: "ssh.run", Pos: at(planFile, 31, 9)}})
	s.end(0, "announce", "", runtime.Skipped, errors.New(`the preview of "switch" stopped`))
	s.check("zerotier_online", "blackphos", runtime.OK, "10.147.17.3")
	s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: runtime.OK, Took: 2400 * time.Millisecond, Totals: &runtime.Totals{
		Ops:      7,
		Verdicts: map[runtime.Verdict]int{runtime.WillChange: 2, runtime.WillDestroy: 1, runtime.NoChange: 1, runtime.NotKnown: 1},
		Steps:    map[runtime.Status]int{runtime.OK: 2, runtime.Stopped: 1, runtime.Skipped: 1}, Checks: map[runtime.Status]int{runtime.OK: 1},
	}})
	return s.events
}

// partsRun is a run at the middle of an operation that works on parts: one of
// a step, and one of a step's host.
func partsRun() []runtime.Event {
	server := &runtime.Step{Name: "server"}
	each := &runtime.Step{Name: "each", Each: []*runtime.Host{cinnabar}}
	s := &script{}
	s.start(false, []*runtime.Step{server, each}, nil)
	s.step("server", "")
	apply := runtime.Op{Name: "terraform.apply", Effect: runtime.Change, Show: "2 to create"}
	s.ask("server", "", apply, "Plan: 2 to add")
	tell := func(step, host string, id int, op runtime.Op, after time.Duration, p runtime.Part) {
		s.add(after, runtime.Event{Kind: runtime.OpProgress, Step: step, Host: host, Op: &runtime.OpEvent{ID: id, Op: op}, Part: &p})
	}
	tell("server", "", 1, apply, 0, runtime.Part{Name: "hcloud_ssh_key.admin", Does: "creating", Of: 2})
	tell("server", "", 1, apply, time.Second, runtime.Part{Name: "hcloud_server.cinnabar", Does: "creating", Of: 2})
	tell("server", "", 1, apply, 2*time.Second, runtime.Part{Name: "hcloud_ssh_key.admin", Does: "created", Over: true, Took: 3 * time.Second, Detail: "id 7", Nth: 1, Of: 2})
	s.step("each", "cinnabar")
	s.ask("each", "cinnabar", copyOp)
	tell("each", "cinnabar", 2, copyOp, 0, runtime.Part{Name: storePath, Does: "copying", Took: time.Second, Detail: "1.0 of 2.0 MiB", Sum: "0 of 2 paths, 1.0 of 4.0 MiB"})
	tell("each", "cinnabar", 2, copyOp, time.Second, runtime.Part{Name: storePath, Does: "copying", Took: 2 * time.Second, Detail: "1.5 of 2.0 MiB", Sum: "0 of 2 paths, 1.5 of 4.0 MiB"})
	tell("each", "cinnabar", 2, copyOp, time.Second, runtime.Part{Sum: "0 of 2 paths, 1.7 of 4.0 MiB"})
	return s.events
}

func first2[A, B any](a A, _ B) A  { return a }
func second2[A, B any](_ A, b B) B { return b }

func told(events []runtime.Event, color bool) string {
	var b strings.Builder
	r := newPlain(&b, color, false)
	for _, e := range events {
		r.Read(e)
	}
	r.Close()
	return b.String()
}

func TestPlain(t *testing.T) {
	for _, tt := range []struct {
		golden string
		events []runtime.Event
		color  bool
	}{
		{"plain-ok.txt", okRun(), false},
		{"plain-failed.txt", failedRun(), false},
		{"plain-failed-color.txt", failedRun(), true},
		{"plain-dry.txt", dryRun(), false},
		{"plain-parts.txt", partsRun(), false},
	} {
		t.Run(tt.golden, func(t *testing.T) { golden(t, tt.golden, told(tt.events, tt.color)) })
	}
}

func TestNoChange(t *testing.T) {
	for _, tt := range []struct {
		name   string
		dry    bool
		status runtime.Status
		totals runtime.Totals
		want   string
		not    string
	}{
		{"run", false, runtime.OK, runtime.Totals{Ops: 2}, "2 operations, no change\n", "completed"},
		{"failed run", false, runtime.Failed, runtime.Totals{Ops: 2}, "no change completed\n", ""},
		{"changing run", false, runtime.OK, runtime.Totals{Ops: 2, Changed: 1}, "2 operations, 1 change\n", "no change"},
		{"dry run", true, runtime.OK, runtime.Totals{Verdicts: map[runtime.Verdict]int{runtime.NoChange: 3}}, "no change; nothing was changed", "3"},
		{"changing dry run", true, runtime.OK, runtime.Totals{Verdicts: map[runtime.Verdict]int{runtime.NoChange: 2, runtime.WillChange: 4, runtime.NotKnown: 1}},
			"4 changes, 2 no change, 1 unknown; nothing was changed", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{}
			s.start(tt.dry, nil, nil)
			s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: tt.status, Totals: &tt.totals})
			got := told(s.events, false)
			if !strings.Contains(got, tt.want) || tt.not != "" && strings.Contains(got, tt.not) {
				t.Errorf("want %q and not %q in:\n%s", tt.want, tt.not, got)
			}
		})
	}
}

// A dry run that ends early still shows what it had found.
func TestDryRunCutShort(t *testing.T) {
	events := dryRun()
	var cut []runtime.Event
	for _, e := range events {
		if e.Kind != runtime.StepEnded || e.Step != "vars" {
			cut = append(cut, e)
		}
	}
	got := told(cut, false)
	for _, want := range []string{"vars  Generate", "  | nothing is missing", "nix.build", "nothing was changed"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("want %q once in:\n%s", want, got)
		}
	}
}

func TestSecretsAreScrubbed(t *testing.T) {
	secret := runtime.NewSecret("s.yaml[token]", "hunter2-hunter2")
	s := &script{}
	leak := "x " + secret.Reveal()
	// Control sequences inside the value must not hide it from the scrubber.
	torn := "y hunter2-\x1b[1mhunter2"
	s.start(false, []*runtime.Step{{Name: "a", Doc: leak}}, nil)
	s.step("a", "")
	s.add(0, runtime.Event{Kind: runtime.Logged, Step: "a", Text: torn})
	fail := s.ask("a", "", runtime.Op{Name: "local.run", Show: leak, Args: runtime.Args{"argv": []string{leak}}}, leak, torn, strings.Repeat("é", 2000)+leak)
	fail(0, runtime.Failed, predict(runtime.WillChange, leak))
	s.end(0, "a", "", runtime.Failed, runtime.WithHint(errors.New(leak), "%s", leak))
	s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: runtime.Failed, Err: errors.New(leak)})
	for name, newReader := range map[string]func(*strings.Builder) reader{
		"plain": func(b *strings.Builder) reader { return newPlain(b, true, false) },
		"json":  func(b *strings.Builder) reader { return newJSON(b) },
	} {
		var b strings.Builder
		r := newReader(&b)
		for _, e := range s.events {
			r.Read(e)
		}
		if got := b.String(); strings.Contains(got, "hunter2") || !strings.Contains(got, "‹secret s.yaml[token]›") {
			t.Errorf("%s shows the secret, or not its placeholder:\n%s", name, got)
		}
	}
	state := newTreeState()
	for _, e := range s.events[:len(s.events)-3] {
		state.apply(e)
	}
	if got := view(state, 400, 10, true); strings.Contains(got, "hunter2") || !strings.Contains(got, "‹secret") {
		t.Errorf("the tree shows the secret, or not its placeholder:\n%s", got)
	}
}

func TestElapsed(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0s", 340 * time.Millisecond: "0.3s", 59940 * time.Millisecond: "59.9s", 59960 * time.Millisecond: "1m00s",
		125 * time.Second: "2m05s", 3599900 * time.Millisecond: "1h00m", 3599400 * time.Millisecond: "59m59s", 3725 * time.Second: "1h02m",
	} {
		if got := elapsed(d); got != want {
			t.Errorf("elapsed(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"é 日本 ✓":                     "é 日本 ✓",
		"\x1b[31mred\x1b[0m":         "red",
		"\x1b]0;title\x07after":      "after",
		"a\x9b2Jb\u009b2Jc":          "",
		"bell\a back\b":              "bell back",
		"a\tb\nc":                    "a\tb\nc",
		"evil\u202e txt.exe\u2066!":  "evil txt.exe!",
		"\x1bPq sixel \x1b\\after x": "after x",
	} {
		got := printable(in)
		if want != "" && got != want || strings.ContainsAny(got, "\x1b\a\b\u009b") {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}
