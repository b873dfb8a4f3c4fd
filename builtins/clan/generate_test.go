package clan

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"infra/builtins/internal/calltest"
	"infra/runtime"
)

const (
	password = "hunter-hunter-22"
	notes    = "first line: of notes\n\tsecond line\nthird\n"
	seed     = "alpha beta\ngamma"
)

// everything answers all prompts of the clan of the tests.
const everything = `prompts = {"user/password": password, "notes/ssid": "lab net", "notes/text": text, "notes/words": words}`

func TestGenerateWithPrompts(t *testing.T) {
	for _, fault := range []string{"", "old prompts"} {
		t.Run(fault, func(t *testing.T) {
			d := newDriven(t)
			t.Setenv("LAB_CLAN_FAULT", fault)
			env := names("password", password, "text", notes, "words", seed)
			code := `made = clan.vars.generate(mac, ` + everything + `)`
			if fault != "" { // a clan of before 2026 does not say which prompt of several lines it means
				code = strings.Replace(code, `mac, `, `mac, generators = ["user", "ssh-key", "cert"], `, 1)
			}
			door, globals := d.must(false, env, code)
			for path, want := range map[string]string{
				"vars/per-machine/blackphos/user/password/secret": password,
				"vars/per-machine/blackphos/notes/ssid/value":     "lab net",
				"vars/per-machine/blackphos/notes/text/secret":    notes,
				"vars/per-machine/blackphos/notes/words/secret":   seed,
			} {
				if fault == "" || strings.Contains(path, "user") {
					if got := d.value(path); got != want {
						t.Errorf("%s is %q, want %q", path, got, want)
					}
				}
			}
			shown := door.Log.String() + globals["made"].String()
			for _, op := range door.Ops {
				shown += calltest.Line(t, op)
			}
			key := d.value("vars/per-machine/blackphos/ssh-key/key/secret")
			if !strings.Contains(shown, key) {
				t.Error("the generator's output is not in the log: there is nothing to be redacted")
			}
			if got := runtime.Scrub(shown); strings.Contains(got, key) || strings.Contains(got, password) {
				t.Errorf("a secret shows:\n%s", got)
			}
			if strings.Contains(shown, password) || strings.Contains(shown, "gamma") {
				t.Errorf("an answer shows before anything is redacted:\n%s", shown)
			}
			if status := d.git("status", "--porcelain"); status != "" {
				t.Errorf("not all was committed:\n%s", status)
			}
			message := d.git("log", "-1", "--format=%B")
			if !strings.HasPrefix(message, "clan: vars of blackphos\n\n") || !strings.Contains(message, "user/password") {
				t.Errorf("the message is %q", message)
			}
		})
	}
}

func TestGenerateOnce(t *testing.T) {
	d := newDriven(t)
	const code = `made = clan.vars.generate(mac, generators = ["cert", "ssh-key"])`
	door, globals := d.must(false, names(), code)
	made := globals["made"]
	if got, want := fieldStrings(made, "generated"), []string{"ca/key", "cert/cert", "ssh-key/key", "ssh-key/pub"}; !slices.Equal(got, want) {
		t.Errorf("generated %q, want %q", got, want)
	}
	if !slices.Contains(fieldStrings(made, "files"), "vars/shared/ca/key/machines/blackphos") {
		t.Errorf("files are %q", fieldStrings(made, "files"))
	}
	if len(door.Ops) != 2 || door.Ops[1].Name != "clan.commit" || !door.Results[1].Changed {
		t.Errorf("operations: %v", door.Ops)
	}
	head := d.git("rev-parse", "HEAD")
	door, globals = d.must(false, names(), code)
	if door.Results[0].Changed || door.Results[1].Changed || d.git("rev-parse", "HEAD") != head {
		t.Errorf("the second time it changed something: %v", globals["made"])
	}
	// A new definition makes what is there stale.
	d.write("hash.nix", `"two"`)
	d.git("commit", "-qam", "new hash")
	key := d.value("vars/per-machine/blackphos/ssh-key/key/secret")
	_, globals = d.must(false, names(), code)
	if got := fieldStrings(globals["made"], "generated"); !slices.Equal(got, []string{"ssh-key/key", "ssh-key/pub"}) || d.value("vars/per-machine/blackphos/ssh-key/key/secret") == key {
		t.Errorf("generated %q", got)
	}
	_, globals = d.must(false, names(), strings.Replace(code, "])", `], regenerate = True, commit = False)`, 1))
	if got := fieldStrings(globals["made"], "generated"); !slices.Equal(got, []string{"ssh-key/key", "ssh-key/pub"}) {
		t.Errorf("generated again %q, and what is made of the same is the same", got)
	}
	if d.git("status", "--porcelain") == "" {
		t.Error("commit = False committed")
	}
}

// TestCommitOnlyWhatChanged: what a person has changed or staged stays as it is.
func TestCommitOnlyWhatChanged(t *testing.T) {
	d := newDriven(t)
	d.write("README", "staged")
	d.git("add", "README")
	d.write("README", "staged, and changed")
	d.write("new", "not known to git")
	d.write("vars/per-machine/blackphos/mine/value", "a person's")
	d.write("vars/shared/theirs/value", "staged")
	d.git("add", "vars/shared/theirs/value")
	before := d.git("status", "--porcelain", "--untracked-files=all")
	d.must(false, names(), `clan.vars.generate(mac, generators = ["ssh-key"])`)
	if after := d.git("status", "--porcelain", "--untracked-files=all"); after != before {
		t.Errorf("git status was\n%s\nand is\n%s", before, after)
	}
	got := strings.Fields(d.git("show", "--format=", "--name-only", "HEAD"))
	for _, f := range got {
		if !strings.HasPrefix(f, "vars/per-machine/blackphos/ssh-key/") && !strings.HasPrefix(f, "sops/machines/blackphos/") && !strings.HasPrefix(f, "sops/secrets/blackphos-age.key/") {
			t.Errorf("%s was committed", f)
		}
	}
	if len(got) < 5 {
		t.Errorf("committed %q", got)
	}
}

func TestGeneratePreview(t *testing.T) {
	d := newDriven(t)
	before, err := d.cl.openSnapshot(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	env := names("password", password, "text", notes, "words", seed)
	door, globals := d.must(true, env, `made = clan.vars.generate(mac, generators = ["user", "cert"], `+everything+`)`)
	if len(door.Predictions) != 2 {
		t.Fatalf("%d predictions", len(door.Predictions))
	}
	made, commit := door.Predictions[0], door.Predictions[1]
	const want = "generate ca: key (secret)\ngenerate cert: cert\ngenerate user: hash, password (secret)\n  answer password with ‹secret password›"
	if made.Verdict != runtime.WillChange || made.Detail != want {
		t.Errorf("%v %s", made.Verdict, made.Detail)
	}
	if got := globals["made"].String(); !strings.HasPrefix(got, "vars_generated(changed = True, generated = (known after clan.vars.generate") {
		t.Errorf("the value is %s", got)
	}
	if commit.Verdict != runtime.WillChange || door.Ops[1].Show != "git commit: vars of blackphos" || !strings.Contains(commit.Detail, "vars/per-machine/blackphos/user/") {
		t.Errorf("the commit: %v %s %s", commit.Verdict, door.Ops[1].Show, commit.Detail)
	}
	if calltest.Meets(door.Ops[1].Looks, door.Ops[0].Alters) {
		t.Error("the preview of the commit would not be believed after the change")
	}
	after, err := d.cl.openSnapshot(d.dir)
	if err != nil || len(after.since(before)) > 0 {
		t.Errorf("a preview changed %q (%v)", after.since(before), err)
	}
	// What is there already is no change, and neither is its commit.
	d.must(false, env, `clan.vars.generate(mac, generators = ["ssh-key"])`)
	door, _ = d.must(true, env, `clan.vars.generate(mac, generators = ["ssh-key"])`)
	if door.Predictions[0].Verdict != runtime.NoChange || door.Predictions[1].Verdict != runtime.NoChange {
		t.Errorf("%v", door.Predictions)
	}
}

// openSnapshot is a snapshot of everything under a folder but what is infra's own.
func (cl Clan) openSnapshot(dir string) (snapshot, error) {
	s, err := driver{Clan: cl, dir: filepath.Dir(dir)}.snapshotOf(filepath.Base(dir))
	maps.DeleteFunc(s, func(path, _ string) bool { return strings.Contains(path, "/.infra/") })
	return s, err
}

// TestRefusedBefore: what would fail is refused in a preview and in a run
// alike, before anything runs.
func TestRefusedBefore(t *testing.T) {
	d := newDriven(t)
	for _, tt := range []struct{ code, want, hint string }{
		{`clan.vars.generate(other)`, "the clan has no machine blackfos", "did you mean blackphos?"},
		{`clan.vars.generate(mac, generators = ["ssh-kay"])`, "blackphos has no generator ssh-kay", "did you mean ssh-key?"},
		{`clan.vars.generate(mac, generators = ["user"])`, `clan asks "Password of the first user" (user/password, hidden), and the plan does not say what to answer`, `add prompts = {"user/password": ...}, a secret`},
		{`clan.vars.generate(mac, generators = ["user"], prompts = {"user/passwd": password})`, "blackphos has no prompt user/passwd", "did you mean user/password?"},
		{`clan.vars.generate(mac, generators = ["user"], prompts = {"user/password": "two\nlines"})`, "the prompt user/password: its answer has several lines", ""},
		{`clan.vars.generate(mac, generators = ["user"], prompts = {"user/password": "a\x03b"})`, "a control character", ""},
		{`clan.vars.set(mac, "user/passwort", password)`, "blackphos has no var user/passwort", "did you mean user/password?"},
		{`clan.vars.set(mac, "user", password)`, `var: "user" is none`, ""},
		{`clan.vars.set(mac, "../etc/x", password)`, `var: "../etc/x" is none`, ""},
		{`clan.vars.set(mac, "user/password", "plain")`, "user/password is secret, and its value stands in the plan", "secrets.env"},
		{`clan.vars.set(mac, "notes/ssid", password)`, "notes/ssid is not secret", "make the file secret"},
	} {
		for _, dry := range []bool{true, false} {
			before, _ := d.cl.openSnapshot(d.dir)
			_, _, err := d.run(dry, names("password", password), tt.code)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(runtime.HintOf(err), tt.hint) {
				t.Errorf("%s (dry: %v): %v (%s), want %q (%q)", tt.code, dry, err, runtime.HintOf(err), tt.want, tt.hint)
			}
			if after, _ := d.cl.openSnapshot(d.dir); len(after.since(before)) > 0 {
				t.Errorf("%s changed %q", tt.code, after.since(before))
			}
		}
	}
}

// TestLies: every way in which clan says that it succeeded and did not is
// found out by its effect.
func TestLies(t *testing.T) {
	for _, tt := range []struct{ fault, code, want string }{
		{"generate does nothing", `clan.vars.generate(mac, generators = ["ssh-key"])`, "clan says that it succeeded, and:\nssh-key/key is not there\nssh-key/pub is not there\nssh-key was not made of its definition"},
		{"generate drops one", `clan.vars.generate(mac, generators = ["ssh-key"])`, "clan says that it succeeded, and:\nssh-key/pub is not there"},
		{"generate keeps the hash", `clan.vars.generate(mac, generators = ["ssh-key"])`, "ssh-key was not made of its definition as it is now"},
		{"generate keeps the old", `clan.vars.generate(mac, generators = ["ssh-key"], regenerate = True)`, "ssh-key/key is the one that was there"},
		{"generate asks more", `clan.vars.generate(mac, generators = ["ssh-key"])`, `clan waits for an answer to "Overwrite everything? [y/N]", which is no prompt`},
		{"set does nothing", `clan.vars.set(mac, "ssh-key/key", password)`, "clan says that it succeeded, and ssh-key/key does not have the value"},
		{"set cuts", `clan.vars.set(mac, "ssh-key/key", password)`, "clan says that it succeeded, and ssh-key/key does not have the value"},
		{"set does nothing", `clan.vars.set(mac, "notes/ssid", "net")`, "clan says that it succeeded, and notes/ssid does not have the value"},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			d := newDriven(t)
			if strings.Contains(tt.code, "regenerate") {
				d.must(false, names(), `clan.vars.generate(mac, generators = ["ssh-key"])`)
			}
			t.Setenv("LAB_CLAN_FAULT", tt.fault)
			impatient(t)
			head := d.git("rev-parse", "HEAD")
			_, _, err := d.run(false, names("password", password), tt.code)
			if err == nil || !strings.Contains(err.Error(), tt.want) || runtime.HintOf(err) == "" {
				t.Errorf("%v (%s), want %q", err, runtime.HintOf(err), tt.want)
			}
			if d.git("rev-parse", "HEAD") != head {
				t.Error("something was committed")
			}
			// Without the fault it goes well: the code itself is right.
			t.Setenv("LAB_CLAN_FAULT", "")
			d.must(false, names("password", password), tt.code)
		})
	}
}

// impatient makes what only looks like a question be one soon.
func impatient(t *testing.T) {
	was := endurance
	endurance = patience
	t.Cleanup(func() { endurance = was })
}
