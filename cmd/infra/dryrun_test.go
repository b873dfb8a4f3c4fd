package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"infra/examples/lab/fleet"
	"infra/examples/lab/tools"
)

// TestTheDryRunOfEveryPlan previews each plan of plans/ on the fleet, compares
// what is shown with its golden, and wants every host and the project to be
// afterwards what they were, byte for byte. As a second witness all that the program
// and what it starts write to the project goes elsewhere, and must be nothing.
func TestTheDryRunOfEveryPlan(t *testing.T) {
	t.Parallel()
	if err := tools.Install(t.Context(), os.Stderr, "../..", tools.Terraform, tools.Provider); err != nil {
		t.Fatalf("go run ./examples/lab test sets it up: %v", err)
	}
	tr := onFleet(t, fleet.Options{Cloud: []string{"cinnabar"}}).withClan()
	files, err := filepath.Glob("../../plans/*.star")
	if err != nil || len(files) < 2 {
		t.Fatalf("plans are %q: %v", files, err)
	}
	previewed := 0
	for _, file := range files {
		name := filepath.Base(file)
		if name == "fleet.star" { // what plans load
			continue
		}
		previewed++
		t.Run(name, func(t *testing.T) {
			tr := tr.with(t)
			code := exitOK
			if name == "migration.star" { // it has nothing to run of its own
				code = exitUsage
			}
			tr.plan("--dry-run", "--build", "plans/"+name).want(t, code) // what the store here has would show
			project := tr.projectHash()
			var r ran
			tr.unchanged(func() { r = tr.readOnly("--dry-run", "plans/"+name) })
			r.want(t, code)
			if after := tr.projectHash(); after != project {
				t.Error("the project changed")
			}
			golden(t, "plans/"+strings.TrimSuffix(name, ".star")+".txt", anywhere(r.stderr))
			if code == exitOK {
				tr.keepsItsReads("plans/" + name)
			}
		})
	}
	if previewed == 0 {
		t.Error("no plan was previewed")
	}
}

// readOnly is plan where nothing of the project may be written: it could be, since a
// preview tells where a file cannot be, and the exit code is 98 then.
func (tr *trial) readOnly(args ...string) ran {
	tr.Helper()
	infra, err := exec.LookPath("infra")
	if err != nil {
		tr.Fatal(err)
	}
	const mounted = `upper=$2 && mkdir -p "$upper" && mount -t tmpfs tmpfs "$upper" && mkdir "$upper/up" "$upper/work" &&
mount -t overlay -o "lowerdir=$1,upperdir=$upper/up,workdir=$upper/work" overlay "$1" && cd "$1" &&
touch witness && [ -e "$upper/up/witness" ] && rm witness || exit 99
shift 2
code=0
"$@" || code=$?
written=$(find "$upper/up" -mindepth 1)
[ ! "$written" ] || { echo "it wrote $written" >&2; exit 98; }
exit $code`
	args = append([]string{"-m", "sh", "-c", mounted, "sh", tr.fleet.Project(), filepath.Join(tr.fleet.State(), "written"), infra, "run", "--ssh-config", tr.fleet.SSHConfig()}, args...)
	return tr.runs(exec.Command("unshare", args...), append(os.Environ(), tr.fleet.Env()...))
}

// projectHash is that of every file's name, mode, time and content.
func (tr *trial) projectHash() string {
	tr.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(tr.fleet.Project(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Mode(), info.Size(), info.ModTime())
		if !info.Mode().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(sum, f)
		return err
	})
	if err != nil {
		tr.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

var (
	publicKey = regexp.MustCompile(`ssh-ed25519 [A-Za-z0-9+/=]+`)
	storeHash = regexp.MustCompile(`/nix/store/[0-9a-z]{32}-`)
	seconds   = regexp.MustCompile(`\([0-9.]+s\)`)
	dates     = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`)
	amounts   = regexp.MustCompile(`[0-9.]+ (B|KiB|MiB|GiB)\b`)
)

// anywhere replaces what differs from machine to machine: the hashes of store
// paths, which depend on the system's own nix and bash, sizes, times, and dates.
func anywhere(text string) string {
	text = storeHash.ReplaceAllString(text, "/nix/store/HASH-")
	text = dates.ReplaceAllString(text, "DATE")
	text = publicKey.ReplaceAllString(text, "ssh-ed25519 KEY")
	return amounts.ReplaceAllString(seconds.ReplaceAllString(text, "(TIME)"), "SIZE")
}
