package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"infra/builtins/internal/sops"
	"infra/runtime"
)

const fixture = `hcloud:
    token: hcloud-token-value
db:
    user: app
    password: db-password-value
`

// The examples of what hands out a secret work; cmd/infra runs the others.
func TestExamples(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "secrets/cinnabar.yaml"), seal(t, "x.yaml", fixture, id.Recipient().String()).Bytes(t))
	t.Setenv("HCLOUD_TOKEN", "token-in-env")
	want := map[string]string{
		"secrets.sops":     "hcloud-token-value",
		"secrets.env":      "token-in-env",
		"secrets.template": "postgres://app:db-password-value@db/app",
	}
	for _, s := range Specs(root, sops.NewReader()) {
		if want[s.Name] == "" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			globals, err := runStep(t, root, carryOut, s.Example)
			must(t, err)
			var got []string
			for _, v := range globals {
				if secret, ok := v.(*runtime.Secret); ok {
					got = append(got, secret.Reveal())
				}
			}
			if len(got) != 1 || got[0] != want[s.Name] {
				t.Errorf("the example made %q, want %q", got, want[s.Name])
			}
		})
	}
}

// What the door sees of an operation holds no secret, and what the plan gets
// shows none.
func TestNothingShows(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", fixture, id.Recipient().String()).Bytes(t))
	t.Setenv("INFRATEST_TOKEN", "env-token-value")
	var seen []runtime.Op
	do := func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		r, err := op.Run(ctx, io.Discard)
		if r.Value != nil {
			t.Errorf("%s has the value %v in its result", op.Name, r.Value)
		}
		seen = append(seen, op)
		return r, err
	}
	globals, err := runStep(t, root, do, `
f = secrets.sops("a.yaml")
p = f["db.password"]
e = secrets.env("INFRATEST_TOKEN")
text = str(f) + repr(p) + "%s %s" % (f, e)
names = f.keys()
has = "db.password" in f
hasnot = "db.nothing" in f
`)
	must(t, err)
	if len(seen) != 2 || seen[0].Effect != runtime.Read || seen[0].Show != "decrypt a.yaml" || seen[0].Args["file"] != "a.yaml" {
		t.Errorf("operations %+v", seen)
	}
	all := fmt.Sprintf("%v %+v %#v %x", globals["f"], globals, globals["f"], globals["f"]) + globals["text"].String()
	for _, value := range []string{"db-password-value", "env-token-value", fmt.Sprintf("%x", "db-password-value")} {
		if strings.Contains(all, value) {
			t.Errorf("%q shows in %s", value, all)
		}
	}
	if got := globals["names"].String() + globals["has"].String() + globals["hasnot"].String(); got != `["hcloud", "db"]TrueFalse` {
		t.Errorf("names and in: %s", got)
	}
	if got := globals["p"].(*runtime.Secret).Name(); got != "a.yaml[db.password]" {
		t.Errorf("the secret is named %q", got)
	}
	if _, err := runtime.Encode(globals["f"]); err == nil {
		t.Error("a sops_file can be journaled")
	}
	if got := runtime.Scrub("x db-password-value y env-token-value"); strings.Contains(got, "value") {
		t.Errorf("the scrubber does not know the values: %s", got)
	}
}

// The scrubber learns what was asked for, not all there is.
func TestOnlyWhatIsAskedForIsLearned(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	plain := "asked: learned-because-asked\nother: never-asked-for\nwhole: in-content-only\n"
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", plain, id.Recipient().String()).Bytes(t))
	f, err := open(t, root, "a.yaml")
	must(t, err)
	get(t, f, "asked")
	if got, want := runtime.Scrub("learned-because-asked never-asked-for"), "‹secret a.yaml[asked]› never-asked-for"; got != want {
		t.Errorf("scrubbed to %q, want %q", got, want)
	}
	content(t, f)
	if got := runtime.Scrub("whole: in-content-only"); strings.Contains(got, "in-content-only") {
		t.Errorf("content is not scrubbed line by line: %q", got)
	}
}

// A resumed run answers from its journal; the plan gets its secrets all the same.
func TestAnsweredFromTheJournal(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", fixture, id.Recipient().String()).Bytes(t))
	t.Setenv("INFRATEST_TOKEN", "env-token-value")
	journal := func(context.Context, runtime.Op) (runtime.Result, error) { return runtime.Result{}, nil }
	globals, err := runStep(t, root, journal, `p = secrets.sops("a.yaml")["db.password"] + secrets.env("INFRATEST_TOKEN")`)
	must(t, err)
	if got := globals["p"].(*runtime.Secret).Reveal(); got != "db-password-valueenv-token-value" {
		t.Errorf("got %q", got)
	}
	refuse := func(context.Context, runtime.Op) (runtime.Result, error) { return runtime.Result{}, runtime.ErrHeld }
	if _, err := runStep(t, root, refuse, `secrets.sops("a.yaml")`); !errors.Is(err, runtime.ErrHeld) {
		t.Errorf("a refused operation was carried out: %v", err)
	}
}
