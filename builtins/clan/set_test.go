package clan

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"infra/runtime"
)

func TestSet(t *testing.T) {
	d := newDriven(t)
	door, _ := d.must(false, names("password", password), `
clan.vars.set(mac, "user/password", password)
clan.vars.set(mac, "notes/ssid", "net")
again = clan.vars.set(mac, "notes/ssid", "net")
same = clan.vars.set(mac, "user/password", password)
`)
	if got := d.value("vars/per-machine/blackphos/user/password/secret"); got != password {
		t.Errorf("the password is %q", got)
	}
	if got := d.value("vars/per-machine/blackphos/notes/ssid/value"); got != "net" {
		t.Errorf("the ssid is %q", got)
	}
	var changed []bool
	for _, r := range door.Results {
		changed = append(changed, r.Changed)
	}
	if !slices.Equal(changed, []bool{true, true, true, true, false, false, false, false}) {
		t.Errorf("changed: %v", changed)
	}
	if got := d.git("log", "-2", "--format=%s"); got != "clan: var notes/ssid of blackphos\nclan: var user/password of blackphos" {
		t.Errorf("commits:\n%s", got)
	}
	dry, _ := d.must(true, names("password", password+"x"), `clan.vars.set(mac, "user/password", password)`)
	if p := dry.Predictions[0]; p.Verdict != runtime.WillChange || p.Detail != "stdin: ‹secret password›" {
		t.Errorf("%v %s", p.Verdict, p.Detail)
	}
}

// TestArguments: clan is called by its contract, and told to leave git alone.
func TestArguments(t *testing.T) {
	d := newDriven(t)
	wrapped(t)
	d.must(false, names("password", password), `
clan.vars.generate(mac, generators = ["ssh-key", "ca"], regenerate = True, sandbox = False, commit = False)
clan.vars.set(mac, "user/password", password, commit = False)
`)
	text, err := os.ReadFile(os.Getenv("CALLS"))
	if err != nil {
		t.Fatal(err)
	}
	c := readContract(t)
	var got []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "--help") {
			continue
		}
		env, argv, _ := strings.Cut(strings.TrimSpace(line), " ")
		if env != "1" {
			t.Errorf("CLAN_NO_COMMIT is %q", env)
		}
		if err := c.accepts(append([]string{"clan"}, strings.Fields(argv)...)); err != nil {
			t.Errorf("%s: %v", argv, err)
		}
		got = append(got, strings.ReplaceAll(argv, d.dir, "DIR"))
	}
	want := []string{
		"vars generate blackphos --generator ssh-key --regenerate --no-sandbox --flake DIR",
		"vars generate blackphos --generator ca --regenerate --no-sandbox --flake DIR",
		"vars set blackphos user/password --flake DIR",
	}
	if !slices.Equal(got, want) {
		t.Errorf("clan was called with\n%s", strings.Join(got, "\n"))
	}
}

// wrapped puts before clan a program that notes how it is called, in $CALLS.
func wrapped(t *testing.T) {
	t.Helper()
	bin, err := standIn()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("CALLS", filepath.Join(dir, "calls"))
	script := "#!/bin/sh\n# " + dir + "\necho \"$CLAN_NO_COMMIT $*\" >> \"$CALLS\"\nexec '" + bin + "/clan' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "clan"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}
