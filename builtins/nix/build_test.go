package nix_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"infra/builtins/internal/calltest"
	"infra/builtins/nix"
	"infra/runtime"
)

// builds are a derivation that goes on once somebody has seen in which phase it
// is, and some that fail.
const builds = `{
  outputs = { self }:
    let
      raw = rawWith { };
      rawWith = more: name: script: builtins.derivation (more // {
        inherit name;
        salt = "%s";
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-euc" script ];
        PATH = "/usr/bin:/bin";
      });
      lib = raw "lib-1.0" "echo > $out";
      one = raw "one-1.0" "echo of one; exit 3";
      two = raw "two-1.0" "echo of two; kill -KILL $$";
      three = raw "three-1.0" "echo of three";
    in {
      packages.x86_64-linux = {
        seen = raw "seen-1.0" ''
          : ${lib}
          printf '@nix { "action": "setPhase", "phase": "watchedPhase" }\n' >&"''${NIX_LOG_FD:-2}"
          printf '\033[31mred\033[0m\n'
          until [ -e GATE ]; do sleep 0.1; done
          echo > $out
        '';
        some = raw "some-1.0" ": ${one} ${two} ${three} ${lib}";
        silent = raw "silent-1.0" "echo last words; sleep 1000";
        among = raw "among-1.0" ": ${raw "long-1.0" "echo runs >GATE; sleep 1000"} ${raw "first-1.0" "until [ -s GATE ]; do sleep 0.1; done; exit 3"}";
        hash = rawWith { outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; } "hash-1.0" "echo hi > $out";
      };
    };
}
`

// TestBuildIsFollowed: while a build runs, people are told of it, of its phase,
// and of how many there are, and its log comes line by line.
func TestBuildIsFollowed(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	specs := nix.Specs(nil, "", projectOf(t, strings.ReplaceAll(builds, "GATE", gate)), "")
	var mu sync.Mutex
	var over runtime.Part
	d := new(calltest.Door)
	d.Context = runtime.WithProgress(t.Context(), func(p runtime.Part) {
		mu.Lock()
		defer mu.Unlock()
		if p.Name != "seen-1.0" {
			return
		}
		if p.Detail == "watchedPhase" && p.Does == "building" && p.Sum == "1 of 2 builds" {
			if err := os.WriteFile(gate, nil, 0o600); err != nil {
				t.Error(err)
			}
		}
		over = p
	})
	d.Must(t, specs, `nix.build(".#seen")`)
	if log := d.Log.String(); !strings.Contains(log, "building '/nix/store/") || !strings.Contains(log, "\nseen-1.0> red\n") || strings.Contains(log, "@nix") {
		t.Errorf("the log is\n%s", log)
	}
	if !over.Over || over.Does != "built" || over.Took <= 0 || !strings.HasPrefix(over.Sum, "2 of ") {
		t.Errorf("it ended with %+v", over)
	}
}

// TestFailedBuilds: all that failed are named, each with the end of its log and
// with the file of the whole.
func TestFailedBuilds(t *testing.T) {
	for _, tt := range []struct {
		name, config, code string
		want               []string
	}{
		{"several", "keep-going = true", `nix.build(".#some")`, []string{"the build of some-1.0 failed:\n",
			"the build of one-1.0 failed with exit code 3 in /nix/store/", "the last lines of its log:\nof one\nits full log: /nix/var/log/nix/drvs/", ".drv.bz2",
			"the build of two-1.0 failed due to signal 9 (Killed) in /nix/store/", "\nof two\n",
			"the build of three-1.0 failed to produce output path for output 'out' at "}},
		{"others are stopped", "max-jobs = 2", `nix.build(".#among")`, []string{"the build of among-1.0 failed: the build of first-1.0 failed with exit code 3 in /nix/store/", "-first-1.0.drv; its log is empty"}},
		{"another hash", "", `nix.build(".#hash")`, []string{"the build of hash-1.0 failed with a hash mismatch (specified sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=, got sha256-mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q=) in /nix/store/"}},
		{"over its time", "timeout = 1", `nix.build(".#silent")`, []string{"the build of silent-1.0 timed out after 1 seconds in /nix/store/", "\nlast words\n"}},
	} {
		specs := nix.Specs(nil, "", projectOf(t, strings.ReplaceAll(builds, "GATE", filepath.Join(t.TempDir(), "gate"))), "")
		t.Setenv("NIX_CONFIG", os.Getenv("NIX_CONFIG")+tt.config+"\n")
		_, err := new(calltest.Door).Run(t, specs, tt.code)
		if err == nil || !strings.Contains(runtime.HintOf(err), "nix log /nix/store/") {
			t.Errorf("%s: %v (%s)", tt.name, err, runtime.HintOf(err))
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nwant %q", tt.name, err, want)
			}
		}
		if strings.Contains(err.Error(), "long-1.0") {
			t.Errorf("%s: what nix stopped is blamed: %v", tt.name, err)
		}
	}
}
