package main

import (
	"encoding/json"
	"strings"
	"testing"

	"infra/runtime"
)

// applied is the next document, of what --apply did.
func (w *watched) applied(status runtime.Status, steps string) *jsonApplied {
	w.Helper()
	d := new(jsonApplied)
	line, err := w.said.ReadString('\n')
	if err != nil || json.Unmarshal([]byte(line), d) != nil {
		w.Fatalf("%v in %q", err, line)
	}
	if d.Event != "applied" || d.Status != status || strings.Join(d.Steps, " ") != steps {
		w.Fatalf("want %s of %s, got\n%s", status, steps, line)
	}
	return d
}

// TestWatchApplies: what differs from the first preview on is carried out where it may
// be, as a run, and previewed again; else it says why not.
func TestWatchApplies(t *testing.T) {
	t.Parallel()
	plan := strings.Replace(watchedPlanText, "step(write)", "step(write, reload = True), step(other)", 1)
	plan = "load(\"lib.star\", \"third\")\ndef other(): fs.write(\"third.txt\", third)\n" + plan
	w := startWatch(t, map[string]string{"a.star": plan, "lib.star": `text, third = "one\n", "1"`}, "--json", "--apply", "a.star")
	if d := w.document("a.star"); d.Status != runtime.OK { // both steps have something to do, which is left to infra run
		t.Fatalf("%+v", d)
	}
	w.write("lib.star", `text, third = "two\n", "1"`)
	w.document("a.star", "lib.star")
	did := w.applied(runtime.OK, "write")
	waitFor(t, w.dir+"/note.txt", "two\n")
	if d := w.document("a.star"); whatDiffers(d) != "verdict_moved" || did.Run == "" {
		t.Errorf("after the run: %+v", d)
	}
	w.write("lib.star", `text, third = "two\n", "2"`)
	w.document("a.star", "lib.star")
	if not := w.applied(runtime.Held, "other"); not.Run != "" || !strings.Contains(strings.Join(not.Why, "; "), "step other would change something, and is not marked reload = True") {
		t.Errorf("what is not marked: %+v", not)
	}
	w.write("lib.star", `text, third = "three\n", "1"`)
	w.document("a.star", "lib.star")
	w.applied(runtime.OK, "write")
	waitFor(t, w.dir+"/note.txt", "three\n")
	w.document("a.star")
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}
