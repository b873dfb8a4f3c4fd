// Package terraform runs Terraform and OpenTofu in one folder: it prepares the
// folder, plans, applies exactly what was planned, and reads what is there.
//
// What validates and reads goes through terraform-exec. What takes long or
// changes the world is a process of its own, because its end matters more than
// its beginning: terraform writes its state when it is told to stop once, and
// loses what it was making when it is told twice, killed, or when its providers
// are told too.
package terraform

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"
	tfjson "github.com/hashicorp/terraform-json"

	"infra/runtime"
)

// ErrStale is in the error of an apply whose plan no longer fits the state:
// somebody applied something since.
var ErrStale = errors.New("the state has changed since the plan was made")

// DefaultLockTimeout is how long an apply waits for the lock of the state where
// a [Dir] does not say.
const DefaultLockTimeout = 10 * time.Minute

// A Dir is a folder with a configuration, and how it is run. The zero values
// of all fields but Path are good. Its methods may be called side by side; it
// must not be copied once one was.
type Dir struct {
	Binary    string // "terraform" or "tofu", a name on PATH or a path; "" is "terraform"
	Path      string // the folder
	Data      string // what terraform keeps beside the folder: TF_DATA_DIR, notes; "" is [DataFolder] of Path
	Workspace string // "" is "default"

	Env      map[string]runtime.Text // added to the few variables that terraform gets of infra's environment
	Vars     map[string]runtime.Text // by name: the value as JSON
	VarFiles []string                // relative ones are of Path
	Backend  map[string]string       // the backend's configuration, on top of what the folder says

	// Config is the configuration as JSON, in the place of Path's own; Path then
	// holds the lock file of the providers, and the state if the configuration
	// names no backend.
	Config []byte

	LockTimeout time.Duration // how long an apply waits for the state's lock; 0 is [DefaultLockTimeout], less than 0 is not at all

	// Run is what a note of an apply that never ended calls the run it was of.
	Run string

	mu   sync.Mutex
	tool *tfexec.Terraform // made once: it asks for its version once
}

// A Saved is a plan to apply. It is never on disk but while terraform reads or
// writes it: it holds variables in clear.
type Saved struct {
	Plan *tfjson.Plan
	file []byte
}

// An Applied is what an apply did.
type Applied struct {
	Done    []Done            // in the order of their ends; of an apply that failed too
	Outputs map[string]Output // nil of an apply that failed
}

// A Done is one thing that terraform did to one resource. A replacement is two.
type Done struct {
	Address string
	Action  string // "create", "update" or "delete"
	ID      string // what the provider calls the resource; "" where terraform does not say
	Took    time.Duration
}

// An Output is one output value of the configuration.
type Output struct {
	Sensitive bool
	Value     json.RawMessage
}

func (d *Dir) binary() string {
	if d.Binary == "" {
		return "terraform"
	}
	return d.Binary
}

func (d *Dir) workspace() string {
	if d.Workspace == "" {
		return "default"
	}
	return d.Workspace
}

func (d *Dir) lockTimeout() time.Duration {
	if d.LockTimeout == 0 {
		return DefaultLockTimeout
	}
	return max(d.LockTimeout, 0)
}

// named is what messages call the tool: a path's base name.
func (d *Dir) named() string { return filepath.Base(d.binary()) }

// DataFolder is where infra keeps what belongs to a folder with a
// configuration but not into it: below the user's cache folder.
func DataFolder(path string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "infra", "terraform", digest([]byte(path))[:24]), nil
}
