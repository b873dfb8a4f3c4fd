package preview

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"infra/runtime"
	"infra/runtime/remote"
)

func TestParseHost(t *testing.T) {
	for said, want := range map[string]Host{
		"": {},
		"system=/nix/store/a-system\nprofile=/nix/store/b-system\nlink=system-43-link\nboot=6299d99c\n": {System: "/nix/store/a-system", Profile: "/nix/store/b-system", Generation: 43, BootID: "6299d99c"},
		"system=\nprofile=\nlink=\nboot=\n":            {},
		"link=/nix/var/nix/profiles/system-7-link\r\n": {Generation: 7},
		"link=system--3-link\n":                        {Generation: 3},
		"link=somewhere\nnoise\n":                      {},
		"link=system-99999999999999999999-link\n":      {},
	} {
		if got := parseHost(said); got != want {
			t.Errorf("%q is %+v", said, got)
		}
	}
}

func TestTheHostScriptRunsInAShell(t *testing.T) {
	for _, shell := range []string{"sh", "bash", "dash"} {
		if _, err := exec.LookPath(shell); err != nil {
			continue
		}
		out, err := exec.Command(shell, "-c", hostScript).Output()
		boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if h := parseHost(string(out)); err != nil || h.BootID == "" || len(boot) > 0 && h.BootID+"\n" != string(boot) {
			t.Errorf("%s: %q: %v", shell, out, err)
		}
	}
}

func TestParseFlake(t *testing.T) {
	for text, ok := range map[string]bool{
		"":                                    false,
		"{}":                                  false,
		`{"locked": {"narHash": "sha256-x"}}`: false,
		`{"locked": {"narHash": "sha256-x"}, "locks": {"nodes": {}}}`:          true,
		`{"path": "/nix/store/x-source", "locks": {}, "resolved": {"type":1}}`: false,
		`{"path": "/nix/store/x-source", "locks": {}}`:                         true,
	} {
		if f, err := parseFlake([]byte(text)); (err == nil) != ok || ok && (f.NarHash == "" || len(f.Lock) != 64) {
			t.Errorf("%s is %+v: %v", text, f, err)
		}
	}
	git, _ := parseFlake([]byte(`{"locked": {"narHash": "x"}, "locks": {"a": 1}, "resolved": {"type": "git", "url": "file:///p"}}`))
	path, _ := parseFlake([]byte(`{"locked": {"narHash": "x"}, "locks": {  "a":1 }, "resolved": {"type": "path", "path": "/p"}}`))
	if git.Lock != path.Lock {
		t.Error("the layout of the locks counts")
	}
	if git.Counts("/p/preview.json") || !path.Counts("/p/sub/preview.json") || path.Counts("/preview.json") || (*Flake)(nil).Counts("/p/x") {
		t.Error("which files count is wrong")
	}
}

func TestObserveAFlake(t *testing.T) {
	if _, err := exec.LookPath("nix"); err != nil {
		t.Fatal("no nix")
	}
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := World{Root: root}
	observe := func() Facts {
		t.Helper()
		facts, err := w.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return facts
	}
	if f := observe(); f.Flake != nil || len(f.Tools) == 0 {
		t.Errorf("without a flake it is %+v", f)
	}
	input := t.TempDir()
	write("flake.nix", `{ inputs.a = { url = "path:`+input+`"; flake = false; }; outputs = { self, a }: { }; }`)
	first := observe().Flake
	if first == nil || !first.Counts(filepath.Join(root, "out.json")) {
		t.Fatalf("the flake is %+v", first)
	}
	if again := observe().Flake; again.NarHash != first.NarHash || again.Lock != first.Lock {
		t.Errorf("it is %+v, then %+v", first, again)
	}
	write("text", "more")
	if other := observe().Flake; other.NarHash == first.NarHash {
		t.Error("a new file does not count")
	}
	if _, err := os.Stat(filepath.Join(root, "flake.lock")); err == nil {
		t.Error("looking at the flake wrote its lock")
	}
	write("flake.nix", "{ outputs = ")
	if _, err := w.Observe(t.Context()); err == nil {
		t.Error("a broken flake was read")
	}
	w.Root = filepath.Join(root, "sub")
	write("sub/a", "")
	if !w.hasFlake() {
		t.Error("a flake above is not seen")
	}
	write("sub/.git", "")
	if w.hasFlake() {
		t.Error("a flake above the repository is seen")
	}
}

func TestAHostThatCannotBeAsked(t *testing.T) {
	pool := remote.NewPool(remote.Config{SSHConfig: os.DevNull})
	defer pool.Close()
	w := World{Root: t.TempDir(), Pool: pool, Hosts: []*runtime.Host{{Name: "b", SSH: "nobody@127.0.0.1:1"}, {Name: "a", SSH: "ssh://nobody@127.0.0.1:1"}}}
	facts, err := w.Observe(t.Context())
	if err != nil || len(facts.Hosts) != 2 || facts.Hosts[0] != (Host{Name: "a", Unreachable: true}) || !facts.Hosts[1].Unreachable {
		t.Errorf("got %+v: %v", facts.Hosts, err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := w.Observe(stopped); err == nil {
		t.Error("it was stopped and did not say so")
	}
}
