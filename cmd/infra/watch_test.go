package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
	"infra/runtime/clock"
	saved "infra/runtime/preview"
	filewatch "infra/runtime/watch"
)

// A watched is a project that infra watch looks at.
type watched struct {
	*testing.T
	dir  string
	cmd  *exec.Cmd
	said *bufio.Reader
}

const watchedPlanText = `
load("lib.star", "text")

def write():
    fs.write("note.txt", text)
    if fs.exists("later.txt"):
        fs.write("other.txt", fs.read("later.txt"))

a = plan(title = "A note", steps = [step(write)])
`

// startWatch starts the program on a project of these files.
func startWatch(t *testing.T, files map[string]string, args ...string) *watched {
	t.Helper()
	w := &watched{T: t, dir: resolved(t.TempDir())}
	w.write("infra.toml", "")
	for name, text := range files {
		w.write(name, text)
	}
	w.cmd = exec.Command("infra", append([]string{"watch"}, args...)...)
	w.cmd.Dir, w.cmd.Stderr = w.dir, os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill(); _ = w.cmd.Wait() })
	stuck := time.AfterFunc(patience, func() { _ = w.cmd.Process.Kill() })
	t.Cleanup(func() { stuck.Stop() })
	w.said = bufio.NewReader(out)
	return w
}

// write saves a file as a whole, as editors do: none is seen half written.
func (w *watched) write(name, text string) {
	w.Helper()
	next := filepath.Join(w.dir, ".next~")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(w.dir, name)); err != nil {
		w.Fatal(err)
	}
}

// document is the next document, which was made for these files.
func (w *watched) document(file string, changed ...string) *jsonReload {
	w.Helper()
	line, err := w.said.ReadString('\n')
	if err != nil {
		w.Fatalf("it ended without a document for %s: %v", changed, err)
	}
	d := new(jsonReload)
	if err := json.Unmarshal([]byte(line), d); err != nil {
		w.Fatalf("%v in %s", err, line)
	}
	if d.Schema != watchSchema || d.Event != previewed || d.File != file || !slices.Equal(d.Changed, append([]string{}, changed...)) {
		w.Fatalf("want a preview of %s for %q, got\n%s", file, changed, line)
	}
	return d
}

// until reads lines up to one with a text, and returns them.
func (w *watched) until(text string) string {
	w.Helper()
	said := ""
	for {
		line, err := w.said.ReadString('\n')
		if said += line; err != nil {
			w.Fatalf("it ended without %q:\n%s", text, said)
		}
		if strings.Contains(line, text) {
			return said
		}
	}
}

// ends ends it as a service's manager does.
func (w *watched) ends() {
	w.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.Fatal(err)
	}
	rest, _ := w.said.ReadString(0)
	if err := w.cmd.Wait(); w.cmd.ProcessState.ExitCode() != exitInterrupted || rest != "" {
		w.Errorf("%v\n%s", err, rest)
	}
	if _, err := os.Stat(filepath.Join(w.dir, ".infra")); err == nil {
		w.Error("it wrote into .infra")
	}
}

func whatDiffers(d *jsonReload) string {
	var out []string
	for _, d := range d.Differences {
		out = append(out, string(d.Kind))
	}
	return strings.Join(out, " ")
}

// TestWatchTellsEachChangeOnce: one document for each change, none for what is none,
// compared to the last good preview; another plan is left alone.
func TestWatchTellsEachChangeOnce(t *testing.T) {
	t.Parallel()
	const b = "def look(): fs.read(\"b.txt\")\nb = plan(steps = [step(look)])\n"
	w := startWatch(t, map[string]string{"a.star": watchedPlanText, "lib.star": `text = "one\n"`, "b.star": b, "b.txt": "b"}, "--json", "a.star", "b.star")
	byFile := map[string]*jsonReload{}
	for range 2 { // side by side
		d := w.anyDocument()
		byFile[d.File] = d
	}
	first := byFile["a.star"]
	if first == nil || byFile["b.star"] == nil || first.Status != runtime.OK || first.Since != "" || len(first.Steps) != 1 || first.Steps[0].Operations[0].Args["content"] != "one\n" {
		t.Fatalf("the first previews are %+v", byFile)
	}

	w.write("lib.star", `text = "two\n"`)
	second := w.document("a.star", "lib.star")
	if whatDiffers(second) != "operation_changed" || second.Since != first.Time || second.Steps != nil || second.Differences[0].Now.Args["content"] != "two\n" {
		t.Errorf("after a change: %+v", second)
	}
	w.write("note.txt", "what the plan writes is no input of it")
	w.write("lib.star", `text = "two\n"`) // the same
	w.write("b.txt", "c")
	if d := w.document("b.star", "b.txt"); whatDiffers(d) != "" || d.Status != runtime.OK || d.TookMS <= 0 {
		t.Errorf("after what makes no difference: %+v", d)
	}

	w.write("lib.star", `text = hello`)
	if d := w.document("a.star", "lib.star"); d.Status != notRead || len(d.Problems) != 1 || d.Problems[0].Pos.Line != 1 || d.Problems[0].Pos.Col != 8 {
		t.Errorf("after a mistake: %+v", d)
	}
	w.write("later.txt", "later") // which the last good preview looked for
	if d := w.document("a.star", "later.txt"); d.Status != notRead {
		t.Errorf("after a change beside a mistake: %+v", d)
	}
	w.write("lib.star", `text = "three\n"`)
	if d := w.document("a.star", "lib.star"); whatDiffers(d) != "operation_changed operation_added" || d.Since != second.Time || d.Status != runtime.OK {
		t.Errorf("after it was mended: %+v", d)
	}
	w.write("a.star", strings.Replace(watchedPlanText, `"later.txt")`, `"never.txt")`, 2))
	if d := w.document("a.star", "a.star"); whatDiffers(d) != "operation_removed" {
		t.Errorf("after that: %+v", d)
	}
	w.ends()
}

// anyDocument is the next document, whatever it is of.
func (w *watched) anyDocument() *jsonReload {
	w.Helper()
	d := new(jsonReload)
	if line, err := w.said.ReadString('\n'); err != nil || json.Unmarshal([]byte(line), d) != nil {
		w.Fatalf("%v in %q", err, line)
	}
	return d
}

// TestAChangeBeginsThePreviewAnew: the one that is under way is stopped at once, and
// never shown.
func TestAChangeBeginsThePreviewAnew(t *testing.T) {
	t.Parallel()
	aside := t.TempDir()
	began, leave := filepath.Join(aside, "began"), filepath.Join(aside, "leave")
	plan := func(title string) string {
		return fmt.Sprintf("def slow(): log(local.run([\"sh\", \"-c\", \"echo %s >> %s; while ! test -e %s; do sleep 0.02; done\"], reads = True).stdout)\na = plan(title = %q, steps = [step(slow)])\n",
			title, began, leave, title)
	}
	w := startWatch(t, map[string]string{"a.star": plan("one")}, "a.star")
	waitFor(t, began, "one\n")
	w.write("a.star", plan("two"))
	waitFor(t, began, "one\ntwo\n")
	until(t, false, "echo one >> "+began)
	if err := os.WriteFile(leave, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	said := w.until("dry run of")
	if !strings.Contains(said, "after a.star: previewed") || !strings.Contains(said, "dry run of a.star: two") {
		t.Errorf("it says\n%s", said)
	}
	w.until("no change\n")
	w.until("\n")
	w.ends()
}

// waitFor waits until a file has a content.
func waitFor(t *testing.T, name, want string) {
	t.Helper()
	var got []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got, _ = os.ReadFile(name); string(got) == want {
			return
		}
	}
	t.Fatalf("%s has %q, want %q", name, got, want)
}

// TestWatchInLines: what a person reads who sends it into a file.
func TestWatchInLines(t *testing.T) {
	t.Parallel()
	w := startWatch(t, map[string]string{"a.star": watchedPlanText, "lib.star": `text = "one\n"`}, "a.star")
	has := func(said string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(said, text) {
				t.Errorf("there is no %q in\n%s", text, said)
			}
		}
	}
	has(w.until("0 destroys, 1 change"), "previewed (", "dry run of a.star: A note", "~ change     fs.write   note.txt", "+one")
	w.write("lib.star", "print(\"so\")\ntext = \"two\\n\"")
	has(w.until("0 destroys, 1 change"), "after lib.star: 1 changed (", "\nso\nwrite\n", "was  +one\n", "now  +two\n")
	w.write("lib.star", "print(\"so\")\ntext = \"two\\n")
	has(w.until("the last good preview, of "), "after lib.star: it cannot be read", "lib.star:2:", "     ^\n", ": 0 destroys, 1 change")
	w.write("lib.star", "print(\"so\")\n\ntext = \"two\\n\"")
	if said := w.until("0 destroys, 1 change"); strings.Contains(said, "\nso\n") || !strings.Contains(said, "after lib.star: nothing differs since ") {
		t.Errorf("after it was mended:\n%s", said)
	}
	w.write("later.txt", "x")
	has(w.until("0 destroys, 2 changes"), "after later.txt: 1 added", "+ change", "other.txt")
	w.until("\n")
	w.ends()
}

// TestWhatAPlanWritesIsNotItsInput: of a folder, that is; a file that was read counts.
func TestWhatAPlanWritesIsNotItsInput(t *testing.T) {
	t.Parallel()
	p := &watchedPlan{inputs: []filewatch.Input{{Path: "/p", Tree: true}, {Path: "/p/a.star"}, {Path: "/else/x"}}, writes: []string{"/p/out", "/p/a.star", "/p/b.json"}}
	for path, want := range map[string]bool{
		"/p/a.star": true, "/p/flake.nix": true, "/p/output": true, "/else/x": true,
		"/p/out": false, "/p/out/deep/x": false, "/p/b.json": false, "/else/y": false, "/pq": false,
	} {
		if got := p.lookedAt(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// TestTheFrameFits: whatever is shown, the screen is never larger than the terminal,
// and the keys are its last line.
func TestTheFrameFits(t *testing.T) {
	long := strings.Repeat("a long line ", 12)
	re := &reload{plan: &watchedPlan{file: "a.star"}, err: runtime.Problems{{Msg: long, Source: "\t" + long, Hint: long}}, title: long}
	good := &reload{plan: re.plan, name: "a", title: long, whole: true, totals: new(runtime.Totals), events: []runtime.Event{
		{Kind: runtime.Logged, Text: strings.Repeat(long+"\n", 20)}, {Kind: runtime.RunEnded, Totals: new(runtime.Totals)}}}
	for width := 20; width < 130; width += 7 {
		for height := 2; height < 60; height += 3 {
			for _, v := range []watchView{
				{plans: []*watchedPlan{{file: "a.star", last: re, good: good}}, full: true, palette: true},
				{plans: []*watchedPlan{{file: "a.star", last: re, good: good}, {file: "b.star", last: good, good: good}, {file: "c.star", running: re}}, full: true, note: long},
			} {
				frame := v.frame(width, height)
				last := ansi.Strip(frame[len(frame)-1])
				if len(frame) > height-1 || !strings.HasPrefix(last, "r run") {
					t.Fatalf("%d lines in %d, which end with %q", len(frame), height, last)
				}
				for _, line := range frame {
					if ansi.StringWidth(line) >= width || strings.Contains(line, "\t") {
						t.Fatalf("%q is %d wide in %d", line, ansi.StringWidth(line), width)
					}
				}
			}
		}
	}
}

// TestMemoryOfAThousandReloads: what a thousand previews leave behind is what ten do.
func TestMemoryOfAThousandReloads(t *testing.T) {
	dir := resolved(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("infra.toml", "")
	write("a.star", watchedPlanText)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	a := &app{stdout: null, stderr: os.Stderr, getenv: os.Getenv, clock: clock.Now}
	plan := &watchedPlan{path: filepath.Join(dir, "a.star"), file: "a.star"}
	r, err := a.newReloader(dir, []*watchedPlan{plan}, watchFlags{runFlags: runFlags{dryRun: true, json: true}, reads: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	heap := func() uint64 {
		var m goruntime.MemStats
		for range 3 {
			goruntime.GC()
		}
		goruntime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var early uint64
	for n := range 1000 {
		if n == 10 {
			early = heap()
		}
		write("lib.star", fmt.Sprintf("text = %q\n", fmt.Sprintf("%0900d", n)))
		if n%10 == 9 {
			write("lib.star", "text = mistake\n")
		}
		r.begin(t.Context(), plan, &reload{changed: []string{"lib.star"}, noticed: time.Now()})
		re := <-r.ended
		if r.take(re); (n%10 == 9) == re.isGood() {
			t.Fatalf("reload %d: %v", n, re.err)
		}
	}
	if late := heap(); late > early+early/10 {
		t.Errorf("%d bytes after ten reloads, and %d after a thousand", early, late)
	}
}

// TestThePageNamesAllOfWatch: docs/json.md and the structs cannot drift apart.
func TestThePageNamesAllOfWatch(t *testing.T) {
	data, err := os.ReadFile(schemaPage)
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(data), "## `infra watch --json`")
	for _, of := range []any{jsonReload{}, jsonApplied{}, saved.Difference{}, saved.Step{}, saved.Operation{}, saved.Ending{}} {
		typ := reflect.TypeOf(of)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(page, "`"+name+"`") {
				t.Errorf("%s does not name %s of %s", schemaPage, name, typ.Name())
			}
		}
	}
	for _, kind := range []saved.Kind{saved.StepAdded, saved.StepRemoved, saved.StepEnds, saved.StepDoubted, saved.OperationAdded, saved.OperationRemoved,
		saved.OperationChanged, saved.VerdictMoved, saved.DetailChanged, saved.ShownChanged} {
		if !strings.Contains(page, "`"+string(kind)+"`") {
			t.Errorf("%s does not name %s", schemaPage, kind)
		}
	}
}
