package nix

import (
	"strings"
	"testing"

	"infra/runtime"
)

// planOf reads all that a nix said.
func planOf(stderr string) buildPlan {
	r := &planReader{}
	_, _ = r.Write([]byte(stderr))
	return r.plan
}

// TestParsePlan holds how nix 2.3 to 2.34 and Lix say what they would do.
func TestParsePlan(t *testing.T) {
	const hello = "  " + drv + "\n"
	other := strings.ReplaceAll(out, "hello", "other")
	for _, tt := range []struct{ name, stderr, want string }{
		{"nothing", "", ""},
		{"one", "this derivation will be built:\n" + hello, "1 derivation would be built:\n  hello-1.0"},
		{"2.3, no numbers", "these derivations will be built:\n" + hello + "these paths will be fetched (44.16 MiB download, 236.37 MiB unpacked):\n  " + other + "\n  " + out + "\n",
			"1 derivation would be built:\n  hello-1.0\n2 paths would be fetched (44.16 MiB download, 236.37 MiB unpacked):\n  hello-1.0\n  other-1.0"},
		{"2.8, among other lines", "warning: Git tree is dirty\nthese 2 derivations will be built:\n" + hello + hello +
			"these 2 paths will be fetched (1.20 MiB download, 5.00 MiB unpacked):\n  " + out + "\n  " + out + "\nerror: x\n  /nix/store/not-listed\n",
			"2 derivations would be built:\n  hello-1.0\n  hello-1.0\n2 paths would be fetched (1.20 MiB download, 5.00 MiB unpacked):\n  hello-1.0\n  hello-1.0"},
		{"2.28, other units", "unpacking 'github:NixOS/nixpkgs/aa290c9' into the Git cache...\nthis path will be fetched (178.1 KiB download, 1.2 GiB unpacked):\n  " + out + "\n",
			"1 path would be fetched (178.1 KiB download, 1.2 GiB unpacked):\n  hello-1.0"},
		{"coloured, with a blank line and a carriage return", "\x1b[1mthese 2 derivations will be built:\x1b[0m\r\n" + hello + "\r\n" + hello, "2 derivations would be built:\n  hello-1.0\n  hello-1.0"},
		{"fetched, no sizes", "this path will be fetched:\n  " + out + "\n", "1 path would be fetched:\n  hello-1.0"},
		{"many", "these 22 derivations will be built:\n" + strings.Repeat(hello, 22),
			"22 derivations would be built:" + strings.Repeat("\n  hello-1.0", 20) + "\n  … 2 more"},
		{"a warning is no heading", "warning: nothing will be built\n" + hello + "trace: this path will be fetched: x\n  " + out + "\n", ""},
	} {
		if got := planOf(tt.stderr).String(); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// TestLostPaths: a build that could not even begin is no prediction but an error.
func TestLostPaths(t *testing.T) {
	for _, heading := range []string{"don't know how to build these paths:", "don't know how to build these paths (may be caused by read-only store access):"} {
		err := planOf(heading + "\n  " + out + "\n").obstacle(&runtime.StorePath{Path: out})
		if err == nil || err.Error() != "hello-1.0 cannot be had here: nix finds neither a derivation nor a cache for\n  "+out || runtime.HintOf(err) == "" {
			t.Errorf("%s: %v", heading, err)
		}
	}
	if err := planOf("this derivation will be built:\n  " + drv + "\n").obstacle(&runtime.StorePath{Path: out}); err != nil {
		t.Error(err)
	}
}

// FuzzPlan: whatever nix says, in whatever pieces, only store paths are listed,
// and not too many are shown.
func FuzzPlan(f *testing.F) {
	f.Add("these 2 derivations will be built:\n  " + drv + "\n\n  " + drv + "\nthis path will be fetched (1 MiB download, 2 MiB unpacked):\n  " + out + "\n")
	f.Add("don't know how to build these paths:\n  " + out)
	f.Add("\x1b[35;1mwarning:\x1b[0m x\n  /nix/store/\n")
	f.Fuzz(func(t *testing.T, stderr string) {
		p := planOf(stderr)
		all := append(append(p.build, p.fetch...), p.lost...)
		for _, path := range all {
			if !inStore(path) || strings.ContainsAny(path, " \t\r\n") || !strings.Contains(stderr, "  ") {
				t.Errorf("%q is listed", path)
			}
		}
		shown := strings.Count(p.String(), "\n  ")
		if shown > 2*21 || len(p.build)+len(p.fetch) > 0 && shown == 0 {
			t.Errorf("%d of %d are shown", shown, len(all))
		}
		pieces := &planReader{}
		for line := range strings.Lines(stderr) {
			_, _ = pieces.Write([]byte(line))
		}
		if pieces.plan.String() != p.String() {
			t.Errorf("in pieces it is %q, at once %q", pieces.plan, p)
		}
	})
}

func TestLoad(t *testing.T) {
	seven := store32("1!a-1", "2!b-1", "3!c-1", "4!d-1", "5!e-1", "6!f-1", "7!g-1")
	for _, tt := range []struct {
		name    string
		missing []string
		sizes   []int64
		unbuilt []string
		want    string
	}{
		{"one", seven[:1], []int64{1536}, nil, "1 path, 1.5 KiB:\n  a-1, 1.5 KiB"},
		{"the largest", seven, []int64{1, 2, 3, 1 << 20, 5, 6, 2 << 30}, nil,
			"7 paths, 2.0 GiB:\n  g-1, 2.0 GiB\n  d-1, 1.0 MiB\n  f-1, 6 B\n  e-1, 5 B\n  c-1, 3 B\n  … 2 more"},
		{"not built", nil, nil, seven[:1], "not built here yet, and sent with what they need:\n  a-1\nwhat they need, and how much it is, is known after the build"},
		{"some built", seven[1:2], []int64{7}, seven[:1],
			"1 path, 7 B:\n  b-1, 7 B\nand not built here yet, and sent with what they need:\n  a-1\nwhat they need, and how much it is, is known after the build"},
	} {
		if got := load(tt.missing, tt.sizes, tt.unbuilt); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestSince(t *testing.T) {
	var many []string
	for c := 'a'; c <= 'z'; c++ {
		many = append(many, "x"+string(c)+"-1", "y"+string(c)+"-1")
	}
	for _, tt := range []struct {
		name          string
		before, after closure
		want          string
	}{
		{"all at once", closure{store32("a-1", "b-1", "1!etc"), 3 << 20}, closure{store32("a-2", "c-1", "2!etc"), 1 << 20},
			"packages: 1 changed, 1 added, 1 removed; 1 path rebuilt, of the same version\n  a: 1 -> 2\n  b: removed 1\n  c: added 1\nsize: 3.0 MiB -> 1.0 MiB (-2.0 MiB)"},
		{"rebuilt only", closure{store32("1!a-1"), 10}, closure{store32("2!a-1"), 15}, "the same packages; 1 path rebuilt, of the same version\nsize: 10 B -> 15 B (+5 B)"},
		{"equal", closure{store32("a-1"), 10}, closure{store32("a-1"), 10}, "the same packages\nsize: 10 B -> 10 B (+0 B)"},
	} {
		if got := tt.after.since(tt.before); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
	long := closure{store32(many...), 1}.since(closure{})
	if lines := strings.Split(long, "\n"); len(lines) != 33 || lines[0] != "packages: 52 added" || lines[31] != "  … 22 more" {
		t.Errorf("a long list is shown in %d lines:\n%s", len(lines), long)
	}
}

func TestVersionStep(t *testing.T) {
	for _, tt := range []struct{ before, after, want string }{
		{"1!nixos-system-vps-25.11.2", "2!nixos-system-vps-25.11.77", "nixos-system-vps: 25.11.2 -> 25.11.77"},
		{"1!darwin-system-25.11", "2!darwin-system-25.11", "darwin-system-25.11, another build of it"},
		{"1!nixos-system-vps-25.11", "2!nixos-system-web-25.11", "nixos-system-vps-25.11 -> nixos-system-web-25.11"},
	} {
		if got := versionStep(store32(tt.before)[0], store32(tt.after)[0]); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
