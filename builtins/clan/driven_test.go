package clan

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/calltest"
	"infra/builtins/internal/sops"
	"infra/builtins/internal/sops/sopstest"
	"infra/builtins/nix"
	"infra/runtime"
)

// A driven is a clan of the tests' own with the stand-in for its CLI.
type driven struct {
	*testing.T
	dir string
	cl  Clan
}

// standIn builds the lab's clan once.
var standIn = sync.OnceValues(func() (string, error) {
	var err error
	if standInDir, err = os.MkdirTemp("", "infra-clan-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", filepath.Join(standInDir, "clan"), "../../examples/lab/clan")
	cmd.Stderr = os.Stderr
	return standInDir, cmd.Run()
})

// standInDir is where the stand-in is; "" where no test wanted it.
var standInDir string

// newDriven makes a clan in a git repository, of which the test is a user.
func newDriven(t *testing.T) *driven {
	t.Helper()
	if _, err := exec.LookPath("nix"); err != nil {
		t.Fatal("nix is not installed")
	}
	bin, err := standIn()
	if err != nil {
		t.Fatal(err)
	}
	key := sopstest.WithKey(t)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, name := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+name+"_NAME", "me")
		t.Setenv("GIT_"+name+"_EMAIL", "me@localhost")
	}
	dir, err := os.MkdirTemp("", "infra-clan") // the name of a test may be none in a flake's URL
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &driven{T: t, dir: filepath.Join(dir, "repo")}
	flake, err := os.ReadFile("testdata/driven/flake.nix")
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := json.Marshal([]map[string]string{{"publickey": key.Recipient().String(), "type": "age"}})
	d.write("flake.nix", string(flake))
	d.write("hash.nix", `"one"`)
	d.write("README", "mine")
	d.write(".gitignore", ".infra/\n")
	d.write("sops/users/me/key.json", string(keys))
	d.git("init", "-q")
	d.git("add", "-A")
	d.git("commit", "-q", "-m", "A clan")
	ev := nix.New(nix.Config{Root: d.dir})
	d.cl = Clan{Root: d.dir, Sealed: sops.NewReader(), Eval: ev.JSON, Looks: ev.Looks}
	return d
}

func (d *driven) specs() []call.Spec { return d.cl.Driving(nil) }

func (d *driven) write(name, text string) {
	d.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		d.Fatal(err)
	}
}

func (d *driven) git(args ...string) string {
	d.Helper()
	out, err := exec.Command("git", append([]string{"-C", d.dir}, args...)...).CombinedOutput()
	if err != nil {
		d.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// hosts are the names that the tests' code uses.
func hosts() starlark.StringDict {
	return starlark.StringDict{
		"mac":   &runtime.Host{Name: "blackphos", System: "aarch64-darwin"},
		"vps":   &runtime.Host{Name: "cinnabar", System: "x86_64-linux"},
		"other": &runtime.Host{Name: "blackfos", System: "aarch64-darwin"},
	}
}

// names are hosts and the secrets that answer prompts.
func names(extra ...string) starlark.StringDict {
	env := hosts()
	for i := 0; i+1 < len(extra); i += 2 {
		env[extra[i]] = runtime.NewSecret(extra[i], extra[i+1])
	}
	return env
}

// run runs code on the clan's functions.
func (d *driven) run(dry bool, env starlark.StringDict, code string) (*calltest.Door, starlark.StringDict, error) {
	d.Helper()
	door := &calltest.Door{DryRun: dry, Names: env}
	globals, err := door.Run(d.T, d.specs(), code)
	return door, globals, err
}

func (d *driven) must(dry bool, env starlark.StringDict, code string) (*calltest.Door, starlark.StringDict) {
	d.Helper()
	door, globals, err := d.run(dry, env, code)
	if err != nil {
		d.Fatalf("%s\n%v\n(%s)\n%s", code, err, runtime.HintOf(err), &door.Log)
	}
	return door, globals
}

// value is a var as it is now.
func (d *driven) value(path string) string {
	d.Helper()
	if strings.HasSuffix(path, "/secret") {
		doc, err := d.cl.Sealed.Open(d.Context(), sops.File{Root: d.dir, Name: path, Format: sops.Binary}, d.Output())
		if err != nil {
			d.Fatal(err)
		}
		text, err := doc.Content()
		if err != nil {
			d.Fatal(err)
		}
		return text
	}
	data, err := os.ReadFile(filepath.Join(d.dir, path))
	if err != nil {
		d.Fatal(err)
	}
	return string(data)
}
