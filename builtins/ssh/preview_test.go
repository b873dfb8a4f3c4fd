package ssh_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/calltest"
	"infra/builtins/ssh"
	"infra/runtime"
	"infra/runtime/remote"
)

// TestLooksAndAlters are what a preview goes by when it says which answers a
// change would alter.
func TestLooksAndAlters(t *testing.T) {
	none := runtime.Nothing
	for _, tt := range []struct {
		code          string
		looks, alters []string
		beyond        bool
	}{
		{`ssh.run(mac, ["true"])`, none, nil, false},
		{`ssh.run(mac, ["true"], reads = True)`, nil, none, false},
		{`ssh.put(mac, "/srv//a/./f", "")`, []string{"/srv/a/f"}, []string{"/srv/a/f"}, false},
		{`ssh.put(mac, "/etc/motd", "")`, []string{"/etc/motd", "/private/etc/motd"}, []string{"/etc/motd", "/private/etc/motd"}, false},
		{`ssh.put(mac, "/srv/f", source = "f")`, []string{"/srv/f"}, []string{"/srv/f"}, false},
		{`ssh.put(mac, "f", "")`, nil, nil, false},
		{`ssh.put(mac, "/srv/../f", "")`, nil, nil, false},
		{`ssh.get(mac, "/srv/f")`, []string{"/srv/f"}, none, false},
		{`ssh.get(mac, "/run/f")`, []string{"/private/var/run/f", "/run/f", "/var/run/f"}, none, false},
		{`ssh.get(mac, "/private/var/run/f")`, []string{"/private/var/run/f", "/run/f", "/var/run/f"}, none, false},
		{`ssh.get(mac, "/etcetera")`, []string{"/etcetera"}, none, false},
		{`ssh.get(mac, "f")`, nil, none, false},
		{`ssh.reachable(mac)`, nil, none, false},
		{`ssh.wait(mac)`, nil, none, false},
	} {
		op := asked(t, tt.code)
		if !equal(op.Looks, tt.looks) || !equal(op.Alters, tt.alters) || op.Beyond != tt.beyond {
			t.Errorf("%s looks at %q, alters %q, beyond %v", tt.code, op.Looks, op.Alters, op.Beyond)
		}
	}
}

// asked is the operation of a call that ends before it is carried out.
func asked(t *testing.T, code string) runtime.Op {
	t.Helper()
	pool := remote.NewPool(remote.Config{SSHConfig: "/dev/null"})
	defer pool.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := new(bench).door(false)
	d.Context = ctx
	if _, err := d.Run(t, ssh.Specs(pool, t.TempDir()), code); err == nil || len(d.Ops) != 1 {
		t.Fatalf("%s asked for %d operations and ended with %v", code, len(d.Ops), err)
	}
	return d.Ops[0]
}

// equal tells nothing from everything.
func equal(a, b []string) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }

// TestLooksMeetAlters: what a put really alters the answer of looks at what the
// put says that it alters.
func TestLooksMeetAlters(t *testing.T) {
	b := newBench(t)
	asks := []string{`ssh.get(mac, dir + "/D/a/f")`, `ssh.put(mac, dir + "/D/a/f", "new")`,
		`ssh.put(mac, dir + "/D/new", "x")`, `ssh.put(mac, dir + "/D/new/g", "x")`}
	altered, apart := 0, 0
	for i, change := range []string{`ssh.put(mac, dir + "/D/a/f", "new")`, `ssh.put(mac, dir + "/D/new/f", "new", mode = "0600")`} {
		in := fmt.Sprintf("d%d", i)
		b.write(t, in+"/a/f", "old", 0o644)
		before, looks := b.answers(t, in, asks)
		made := b.door(false)
		made.Must(t, ssh.Specs(b.pool, b.root), strings.ReplaceAll(change, "D", in))
		after, _ := b.answers(t, in, asks)
		for j, ask := range asks {
			meet := calltest.Meets(looks[j], made.Ops[0].Alters)
			if before[j] != after[j] {
				altered++
			}
			if !meet {
				apart++
			}
			if before[j] != after[j] && !meet {
				t.Errorf("%s alters %s\n  %s\n->%s", change, ask, before[j], after[j])
			}
		}
	}
	if altered < 3 || apart < 5 {
		t.Errorf("%d answers were altered, %d pairs told apart", altered, apart)
	}
}

// answers are what a dry run shows for each call in a folder, and what each looks at.
func (b *bench) answers(t *testing.T, folder string, calls []string) (said []string, looks [][]string) {
	t.Helper()
	for _, code := range calls {
		d := b.door(true)
		globals, err := d.Run(t, ssh.Specs(b.pool, b.root), "x = "+strings.ReplaceAll(code, "D", folder))
		answer := fmt.Sprint(globals["x"], err)
		for _, p := range d.Predictions {
			answer += " " + p.Verdict.String() + " " + p.Detail
		}
		said, looks = append(said, answer), append(looks, d.Ops[0].Looks)
	}
	return said, looks
}

// TestPutOwner: the owner that a replaced file loses is foreseen.
func TestPutOwner(t *testing.T) {
	b := newBench(t)
	b.write(t, "f", "one\n", 0o600)
	if err := os.Chown(filepath.Join(b.root, "f"), 65534, 65534); err != nil {
		t.Fatal("only root can give files away")
	}
	for _, tt := range []struct{ args, want string }{
		{`"one\n", mode = "0600"`, ""},
		{`"one\n", owner = "nobody"`, "mode 0600 -> 0644"},
		{`"one\n", mode = "0600"`, "mode 0644 -> 0600\nowner nobody -> root"},
		{`"one\n", owner = "nobody:nogroup", mode = "0600"`, "owner root:root -> nobody:nogroup"},
	} {
		code := `ssh.put(mac, dir + "/f", ` + tt.args + `)`
		dry := b.door(true)
		dry.Must(t, ssh.Specs(b.pool, b.root), code)
		if got := dry.Predictions[0]; got.Detail != tt.want || (got.Verdict == runtime.NoChange) != (tt.want == "") {
			t.Errorf("%s: predicted %v %q, want %q", code, got.Verdict, got.Detail, tt.want)
		}
		run := b.door(false)
		run.Must(t, ssh.Specs(b.pool, b.root), code)
		if run.Results[0].Changed != (tt.want != "") {
			t.Errorf("%s: changed %v", code, run.Results[0].Changed)
		}
	}
}

// TestRefused: what a run refuses or cannot do, a dry run does not foresee.
func TestRefused(t *testing.T) {
	b := newBench(t)
	b.write(t, "file", "", 0o644)
	if err := os.Symlink("nowhere", filepath.Join(b.root, "hole")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		code, want string
		asked      bool // the host had to be asked
	}{
		{`ssh.run(mac, ["-x"])`, "cannot begin with a dash", false},
		{`ssh.run(mac, ["a", "b\x00"])`, "NUL byte", false},
		{`ssh.run(mac, ["a"], env = {"A B": ""})`, "cannot be a variable's name", false},
		{`ssh.run(mac, ["a"], assume = token)`, "assume: want a string, got ‹secret token›", false},
		{`ssh.put(mac, "", "x")`, "is no path of a file", false},
		{`ssh.put(mac, dir + "/", "x")`, "is no path of a file", false},
		{`ssh.put(mac, "a\x00", "x")`, "is no path of a file", false},
		{`ssh.put(mac, dir + "/x", "x", owner = "-R")`, "is no owner", false},
		{`ssh.put(mac, dir + "/file/x", "x")`, "file is no folder", true},
		{`ssh.put(mac, dir + "/file/deep/x", "x")`, "file is no folder", true},
		{`ssh.put(mac, dir + "/hole/x", "x")`, "leads nowhere", true},
		{`ssh.put(mac, "/proc/sys/x", "x")`, "", true},
	} {
		if _, err := b.door(false).Run(t, ssh.Specs(b.pool, b.root), tt.code); err == nil {
			t.Errorf("%s: the run does it", tt.code)
		}
		d := b.door(true)
		_, err := d.Run(t, ssh.Specs(b.pool, b.root), tt.code)
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) || (len(d.Ops) > 0) != tt.asked {
			t.Errorf("%s: the dry run says %v, want %q", tt.code, err, tt.want)
		}
	}
}

func TestAssume(t *testing.T) {
	b := newBench(t)
	dry := b.door(true)
	globals := dry.Must(t, ssh.Specs(b.pool, b.root), `
a = ssh.run(mac, ["touch", dir + "/made"], assume = "made it")
b = ssh.run(mac, ["echo", "read"], reads = True, assume = "assumed", check = False)
`)
	unknown := runtime.Unknown{Op: "ssh.run", Pos: dry.Ops[0].Pos}
	want := runtime.CommandResult(starlark.String("made it"), unknown.As(runtime.StringShape), starlark.MakeInt(0), starlark.True)
	if got := globals["a"].String(); got != want.String() || dry.Ops[0].Assumes != "stdout is assumed" {
		t.Errorf("predicted %s [%s]", got, dry.Ops[0].Assumes)
	}
	if _, err := os.Stat(filepath.Join(b.root, "made")); err == nil {
		t.Error("the dry run ran it")
	}
	if got := globals["b"].String(); got != `command_result(stdout = "read\n", stderr = "", code = 0, changed = False)` {
		t.Errorf("a read that can be carried out is assumed: %s", got)
	}
	unknown.Pos = dry.Ops[1].Pos
	want = runtime.CommandResult(starlark.String("assumed"), unknown.As(runtime.StringShape), unknown.As(runtime.IntShape), starlark.False)
	if got := dry.Ops[1].NotKnown().String(); got != want.String() {
		t.Errorf("a read that cannot be carried out is %s, want %s", got, want)
	}
	if got := b.door(false).Must(t, ssh.Specs(b.pool, b.root), `x = ssh.run(mac, ["echo", "real"], assume = "assumed").stdout`)["x"]; got != starlark.String("real\n") {
		t.Errorf("a run answers %s", got)
	}
}

// TestFactsLooks: what is added to the store alters no fact, and a switch does.
func TestFactsLooks(t *testing.T) {
	looks := asked(t, `ssh.facts(mac)`).Looks
	for path, want := range map[string]bool{
		"/nix/store": false, "/nix/store/x": false, "/nix/var/nix/db": false, "/nix/var/nix/gcroots/infra": false, "/tmp/x": false, "/srv/x": false, "/boot": false,
		"/run/current-system": true, "/run/booted-system": true, "/etc/os-release": true, "/private/etc/zshenv": true, "/etc/static": true,
		"/nix/var/nix/profiles/system": true, "/nix/var/nix/profiles/default-2-link": true, "/root/.bashrc": true, "/usr/bin/nix": true, "/proc/sys/kernel/hostname": true,
	} {
		if got := calltest.Meets(looks, []string{path}); got != want {
			t.Errorf("the facts depend on %s: %v", path, got)
		}
	}
}
