package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"infra/runtime"
)

// reportOn is the report of a run that ended with an exit code.
func reportOn(events []runtime.Event, strict bool, code int) *report {
	r := newReport(planFile, strict)
	r.code = code
	for _, e := range events {
		r.Read(e)
	}
	return r
}

// refusal is the report of a plan that cannot be read.
func refusal(err error) *report {
	r := newReport(planFile, false)
	r.refused, r.code = err, exitCodeOf(err)
	return r
}

var unreadable = runtime.Problems{
	{Pos: at(planFile, 52, 9), Msg: "step switch hands its function 2 values, but it takes 1",
		Source: "        step(switch, needs = [vars, system]),", Hint: "def switch(vars, system): ...", Trace: []string{"plans/all.star:3:1 in <toplevel>"}},
	{Pos: at("plans/lib/a.star", 1, 1), Msg: "these load one another in a ring:\n100% <b>a.star</b>, ::error::b.star", Source: "load(\"`b`.star\", \"b\")"},
	{Msg: "a problem without a place"},
}

// fleetDryRun is a preview of a step on many hosts, each with the same change
// and one operation that nothing is known of, some with a destroy; and a doubt.
func fleetDryRun(hosts int) []runtime.Event {
	update := &runtime.Step{Name: "update", Doc: "Update the Mac."}
	for i := range hosts {
		update.Each = append(update.Each, &runtime.Host{Name: fmt.Sprintf("mac-%03d", i)})
	}
	s := &script{}
	s.start(true, []*runtime.Step{update}, nil)
	for i, h := range update.Each {
		s.step("update", h.Name)
		put := runtime.Op{Name: "ssh.put", Host: h.Name, Effect: runtime.Change, Show: "/etc/motd", Pos: at(planFile, 12, 5)}
		s.ask("update", h.Name, put)(0, runtime.OK, predict(runtime.WillChange, "--- /etc/motd\n+++ /etc/motd\n@@ -1 +1 @@\n-```\n+welcome to <b>"+h.Name+"</b>"))
		cmd := runtime.Op{Name: "ssh.run", Host: h.Name, Effect: runtime.Change, Show: "launchctl kickstart | tee `log`", Pos: at(planFile, 13, 5),
			Needs: &runtime.Unknown{Op: "nix.build", Pos: at(planFile, 9, 14)}}
		s.ask("update", h.Name, cmd)(0, runtime.OK, predict(runtime.NotKnown, ""))
		if i%40 == 0 {
			wipe := runtime.Op{Name: "ssh.run", Host: h.Name, Effect: runtime.Destroy, Show: "diskutil eraseDisk " + h.Name, Pos: at(planFile, 20, 9)}
			s.ask("update", h.Name, wipe)(0, runtime.OK, predict(runtime.WillDestroy, ""))
		}
		s.end(0, "update", h.Name, runtime.OK, nil)
	}
	s.add(0, runtime.Event{Kind: runtime.Doubted, Step: "update", Host: "mac-001", Pos: at(planFile, 12, 5), Text: "fs.read on here looks at what the step clean may alter; say needs = [clean]"})
	s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: runtime.OK, Totals: &runtime.Totals{Ops: 2 * hosts, Verdicts: map[runtime.Verdict]int{
		runtime.WillChange: hosts, runtime.NotKnown: hosts + 1, runtime.WillDestroy: (hosts + 39) / 40,
	}, Steps: map[runtime.Status]int{runtime.OK: hosts}}})
	return s.events
}

func annotationsOf(t *testing.T, r *report) string {
	t.Helper()
	var b strings.Builder
	if err := annotate(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAnnotations(t *testing.T) {
	for name, r := range map[string]*report{
		"github-ok.txt":      reportOn(okRun(), false, 0),
		"github-failed.txt":  reportOn(failedRun(), false, 1),
		"github-dry.txt":     reportOn(dryRun(), false, 0),
		"github-strict.txt":  reportOn(dryRun(), true, 1),
		"github-fleet.txt":   reportOn(fleetDryRun(120), false, 0),
		"github-refused.txt": refusal(unreadable),
		"github-locked.txt":  refusal(runtime.WithHint(fmt.Errorf("blackphos: %w", runtime.ErrLocked), "wait for run k3f9")),
	} {
		golden(t, name, annotationsOf(t, r))
	}
}

// GitHub shows ten of each level and drops the rest: the tenth must say so,
// and what is destroyed goes before what is not known.
func TestAnnotationsAreTen(t *testing.T) {
	s := &script{}
	s.start(true, nil, nil)
	for i := range 30 {
		v, name := runtime.NotKnown, "ssh.run"
		if i >= 25 {
			v, name = runtime.WillDestroy, "terraform.destroy"
		}
		op := runtime.Op{Name: name, Effect: runtime.Destroy, Show: fmt.Sprint("number ", i), Pos: at(planFile, int32(i+1), 1)}
		s.ask("a", "", op)(0, runtime.OK, predict(v, ""))
	}
	for i := range 11 {
		s.end(0, fmt.Sprint("step", i), "", runtime.Failed, errors.New("no"))
	}
	lines := strings.Split(strings.TrimSpace(annotationsOf(t, reportOn(s.events, false, 1))), "\n")
	count := map[string]int{}
	for _, line := range lines {
		c, ok := decodeCommand(line)
		if !ok {
			t.Fatalf("no command: %s", line)
		}
		count[c.name]++
		if count[c.name] == 10 && !strings.HasPrefix(c.props["title"], "and ") {
			t.Errorf("the tenth %s does not say how many more there are: %s", c.name, line)
		}
		if c.name == "warning" && count[c.name] <= 5 && !strings.Contains(line, "terraform.destroy") {
			t.Errorf("a destroy was expected: %s", line)
		}
	}
	if count["error"] != 10 || count["warning"] != 10 || count["notice"] != 1 {
		t.Errorf("shown: %v", count)
	}
	if all := strings.Join(lines, "\n"); !strings.Contains(all, "title=and 21 more::") || !strings.Contains(all, "title=and 2 more::") {
		t.Errorf("how many more there are is wrong:\n%s", all)
	}
}

// GitHub finds a file by its path in the checkout, not in the project.
func TestAnnotationFiles(t *testing.T) {
	checkout := t.TempDir()
	project := filepath.Join(checkout, "fleet")
	if err := os.MkdirAll(filepath.Join(project, "plans"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(project, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ workspace, root, want string }{
		{checkout, project, "fleet/" + planFile},
		{checkout, link, "fleet/" + planFile},
		{project, project, planFile},
		{"", project, planFile},
		{checkout, "", planFile},
		{filepath.Join(checkout, "other"), project, planFile},
	} {
		r := newReport(planFile, false)
		r.workspace, r.root = tt.workspace, tt.root
		if got := r.fileOf(planFile); got != tt.want {
			t.Errorf("workspace %q, project %q: %q, want %q", tt.workspace, tt.root, got, tt.want)
		}
	}
}

// A command is what the runner reads of a line.
type command struct {
	name  string
	props map[string]string
	data  string
}

// decodeCommand reads a line by the rules of GitHub's runner.
func decodeCommand(line string) (command, bool) {
	line = strings.TrimLeftFunc(line, unicode.IsSpace)
	rest, found := strings.CutPrefix(line, "::")
	info, data, ends := strings.Cut(rest, "::")
	if !found || !ends {
		return command{}, false
	}
	name, props, _ := strings.Cut(info, " ")
	c := command{name, map[string]string{}, put(data, "%0D", "\r", "%0A", "\n", "%25", "%")}
	for _, p := range strings.Split(strings.TrimSpace(props), ",") {
		if k, v, ok := strings.Cut(p, "="); ok && v != "" {
			c.props[k] = put(v, "%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%")
		}
	}
	return c, true
}

// put puts replacements back, one after the other.
func put(s string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		s = strings.ReplaceAll(s, pairs[i], pairs[i+1])
	}
	return s
}

func FuzzAnnotation(f *testing.F) {
	f.Add("plans/a.star", "title", "msg")
	f.Add("a,b:c%2C\r\n::error::", "x%253A=,file=y", "100%\r\n::set-env name=x::y\n%0A##[add-path]")
	f.Fuzz(func(t *testing.T, file, title, msg string) {
		a := annotation{level: "error", pos: at(file, 3, 7), title: title, msg: msg}
		line := a.String()
		if strings.ContainsAny(line, "\r\n") {
			t.Fatalf("more than a line: %q", line)
		}
		c, ok := decodeCommand(line)
		if !ok || c.name != "error" {
			t.Fatalf("no error: %q", line)
		}
		want := map[string]string{"line": "3", "col": "7"}
		if file != "" {
			want["file"] = file
		}
		if shown := oneLine(title); shown != "" {
			want["title"] = shown
		}
		if fmt.Sprint(c.props) != fmt.Sprint(want) && strings.TrimSpace(title) == title {
			t.Fatalf("%q: %q, want %q", line, c.props, want)
		}
		if whole := strings.TrimSpace(printable(msg)); len(whole) <= maxMessage && c.data != whole {
			t.Fatalf("%q: message %q, want %q", line, c.data, whole)
		}
	})
}

// obeyed says whether the runner could take a line for a command: by its bytes,
// or by rules of comparison that skip what has no width.
func obeyed(line string) bool {
	skipped := strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.C, unicode.M) {
			return -1
		}
		return r
	}, line)
	for _, l := range []string{line, skipped} {
		if strings.HasPrefix(strings.TrimLeftFunc(l, unicode.IsSpace), "::") || strings.Contains(l, "##[") {
			return true
		}
	}
	return false
}

func FuzzDisarm(f *testing.F) {
	for _, s := range []string{"::error::x", "  \t::set-env name=PATH::x", "a ##[add-path]/tmp", "\u00ad:\u200b:stop-commands::x",
		"#\u200d#\ufe0f[group]", "ok\n\u2028\u00a0::x::\n###[x", ":::::", "\x1b[31m::x::y", "\xff::a::b", ":\n:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b strings.Builder
		if n, err := (disarmed{&b}).Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
		for _, line := range strings.FieldsFunc(b.String(), func(r rune) bool { return r == '\n' }) {
			if obeyed(line) {
				t.Fatalf("%q lets %q through", s, line)
			}
		}
		if strings.ReplaceAll(b.String(), " ", "") != strings.ReplaceAll(s, " ", "") {
			t.Fatalf("more than spaces: %q became %q", s, b.String())
		}
	})
}

// What a plan logs, and what a host prints, commands nothing, in any form that
// is printed where the runner listens.
func TestForeignTextCommandsNothing(t *testing.T) {
	evil := "::add-path::/tmp/evil\n##[set-env name=X]y"
	s := &script{}
	s.start(true, []*runtime.Step{{Name: "::warning::a", Doc: evil}}, nil)
	s.step("::warning::a", "")
	s.add(0, runtime.Event{Kind: runtime.Logged, Step: "::warning::a", Text: evil})
	s.ask("::warning::a", "", runtime.Op{Name: "ssh.run", Show: evil, Pos: at("::debug::.star", 1, 1)})(0, runtime.OK, predict(runtime.WillDestroy, evil))
	s.end(0, "::warning::a", "", runtime.Failed, runtime.WithHint(errors.New(evil), "%s", evil))
	s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: runtime.Failed, Err: errors.New(evil)})
	var people, lines strings.Builder
	words := newPlain(disarmed{&people}, false, true)
	for _, e := range s.events {
		words.Read(e)
	}
	printProblems(disarmed{&people}, runtime.Problems{{Pos: at("::debug::.star", 1, 1), Msg: evil, Source: "::error::x", Hint: evil}}, false)
	lines.WriteString(jsonText(s.events))
	for name, out := range map[string]string{"plain": people.String(), "json": lines.String()} {
		for _, line := range strings.Split(out, "\n") {
			if obeyed(line) {
				t.Errorf("%s: %s", name, line)
			}
		}
		if !strings.Contains(out, "add-path") {
			t.Errorf("%s does not show it at all", name)
		}
	}
	var levels []string
	for _, line := range strings.Split(strings.TrimSpace(annotationsOf(t, reportOn(s.events, false, 1))), "\n") {
		c, _ := decodeCommand(line)
		levels = append(levels, c.name)
	}
	if want := []string{"error", "warning", "notice"}; !slices.Equal(levels, want) {
		t.Errorf("annotations %q, want %q", levels, want)
	}
}
