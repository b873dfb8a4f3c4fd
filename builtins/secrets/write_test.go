package secrets

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/calltest"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

func specs(root string) []call.Spec { return Specs(root, sops.NewReader()) }

func TestSpecsAreComplete(t *testing.T) { calltest.Complete(t, specs(t.TempDir())) }

// rules writes a .sops.yaml of one rule.
func rules(t testing.TB, root string, recipients ...string) {
	t.Helper()
	write(t, filepath.Join(root, ".sops.yaml"), []byte("creation_rules: [{age: \""+strings.Join(recipients, ",")+"\"}]\n"))
}

func TestOps(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	rules(t, root, id.Recipient().String())
	names := starlark.StringDict{"token": runtime.NewSecret("token", "s3cr3t-of-ops")}
	for _, tt := range []struct{ code, op string }{
		{`secrets.set("a.yaml", "a.b", token)`, `change secrets.set here | set a.yaml[a.b] | {"file":"a.yaml","path":"a.b","value":"‹secret token›"}`},
		{`secrets.set("a.yaml", "a.b", "plain-of-ops")`, `change secrets.set here | set a.yaml[a.b] | {"file":"a.yaml","path":"a.b","value":"(a string)"}`},
		{`secrets.set("a.bin", "", token)`, `change secrets.set here | set a.bin | {"file":"a.bin","path":"","value":"‹secret token›"}`},
		{`secrets.recipients("a.yaml")`, `read secrets.recipients here | recipients of a.yaml | {"file":"a.yaml"}`},
		{`secrets.check("a.yaml")`, `read secrets.check here | check a.yaml | {"file":"a.yaml"}`},
		{`secrets.rotate("a.yaml")`, `change secrets.rotate here | rotate a.yaml | {"file":"a.yaml"}`},
	} {
		d := &calltest.Door{Names: names}
		d.Must(t, specs(root), tt.code)
		if got := d.Last(t); got != tt.op {
			t.Errorf("%s\n got %s\nwant %s", tt.code, got, tt.op)
		}
		if op := d.Ops[0]; op.Effect != runtime.Read && !op.Repeatable {
			t.Errorf("%s may not be repeated", tt.code)
		}
	}
}

// TestSet: what the preview says is what the run does, a second run does
// nothing, and nothing says what the value is.
func TestSet(t *testing.T) {
	id := withKey(t)
	key := id.Recipient().String()
	for _, tt := range []struct {
		name, code string
		have       string // the plain file that is there; "" for none
		verdict    runtime.Verdict
		detail     string
	}{
		{"another value", `secrets.set("f.yaml", "db.password", token)`, "db:\n    password: old-value\n", runtime.WillChange, "db.password: another value"},
		{"new", `secrets.set("f.yaml", "db.password", token)`, "a: old-value\n", runtime.WillChange, "db.password: new"},
		{"new file", `secrets.set("new/f.yaml", "db.password", token)`, "", runtime.WillChange, "new file new/f.yaml\n  for age " + key},
		{"equal", `secrets.set("f.yaml", "db.password", token)`, "db:\n    password: s3cr3t-of-set\n", runtime.NoChange, ""},
		{"a string", `secrets.set("f.yaml", "a", "plain-of-set")`, "a: old-value\n", runtime.WillChange, "a: another value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			rules(t, root, key)
			if tt.have != "" {
				write(t, filepath.Join(root, "f.yaml"), seal(t, "f.yaml", tt.have, key).Bytes(t))
			}
			names := starlark.StringDict{"token": runtime.NewSecret("token", "s3cr3t-of-set")}
			dry := &calltest.Door{DryRun: true, Names: names}
			previewed := dry.Must(t, specs(root), "x = "+tt.code)["x"].String()
			if p := dry.Predictions[0]; p.Verdict != tt.verdict || p.Detail != tt.detail {
				t.Errorf("predicted %v %q", p.Verdict, p.Detail)
			}
			if _, err := os.Stat(filepath.Join(root, "new")); err == nil {
				t.Error("the dry run made a folder")
			}
			run := &calltest.Door{Names: names}
			got := run.Must(t, specs(root), "x = "+tt.code)["x"].String()
			if got != previewed || run.Results[0].Changed != (tt.verdict == runtime.WillChange) {
				t.Errorf("ran to %s, changed %v; previewed %s", got, run.Results[0].Changed, previewed)
			}
			again := &calltest.Door{Names: names}
			again.Must(t, specs(root), tt.code)
			if again.Results[0].Changed {
				t.Error("the second run changed it again")
			}
			settled(t, run.Ops[0], runtime.Done)
		})
	}
	if text := runtime.Scrub("plain-of-set"); strings.Contains(text, "plain-of-set") {
		t.Errorf("what is in a file of secrets is shown: %s", text)
	}
}

func settled(t *testing.T, op runtime.Op, want runtime.Fate) {
	t.Helper()
	fate, res, err := op.Settle(t.Context(), io.Discard)
	if fate != want || (err != nil) != (want == runtime.Untold) || res.Changed != (want == runtime.Done) {
		t.Errorf("its fate is %d, %+v, %v; want %d", fate, res, err, want)
	}
}

// TestSetSettles: what was in flight is done if the value is there, and not if
// another is; without a key nothing tells.
func TestSetSettles(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	rules(t, root, id.Recipient().String())
	op := asked(t, root, `secrets.set("f.yaml", "k", "value-to-settle")`)
	settled(t, op, runtime.NotDone) // there is no file
	for _, tt := range []struct {
		plain string
		want  runtime.Fate
	}{{"k: another\n", runtime.NotDone}, {"a: b\n", runtime.NotDone}, {"k: value-to-settle\n", runtime.Done}} {
		write(t, filepath.Join(root, "f.yaml"), seal(t, "f.yaml", tt.plain, id.Recipient().String()).Bytes(t))
		settled(t, op, tt.want)
	}
	write(t, filepath.Join(root, "f.yaml"), seal(t, "f.yaml", "k: v\n", newKey(t).Recipient().String()).Bytes(t))
	settled(t, op, runtime.Untold)
}

// asked is the operation that code asks for, not carried out.
func asked(t *testing.T, root, code string) (op runtime.Op) {
	t.Helper()
	_, err := runStep(t, root, func(_ context.Context, o runtime.Op) (runtime.Result, error) {
		op = o
		return runtime.Result{}, runtime.ErrHeld
	}, code)
	if err == nil {
		t.Fatalf("%s was not refused", code)
	}
	return op
}

// TestSetWithoutKey: a preview that cannot read the file says so, and a run fails.
func TestSetWithoutKey(t *testing.T) {
	withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "f.yaml"), seal(t, "f.yaml", "k: v\n", newKey(t).Recipient().String()).Bytes(t))
	dry := &calltest.Door{DryRun: true}
	x := dry.Must(t, specs(root), `x = secrets.set("f.yaml", "k", "w")`)["x"].(*runtime.Record)
	changed, err := x.Attr("changed")
	must(t, err)
	if _, unknown := changed.(runtime.Unknown); !unknown {
		t.Errorf("changed is %v", changed)
	}
	if p := dry.Predictions[0]; p.Verdict != runtime.NotKnown || p.Detail != "no key here can decrypt f.yaml" {
		t.Errorf("predicted %v %q", p.Verdict, p.Detail)
	}
	_, err = new(calltest.Door).Run(t, specs(root), `secrets.set("f.yaml", "k", "w")`)
	checkError(t, err, "no key here can decrypt f.yaml", "updatekeys")
}

func TestRecipients(t *testing.T) {
	ann, bob := newKey(t).Recipient().String(), newKey(t).Recipient().String()
	root := t.TempDir()
	write(t, filepath.Join(root, "f.yaml"), seal(t, "f.yaml", "k: v\n", ann, bob).Bytes(t))
	d := new(calltest.Door)
	got := d.Must(t, specs(root), `x = [(r.kind, r.recipient, r.group) for r in secrets.recipients("f.yaml")]`)["x"].String()
	if want := fmt.Sprintf(`[("age", %q, 0), ("age", %q, 0)]`, ann, bob); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	again, err := runtime.Encode(d.Results[0].Value)
	must(t, err)
	if v, err := runtime.Decode(again); err != nil || v.String() != d.Results[0].Value.String() {
		t.Errorf("from the journal it is %v, %v", v, err)
	}
	_, err = new(calltest.Door).Run(t, specs(root), `secrets.recipients("g.yaml")`)
	checkError(t, err, "there is no sops file g.yaml", "f.yaml")
}

// TestCheckIsAVerdict: a check of a plan that returns it fails with its detail.
func TestCheckIsAVerdict(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	rules(t, root, id.Recipient().String(), newKey(t).Recipient().String())
	write(t, filepath.Join(root, "f.yaml"), seal(t, "f.yaml", "k: v\n", id.Recipient().String()).Bytes(t))
	const code = `
x = secrets.check("f.yaml")
got = (type(x), x.ok, x.detail == x.problems[0].detail if x.problems else x.detail, [p.kind for p in x.problems])`
	for _, want := range []string{`("struct", False, True, ["recipients"])`, `("struct", True, "", [])`} {
		d := new(calltest.Door)
		globals := d.Must(t, specs(root), code)
		if got := globals["got"].String(); got != want {
			t.Errorf("got %s, want %s: %s", got, want, globals["x"])
		}
		again, err := runtime.Encode(d.Results[0].Value)
		must(t, err)
		if v, err := runtime.Decode(again); err != nil || v.Type() != "struct" || v.String() != globals["x"].String() {
			t.Errorf("from the journal it is %v, %v", v, err)
		}
		new(calltest.Door).Must(t, specs(root), `secrets.rotate("f.yaml")`)
	}
}

// TestRotate: the preview names who comes and who goes, and the run says the same.
func TestRotate(t *testing.T) {
	id := withKey(t)
	gone, comes := newKey(t).Recipient().String(), newKey(t).Recipient().String()
	root := t.TempDir()
	rules(t, root, id.Recipient().String(), comes)
	write(t, filepath.Join(root, "f.yaml"), seal(t, "f.yaml", "k: value-of-k\n", id.Recipient().String(), gone).Bytes(t))
	dry := &calltest.Door{DryRun: true}
	previewed := dry.Must(t, specs(root), `x = secrets.rotate("f.yaml")`)["x"].String()
	if p, want := dry.Predictions[0], "new data key\n+ age "+comes+"\n- age "+gone; p.Verdict != runtime.WillChange || p.Detail != want {
		t.Errorf("predicted %v %q", p.Verdict, p.Detail)
	}
	run := new(calltest.Door)
	if got := run.Must(t, specs(root), `x = secrets.rotate("f.yaml")`)["x"].String(); got != previewed || !run.Results[0].Changed {
		t.Errorf("ran to %s, previewed %s", got, previewed)
	}
	f, err := open(t, root, "f.yaml")
	must(t, err)
	if get(t, f, "k") != "value-of-k" {
		t.Errorf("k is %q", get(t, f, "k"))
	}
}

// TestLooksMeetAlters: what a change alters, the reads of the file and of its
// rules look at; and the file of rules alters a check and a rotation.
func TestLooksMeetAlters(t *testing.T) {
	id := withKey(t)
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	rules(t, root, id.Recipient().String())
	write(t, filepath.Join(root, "sub/f.yaml"), seal(t, "f.yaml", "k: v\n", id.Recipient().String()).Bytes(t))
	set := asked(t, root, `secrets.set("sub/f.yaml", "k", "w")`)
	rotate := asked(t, root, `secrets.rotate("sub/f.yaml")`)
	for _, change := range []runtime.Op{set, rotate} {
		if want := []string{root + "/sub/f.yaml"}; !slices.Equal(change.Alters, want) {
			t.Errorf("%s alters %q", change.Name, change.Alters)
		}
		for _, code := range []string{`secrets.sops("sub/f.yaml")`, `secrets.recipients("sub/f.yaml")`, `secrets.check("sub/f.yaml")`,
			`secrets.set("sub/f.yaml", "k", "v")`, `secrets.rotate("sub/f.yaml")`} {
			if !calltest.Meets(asked(t, root, code).Looks, change.Alters) {
				t.Errorf("%s does not look at what %s alters", code, change.Name)
			}
		}
		if calltest.Meets(asked(t, root, `secrets.recipients("sub/g.yaml")`).Looks, change.Alters) {
			t.Errorf("%s alters another file", change.Name)
		}
	}
	for code, want := range map[string]bool{`secrets.sops("sub/f.yaml")`: false, `secrets.check("sub/f.yaml")`: true,
		`secrets.set("sub/f.yaml", "k", "v")`: true, `secrets.rotate("sub/f.yaml")`: true} {
		if got := calltest.Meets(asked(t, root, code).Looks, []string{root + "/.sops.yaml"}); got != want {
			t.Errorf("%s looks at .sops.yaml: %v", code, got)
		}
	}
}
