// Package fleet brings up the lab's five stand-in hosts on one Linux machine.
//
// Each host is a set of namespaces with a root, a nix store and a real sshd of
// its own, reached over the loopback only; some boot a real systemd. Everything that belongs to a fleet
// is in its state folder; [Fleet.Down] leaves nothing of it.
package fleet

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"

	"infra/examples/lab/tools"
)

// Options say which fleet is meant. The zero value is the usual one.
type Options struct {
	State string   // the state folder; "" is infra-lab in the temporary folder
	Net   string   // the first three numbers of the hosts' addresses; "" is 127.77.0
	Hosts []string // which hosts to bring up; nil: all

	// Systemd names the hosts that boot a systemd as their init, in a root and
	// a network of their own. The others are an sshd in this machine's root.
	Systemd []string

	// Cloud names the hosts that are servers of the cloud: they exist only once
	// its API, which this starts, has made them.
	Cloud []string
}

// A Fleet is the hosts of one state folder.
type Fleet struct {
	// Started names the hosts that this Up had to start.
	Started []string

	state   string
	net     string
	systemd []string
	cloud   []string
}

// DefaultNet is where the hosts of a fleet live unless Options say otherwise.
const DefaultNet = "127.77.0"

// size caps what a host can write to its root, and once more to its /nix.
const size = "256m"

//go:embed host.sh
var hostScript string

//go:embed boot.sh
var bootScript string

// Up brings up the fleet: it starts the hosts that are not running and returns
// when each of them takes ssh connections. Hosts outlive the calling process.
func Up(ctx context.Context, o Options) (*Fleet, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	f, err := claim(o)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(o.Hosts, o.Systemd, o.Cloud) {
		if _, err := f.host(name); err != nil {
			return nil, err
		}
	}
	lock := flock.New(f.path("lock"))
	if err := lock.Lock(); err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	defer lock.Close()
	if err := f.addSystemd(o.Systemd); err != nil {
		return nil, err
	}
	if err := f.addCloud(o.Cloud); err != nil {
		return nil, err
	}
	if err := f.prepare(ctx); err != nil {
		return nil, err
	}
	if err := f.startCloud(ctx); err != nil {
		return nil, fmt.Errorf("start the cloud: %w", err)
	}
	return f, f.start(ctx, o.Hosts)
}

// claim makes the state folder or takes an existing one of the same net.
func claim(o Options) (*Fleet, error) {
	f, err := Open(o.State)
	if err == nil && o.Net != "" && o.Net != f.net {
		return nil, fmt.Errorf("the lab in %s has the net %s, not %s: take it down first, or choose another --state", f.state, f.net, o.Net)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f = &Fleet{state: stateFolder(o.State), net: o.Net}
	if f.net == "" {
		f.net = DefaultNet
	}
	if err := os.MkdirAll(f.state, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	entries, err := os.ReadDir(f.state)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == newRecordFile })
	if err != nil || len(entries) > 0 {
		return nil, errors.Join(fmt.Errorf("%s is not empty and is no lab's state folder: choose another --state", f.state), err)
	}
	if err := private(f.state); err != nil {
		return nil, err
	}
	return f, f.writeRecord()
}

// addSystemd notes which more of the hosts boot a systemd from now on. A host
// keeps the init that it has.
func (f *Fleet) addSystemd(names []string) error {
	boxes, err := f.boxes()
	if err != nil {
		return err
	}
	before := len(f.systemd)
	for _, name := range names {
		switch {
		case slices.Contains(f.systemd, name):
		case boxes[name] != 0:
			return fmt.Errorf("%s is up without systemd: take the lab down first", name)
		default:
			f.systemd = append(f.systemd, name)
		}
	}
	if len(f.systemd) == before {
		return nil
	}
	return f.writeRecord()
}

// record is what the state folder says of its fleet. Which hosts are running
// is asked of the kernel.
type record struct {
	Net     string   `json:"net"`
	Systemd []string `json:"systemd,omitempty"`
	Cloud   []string `json:"cloud,omitempty"`
}

// writeRecord replaces the record as a whole: who is killed here leaves the
// old one or the new one.
func (f *Fleet) writeRecord() error {
	text, err := json.Marshal(record{Net: f.net, Systemd: f.systemd, Cloud: f.cloud})
	if err != nil {
		return err
	}
	if err := f.write(0o600, string(text), newRecordFile); err != nil {
		return err
	}
	return os.Rename(f.path(newRecordFile), f.path(recordFile))
}

const (
	recordFile    = "lab.json"
	newRecordFile = recordFile + ".new"
)

// Open returns the fleet of an existing state folder ("" is the default one),
// or an error that is fs.ErrNotExist where there is none.
func Open(state string) (*Fleet, error) {
	f := &Fleet{state: stateFolder(state)}
	text, err := os.ReadFile(f.path(recordFile))
	if err != nil {
		return nil, fmt.Errorf("no lab in %s: %w", f.state, err)
	}
	if err := private(f.state); err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path(recordFile), err)
	}
	f.net, f.systemd, f.cloud = r.Net, r.Systemd, r.Cloud
	return f, nil
}

func stateFolder(state string) string {
	if state == "" {
		state = filepath.Join(os.TempDir(), "infra-lab")
	}
	if abs, err := filepath.Abs(state); err == nil {
		return abs
	}
	return state
}

// prepare writes everything that is in the state folder.
func (f *Fleet) prepare(ctx context.Context) error {
	if err := f.writeAccess(); err != nil {
		return fmt.Errorf("make the lab's keys: %w", err)
	}
	if err := f.writeNixConf(); err != nil {
		return fmt.Errorf("write the lab's nix.conf: %w", err)
	}
	if err := f.makeProject(ctx); err != nil {
		return fmt.Errorf("make the lab's project: %w", err)
	}
	return errors.Join(
		f.write(0o600, hostScript, "host.sh"),
		f.write(0o600, bootScript, "boot.sh"),
	)
}

// start starts those of the named hosts that are not running.
func (f *Fleet) start(ctx context.Context, names []string) error {
	running, err := f.Running()
	if err != nil {
		return err
	}
	var waiting []*process
	for _, h := range f.Hosts() {
		if h.Cloud || names != nil && !slices.Contains(names, h.Name) {
			continue
		}
		if running[h.Name] != 0 { // perhaps not for long: another Up was killed
			waiting = append(waiting, f.process(h))
			continue
		}
		p, err := f.boot(ctx, h)
		if err != nil {
			return fmt.Errorf("start %s: %w", h.Name, err)
		}
		waiting = append(waiting, p)
		f.Started = append(f.Started, h.Name)
	}
	for _, p := range waiting {
		if err := p.answers(ctx); err != nil {
			return fmt.Errorf("start %s: %w", p.host.Name, err)
		}
	}
	return nil
}

// Down ends every host with all of its processes and removes the state folder,
// the record last: a Down that is killed can be repeated.
func (f *Fleet) Down() error {
	if err := f.stop(); err != nil {
		return err
	}
	entries, err := os.ReadDir(f.state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == recordFile {
			continue
		}
		if err := os.RemoveAll(f.path(e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(f.state)
}

// Project is the folder of the user's repository in the lab.
func (f *Fleet) Project() string { return f.path("project") }

// SSHConfig is the file for ssh -F and infra --ssh-config.
func (f *Fleet) SSHConfig() string { return f.path("ssh_config") }

// State is the state folder.
func (f *Fleet) State() string { return f.state }

// Bin is the folder of the programs that are only the lab's: it goes before
// all others in [Fleet.Env].
func (f *Fleet) Bin() string { return f.path("bin") }

// Env is what is added to the environment of a program that works on the fleet.
func (f *Fleet) Env() []string {
	env := []string{
		"SOPS_AGE_KEY_FILE=" + f.path("age", "keys.txt"),
		"NIX_CONF_DIR=" + f.path("nix"),
		"NIX_USER_CONF_FILES=/dev/null",
		"NIX_CONFIG=",
		"NIX_REMOTE=",
		"XDG_CACHE_HOME=" + f.path("cache"),
		"PATH=" + strings.Join([]string{f.Bin(), tools.Bin(), os.Getenv("PATH")}, string(os.PathListSeparator)),
	}
	if len(f.cloud) > 0 {
		env = append(env, "HCLOUD_ENDPOINT=http://"+f.CloudAddress()+"/v1")
	}
	return append(env, tools.Env()...)
}

func (f *Fleet) path(elem ...string) string {
	return filepath.Join(append([]string{f.state}, elem...)...)
}

// write makes a file of the state folder, and the folders above it.
func (f *Fleet) write(mode os.FileMode, text string, elem ...string) error {
	path := f.path(elem...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}
