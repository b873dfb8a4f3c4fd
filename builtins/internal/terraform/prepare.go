package terraform

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/hashicorp/terraform-exec/tfexec"

	"infra/runtime"
)

// A ready folder is one that terraform can work in. Its data stay as they are
// until it is closed.
type ready struct {
	*Dir
	bin  string // the path of the binary
	path string // of the folder, absolute
	work string // where terraform runs: path, or the folder of Config
	root string // what is kept beside it
	env  map[string]string
	lock *flock.Flock
}

func (r *ready) close() { _ = r.lock.Unlock() }

// data is terraform's own folder, .terraform elsewhere.
func (r *ready) data() string { return filepath.Join(r.root, "data") }

// note says for what the folder was last initialised.
func (r *ready) note() string { return filepath.Join(r.root, "initialized") }

// workspaceName is stricter than terraform, which takes whatever can be part of
// an address.
var workspaceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.~-]*$`)

// prepare makes the folder ready: initialised, if it is not yet, for exactly
// what it holds now. Those who only use the folder's data share it; who has to
// change it has it alone, and keeps it so.
func (d *Dir) prepare(ctx context.Context, log *lineLog) (*ready, error) {
	r, err := d.locate()
	if err != nil {
		return nil, err
	}
	if err := r.lockData(ctx, log, false); err != nil {
		return nil, err
	}
	stale, err := r.stale()
	if err == nil && stale {
		r.close()
		if err := r.lockData(ctx, log, true); err != nil {
			return nil, err
		}
		if stale, err = r.stale(); err == nil && stale {
			err = r.init(ctx, log)
		}
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// initAgain is for where terraform wants it, whatever the note says.
func (r *ready) initAgain(ctx context.Context, log *lineLog) error {
	r.close()
	if err := r.lockData(ctx, log, true); err != nil {
		return err
	}
	return r.init(ctx, log)
}

// locate finds what there is, and refuses what cannot be meant.
func (d *Dir) locate() (*ready, error) {
	if err := errors.Join(d.checkEnv(), d.checkVars()); err != nil {
		return nil, err
	}
	if !workspaceName.MatchString(d.workspace()) {
		return nil, fmt.Errorf("%q is no name of a workspace", d.workspace())
	}
	bin, err := exec.LookPath(d.binary())
	if err != nil {
		return nil, fmt.Errorf("%s is not installed (not on PATH): %w", d.binary(), exec.ErrNotFound)
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(d.Path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if d.Config != nil && errors.Is(err, fs.ErrNotExist) {
		err = nil // it only has what an apply writes
	} else if err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", d.Path)
	}
	root := d.Data
	if root == "" {
		if root, err = DataFolder(path); err != nil {
			return nil, err
		}
	}
	r := &ready{Dir: d, bin: bin, path: path, work: path, root: filepath.Join(root, d.named()+"-"+d.workspace())}
	if d.Config != nil {
		r.work = filepath.Join(r.root, "config")
	}
	r.env = d.environment(r.data())
	return r, r.checkWorkspace()
}

func (d *Dir) checkVars() error {
	for _, name := range slices.Sorted(maps.Keys(d.Vars)) {
		if !json.Valid([]byte(d.Vars[name].Reveal())) {
			return fmt.Errorf("the value of variable %s is not JSON", name)
		}
	}
	return nil
}

// checkWorkspace refuses a folder in which a person chose another workspace: one
// of the two is not meant.
func (r *ready) checkWorkspace() error {
	text, err := os.ReadFile(filepath.Join(r.path, ".terraform", "environment"))
	chosen := strings.TrimSpace(string(text))
	if err != nil || chosen == "" || chosen == r.workspace() {
		return nil
	}
	return runtime.WithHint(
		fmt.Errorf("in %s the workspace %s was chosen, and the plan asks for %s", r.Path, chosen, r.workspace()),
		"say workspace = %q in the plan, or run: %s -chdir=%s workspace select %s", chosen, r.named(), r.Path, r.workspace())
}

func (r *ready) lockData(ctx context.Context, log *lineLog, alone bool) error {
	if err := os.MkdirAll(r.data(), 0o700); err != nil {
		return err
	}
	if r.lock == nil {
		r.lock = flock.New(filepath.Join(r.root, "lock"))
	}
	try, wait := r.lock.TryRLock, r.lock.TryRLockContext
	if alone {
		try, wait = r.lock.TryLock, r.lock.TryLockContext
	}
	if got, err := try(); got || err != nil {
		return err
	}
	log.printf("waiting for another step that works on %s", r.Path)
	if _, err := wait(ctx, 50*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("locking %s: %w", r.root, err)
	}
	return nil
}

// stale says whether the folder has to be initialised: because something that
// init looks at is not as it was then.
func (r *ready) stale() (bool, error) {
	if r.Config != nil {
		if text, err := os.ReadFile(filepath.Join(r.work, configFile)); err != nil || string(text) != string(r.Config) {
			return true, nil
		}
	}
	now, err := r.fingerprint()
	if err != nil {
		return false, err
	}
	then, err := os.ReadFile(r.note())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return string(then) != now, nil
}

// fingerprint is a hash of everything that init looks at, and that is cheap to
// look at. Where it misses something, terraform says so: see wantsInit.
func (r *ready) fingerprint() (string, error) {
	h := sha256.New()
	info, err := os.Stat(r.bin)
	if err != nil {
		return "", err
	}
	fmt.Fprintln(h, r.bin, info.Size(), info.ModTime().UnixNano(), r.path)
	fmt.Fprintln(h, r.env["TF_CLI_CONFIG_FILE"], r.env["TF_PLUGIN_CACHE_DIR"])
	for _, k := range slices.Sorted(maps.Keys(r.Backend)) {
		fmt.Fprintf(h, "%q %q\n", k, r.Backend[k])
	}
	names, err := configFiles(r.work)
	if err != nil {
		return "", err
	}
	files := []string{filepath.Join(r.path, lockFile)}
	for _, name := range append(names, lockFile) {
		files = append(files, filepath.Join(r.work, name))
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		fmt.Fprintf(h, "%q %d\n", name, len(text))
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// lockFile holds the versions and hashes of the providers.
const lockFile = ".terraform.lock.hcl"

// configFiles are the names of the files that terraform or OpenTofu reads, in
// order.
func configFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		if slices.ContainsFunc([]string{".tf", ".tf.json", ".tofu", ".tofu.json"}, func(ext string) bool { return strings.HasSuffix(name, ext) }) {
			names = append(names, name)
		}
	}
	return names, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// reader is terraform-exec for this folder. It is made once for a Dir.
func (r *ready) reader() (*tfexec.Terraform, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tool != nil {
		return r.tool, nil
	}
	tool, err := tfexec.NewTerraform(r.work, r.bin)
	if err != nil {
		return nil, err
	}
	if err := tool.SetEnv(r.env); err != nil {
		return nil, err
	}
	if err := errors.Join(tool.SetWaitDelay(readGrace), tool.SetEnableLegacyPipeClosing(true)); err != nil {
		return nil, err
	}
	r.tool = tool
	return tool, nil
}

// readGrace is how long a command that changes nothing has to end when it was
// told to.
const readGrace = 30 * time.Second
