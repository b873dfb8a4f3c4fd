package clan

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"infra/runtime"
)

func TestFlagsInHelp(t *testing.T) {
	const help = `usage: clan machines install [-h] [--not-described] MACHINE
                             [--wrapped WRAPPED]

positional arguments:
  MACHINE               the machine, see --target-host

options:
  -h, --help            show this help message and exit
  -r, --regenerate, --no-regenerate
                        whether to, in spite of --mentioned
  --host-key-check {strict,ask,accept-new,tofu,none}
                        the mode
  -i IDENTITY_FILE      which key
  --option NAME VALUE   a nix option
  -y, --yes
  --ssh_args ARGS       of old
`
	want := []string{"--help", "--host-key-check", "--no-regenerate", "--option", "--regenerate", "--ssh_args", "--yes", "-h", "-i", "-r", "-y"}
	if got := slices.Sorted(maps.Keys(flagsIn(help))); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func FuzzFlagsIn(f *testing.F) {
	f.Add("  -r, --regenerate, --no-regenerate\n")
	f.Add("  --x\n\n -\n  --\n")
	f.Fuzz(func(t *testing.T, help string) {
		for flag := range flagsIn(help) {
			if !strings.HasPrefix(flag, "-") || strings.ContainsAny(flag, " \n,=") {
				t.Errorf("%q is no flag", flag)
			}
		}
	})
}

// TestProbedOnce: clan is asked for its flags once for each clan and leaf.
func TestProbedOnce(t *testing.T) {
	d := newDriven(t)
	wrapped(t)
	dr := driver{Clan: d.cl, dir: d.dir, cache: filepath.Join(t.TempDir(), "a", "b")}
	asked := func() int {
		text, _ := os.ReadFile(os.Getenv("CALLS"))
		return strings.Count(string(text), "--help")
	}
	for range 3 {
		known, err := dr.flags(t.Context(), machinesInstall)
		if err != nil || !known["--no-persist-state"] || !known["--flake"] || !known["-i"] || known["--no-such-flag"] || known["--another-flag"] {
			t.Fatalf("%v %v", known, err)
		}
	}
	if n := asked(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	// Damage is found, and another clan asked anew.
	files, _ := filepath.Glob(filepath.Join(dr.cache, "*"))
	if len(files) != 1 {
		t.Fatalf("the cache has %q", files)
	}
	if err := os.WriteFile(files[0], []byte(`["--cut`), 0o600); err != nil {
		t.Fatal(err)
	}
	if known, err := dr.flags(t.Context(), machinesInstall); err != nil || !known["--yes"] || asked() != 2 {
		t.Errorf("%v %v, asked %d times", known, err, asked())
	}
	wrapped(t)
	if _, err := dr.flags(t.Context(), machinesInstall); err != nil || asked() != 1 {
		t.Errorf("another clan: %v, asked %d times", err, asked())
	}
	// Many at once, and no more files than are kept.
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { writeProbe(filepath.Join(dr.cache, fmt.Sprintf("%d.json", i)), map[string]bool{"--x": true}) })
	}
	wg.Wait()
	if files, _ = filepath.Glob(filepath.Join(dr.cache, "*")); len(files) > probesKept {
		t.Errorf("%d files are kept", len(files))
	}
}

// TestOldClan: one that lacks what is needed is refused before anything runs,
// in a preview too.
func TestOldClan(t *testing.T) {
	d := newDriven(t)
	bin := t.TempDir()
	script := "#!/bin/sh\nif [ \"$3\" != --help ]; then touch ran; exit 1; fi\nprintf 'usage: clan\\n\\noptions:\\n  --flake PATH  where\\n'\n"
	if err := os.WriteFile(filepath.Join(bin, "clan"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, dry := range []bool{true, false} {
		_, _, err := d.run(dry, names(), `clan.vars.generate(mac, generators = ["ssh-key"])`)
		if err == nil || !strings.Contains(err.Error(), "the installed clan has no vars generate --generator") || !strings.Contains(runtime.HintOf(err), "clan vars generate --help") {
			t.Errorf("%v (%s)", err, runtime.HintOf(err))
		}
	}
	if _, err := os.Stat(filepath.Join(d.dir, "ran")); err == nil {
		t.Error("it was run nevertheless")
	}
}

func TestNoClan(t *testing.T) {
	d := newDriven(t)
	bin := t.TempDir()
	for _, name := range []string{"nix", "git"} {
		for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				_ = os.Symlink(filepath.Join(dir, name), filepath.Join(bin, name))
			}
		}
	}
	_ = os.Symlink("/bin/sh", filepath.Join(bin, "sh"))
	t.Setenv("PATH", bin)
	_, _, err := d.run(true, names(), `clan.vars.generate(mac, generators = ["ssh-key"])`)
	if err == nil || !strings.Contains(err.Error(), "clan is not installed (not on PATH)") || runtime.HintOf(err) == "" {
		t.Errorf("%v (%s)", err, runtime.HintOf(err))
	}
}
