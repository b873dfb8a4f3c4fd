package local_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/calltest"
	"infra/builtins/local"
	"infra/runtime"
)

func TestSpecsAreComplete(t *testing.T) { calltest.Complete(t, local.Specs(t.TempDir())) }

const secret = "s3cr3t-local-token"

func names() starlark.StringDict {
	return starlark.StringDict{"token": runtime.NewSecret("token", secret)}
}

func TestOps(t *testing.T) {
	for _, tt := range []struct{ code, op, detail string }{
		{`local.run(["echo", "a b"])`, `change local.run here | echo 'a b' | {"command":["echo","a b"]}`, ""},
		{`local.run("echo $HOME")`, `change local.run here | shell: echo $HOME | {"command":["echo $HOME"]}`, ""},
		{`local.run(["cat"], reads = True)`, `read local.run here | cat | {"command":["cat"],"reads":true}`, ""},
		{`local.run(["cat"], reads = False, check = False, stdin = "text", env = {"B": "1", "A": token}, timeout = "1m", cwd = "sub")`,
			`change local.run here | cat | {"check":false,"command":["cat"],"cwd":"sub","env":{"A":"‹secret token›","B":"1"},"reads":false,"stdin":"text","timeout":"1m0s"}`,
			"stdin: 4 bytes\nenvironment: A, B\ndirectory: sub\ntimeout: 1m"},
		{`local.run(["cat"], stdin = token)`, `change local.run here | cat | {"command":["cat"],"stdin":"‹secret token›"}`, "stdin: ‹secret token›"},
	} {
		d := &calltest.Door{DryRun: true, Names: names()}
		d.Must(t, local.Specs(t.TempDir()), tt.code)
		if got := d.Last(t); got != tt.op {
			t.Errorf("%s\n got %s\nwant %s", tt.code, got, tt.op)
		}
		if len(d.Predictions) == 1 && d.Predictions[0].Detail != tt.detail {
			t.Errorf("%s: detail %q, want %q", tt.code, d.Predictions[0].Detail, tt.detail)
		}
	}
}

func TestPrediction(t *testing.T) {
	for _, tt := range []struct{ code, want, note string }{
		{`x = local.run(["touch", "made"])`, `stdout = U, stderr = U, code = 0, changed = True`, ""},
		{`x = local.run(["touch", "made"], check = False)`, `stdout = U, stderr = U, code = U, changed = True`, ""},
		{`x = local.run(["touch", "made"], assume = "done")`, `stdout = "done", stderr = U, code = 0, changed = True`, "stdout is assumed"},
		{`x = local.run(["touch", "made"], assume = "", check = False)`, `stdout = "", stderr = U, code = U, changed = True`, "stdout is assumed"},
		{`x = local.run(["touch", "made"], assume = None)`, `stdout = U, stderr = U, code = 0, changed = True`, ""},
	} {
		root := t.TempDir()
		d := &calltest.Door{DryRun: true}
		got := d.Must(t, local.Specs(root), tt.code)["x"]
		p := d.Predictions[0]
		if shown(got) != tt.want || p.Verdict != runtime.WillChange || d.Ops[0].Assumes != tt.note {
			t.Errorf("%s: %v %s [%s]", tt.code, p.Verdict, shown(got), d.Ops[0].Assumes)
		}
		if _, err := os.Stat(filepath.Join(root, "made")); err == nil {
			t.Errorf("%s: the dry run ran it", tt.code)
		}
		if op := d.Ops[0]; op.Looks == nil || len(op.Looks) > 0 || op.Alters != nil {
			t.Errorf("%s looks at %q and alters %q", tt.code, op.Looks, op.Alters)
		}
		run := new(calltest.Door)
		agree(t, tt.code, got, run.Must(t, local.Specs(root), strings.Replace(tt.code, `"touch", "made"`, `"printf", "done"`, 1))["x"], tt.note != "")
	}
}

// TestNotKnown: what a preview answers for a read that it cannot carry out is
// what the read answers, as far as it is said.
func TestNotKnown(t *testing.T) {
	for _, tt := range []struct{ code, want string }{
		{`x = local.run(["printf", "one"], reads = True)`, `stdout = U, stderr = U, code = 0, changed = False`},
		{`x = local.run(["printf", "one"], reads = True, check = False)`, `stdout = U, stderr = U, code = U, changed = False`},
		{`x = local.run(["printf", "one"], reads = True, assume = "one")`, `stdout = "one", stderr = U, code = 0, changed = False`},
	} {
		d := &calltest.Door{DryRun: true}
		ran := d.Must(t, local.Specs(t.TempDir()), tt.code)["x"]
		if got := ran.(*runtime.Record).Fields()[0].Value.String(); got != `"one"` {
			t.Errorf("%s was not carried out: %s", tt.code, got)
		}
		op := d.Ops[0]
		got := op.NotKnown()
		if shown(got) != tt.want || op.Looks != nil || op.Alters == nil || len(op.Alters) > 0 {
			t.Errorf("%s: %s; looks at %q and alters %q", tt.code, shown(got), op.Looks, op.Alters)
		}
		agree(t, tt.code, got, ran, false)
	}
}

func shown(v starlark.Value) string {
	text := strings.ReplaceAll(v.String(), "(known after local.run, test.star:1)", "U")
	return strings.TrimSuffix(strings.TrimPrefix(text, "command_result("), ")")
}

// agree fails where a prediction says of a field what the run does not, or of
// what type a field is. What is assumed may be wrong.
func agree(t *testing.T, code string, predicted, ran starlark.Value, assumed bool) {
	t.Helper()
	is := ran.(*runtime.Record).Fields()
	for i, f := range predicted.(*runtime.Record).Fields() {
		u, unknown := f.Value.(runtime.Unknown)
		switch {
		case unknown && u.Shape.Type != is[i].Value.Type():
			t.Errorf("%s: %s is of type %s, was predicted as %s", code, f.Name, is[i].Value.Type(), u.Shape.Type)
		case !unknown && f.Value.String() != is[i].Value.String() && !(assumed && f.Name == "stdout"):
			t.Errorf("%s: %s is %s, was predicted as %s", code, f.Name, is[i].Value, f.Value)
		}
	}
}

// TestAssumptionNotKnown: a text that is not known yet, of which a call only
// has the name, is not taken for the output.
func TestAssumptionNotKnown(t *testing.T) {
	u := runtime.Unknown{Op: "ssh.run", Shape: runtime.StringShape}
	for _, reads := range []string{"True", "False"} {
		d := &calltest.Door{DryRun: true, Names: starlark.StringDict{"unknown": starlark.String(u.String())}}
		d.Must(t, local.Specs(t.TempDir()), `local.run(["true"], assume = unknown, reads = `+reads+`)`)
		if got := shown(d.Ops[0].NotKnown()); !strings.HasPrefix(got, "stdout = U,") {
			t.Errorf("reads = %s: %s", reads, got)
		}
	}
}

// TestRefused: what a run would not start, a dry run does not foresee.
func TestRefused(t *testing.T) {
	for _, tt := range []struct{ code, want string }{
		{`local.run(["-x"])`, "cannot begin with a dash"},
		{`local.run([""])`, "needs a program"},
		{`local.run(["a", "b\x00"])`, "NUL byte"},
		{`local.run("a\x00")`, "NUL byte"},
		{`local.run(["a"], cwd = "\x00")`, "NUL byte"},
		{`local.run(["a"], env = {"A": "\x00"})`, "NUL byte"},
		{`local.run(["a"], env = {"A=": ""})`, "cannot be a variable's name"},
		{`local.run(["a"], assume = token)`, "assume: want a string, got ‹secret token›"},
	} {
		for _, dry := range []bool{true, false} {
			d := &calltest.Door{DryRun: dry, Names: names()}
			_, err := d.Run(t, local.Specs(t.TempDir()), tt.code)
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(d.Ops) > 0 {
				t.Errorf("%s (dry: %v): %v, want %q", tt.code, dry, err, tt.want)
			}
		}
	}
}

func TestRun(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ code, want string }{
		{`x = local.run(["pwd"], reads = True).stdout.strip()`, `"` + root + `"`},
		{`x = local.run(["pwd"], reads = True, cwd = "sub").stdout.strip()`, `"` + root + `/sub"`},
		{`x = local.run(["pwd"], reads = True, cwd = "/").stdout`, `"/\n"`},
		{`x = local.run("echo a; echo b", reads = True).lines()`, `["a", "b"]`},
		{`x = local.run("echo '[1]'", reads = True).json()`, `[1]`},
		{`x = local.run(["cat"], stdin = "in").stdout`, `"in"`},
		{`x = local.run(["printenv", "V"], env = {"V": "v"}).stdout`, `"v\n"`},
		{`x = local.run("cat; printenv V", stdin = token, env = {"V": token}).stdout == "` + secret + secret + `\n"`, `True`},
		{`x = local.run("echo no >&2; exit 7", check = False)`, `command_result(stdout = "", stderr = "no\n", code = 7, changed = True)`},
		{`x = local.run("kill $$", check = False, reads = True)`, `command_result(stdout = "", stderr = "", code = 143, changed = False)`},
		{`x = len(local.run(["printf", "\\377"], reads = True).stdout)`, `1`},
	} {
		d := &calltest.Door{Names: names()}
		globals, err := d.Run(t, local.Specs(root), tt.code)
		if err != nil {
			t.Errorf("%s: %v", tt.code, err)
			continue
		}
		if got := globals["x"].String(); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.code, got, tt.want)
		}
		if changed := !strings.Contains(tt.code, "reads = True"); d.Results[0].Changed != changed {
			t.Errorf("%s: changed = %v", tt.code, d.Results[0].Changed)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct{ code, want, hint string }{
		{`local.run("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i >&2; done; exit 3")`,
			"the command failed with exit code 3:\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nline 9\nline 10\nline 11\nline 12", "check = False"},
		{`local.run("echo only stdout; exit 1")`, "exit code 1:\nonly stdout", "check = False"},
		{`local.run("exit 1")`, "the command failed with exit code 1 and said nothing", "check = False"},
		{`local.run("kill -9 $$")`, "the command was ended by signal KILL and said nothing", "check = False"},
		{`local.run(["sleep", "60"], timeout = "50ms")`, "ended after its timeout of 50ms", ""},
		{`local.run(["no-such-command"])`, "no-such-command is not installed", ""},
		{`local.run(["cat"], env = {"A B": "x"})`, `env: "A B" cannot be a variable's name`, ""},
		{`local.run(["echo", token])`, "element 1: want a string, got ‹secret token›", "an argument would show in ps"},
		{`local.run([])`, "the command is empty", ""},
		{`local.run("head -c 9000000 /dev/zero")`, "ended with code 0 but printed 9000000 bytes, more than the 8 MiB", "redirect its output to a file"},
	} {
		d := &calltest.Door{Names: names()}
		_, err := d.Run(t, local.Specs(t.TempDir()), tt.code)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.code, err, tt.want)
			continue
		}
		if hint := runtime.HintOf(err); !strings.Contains(hint, tt.hint) {
			t.Errorf("%s: hint %q, want %q", tt.code, hint, tt.hint)
		}
	}
}

// TestInterrupted: a run that stops is not told as a timeout.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(runtime.ErrInterrupted)
	d := &calltest.Door{Context: ctx}
	_, err := d.Run(t, local.Specs(t.TempDir()), `local.run(["true"], timeout = "1m")`)
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v", err)
	}
}

func TestLog(t *testing.T) {
	d := new(calltest.Door)
	d.Must(t, local.Specs(t.TempDir()), `local.run("echo out; echo err >&2; printf rest")`)
	for _, want := range []string{"out\n", "err\n", "rest"} {
		if !strings.Contains(d.Log.String(), want) {
			t.Errorf("the log lacks %q: %q", want, d.Log.String())
		}
	}
}
