// Package tools builds what the lab needs of terraform: terraform itself where
// the machine has none, OpenTofu, and the real provider for Hetzner's cloud. All
// of it comes as Go modules, since there is nothing else that a machine without
// the internet's other half can take it from.
//
// The folders beside this file hold a go.mod for each, with the versions; they
// are modules of their own, so that infra's go.mod has none of it.
package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gofrs/flock"
)

// Folder is where the tools are kept for all labs of this user; "" where the
// user has no cache folder.
func Folder() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "infra-lab")
}

// Bin is the folder of the programs, for PATH.
func Bin() string { return filepath.Join(Folder(), "bin") }

// Env is what lets terraform and tofu find the provider, and look for it nowhere
// else. It is empty until Install has been there.
func Env() []string {
	if _, err := os.Stat(config()); err != nil {
		return nil
	}
	return []string{"TF_CLI_CONFIG_FILE=" + config()}
}

func config() string { return filepath.Join(Folder(), "terraformrc") }

// A Tool is something to install.
type Tool struct {
	what    string
	module  string // a folder beside this file; "" where the package has a version of its own
	pkg     string
	flags   string // for the linker
	version string
	path    string // below Folder
	takes   string // how long it may take, for who waits
}

// The versions stand in the modules' go.mod, too.
const (
	terraformVersion = "1.8.5" // the last one that a Go module can be installed from: later ones replace modules
	tofuVersion      = "1.12.6"
	providerVersion  = "1.68.0"
)

const mirror = "mirror/registry.%s.%s/hetznercloud/hcloud/" + providerVersion + "/" + runtime.GOOS + "_" + runtime.GOARCH + "/terraform-provider-hcloud_v" + providerVersion

var (
	// Terraform is installed only where PATH has none.
	Terraform = Tool{
		what: "terraform", pkg: "github.com/hashicorp/terraform@v" + terraformVersion, version: terraformVersion,
		flags: "-X github.com/hashicorp/terraform/version.dev=no", path: "bin/terraform", takes: "a few minutes",
	}
	// Tofu is OpenTofu.
	Tofu = Tool{
		what: "OpenTofu", module: "opentofu", pkg: "github.com/opentofu/opentofu/cmd/tofu", version: tofuVersion,
		flags: "-X github.com/opentofu/opentofu/version.dev=no", path: "bin/tofu", takes: "five minutes",
	}
	// Provider is the one for Hetzner's cloud.
	Provider = Tool{
		what: "the provider hcloud", module: "hcloud", pkg: "github.com/hetznercloud/terraform-provider-hcloud", version: providerVersion,
		path: fmt.Sprintf(mirror, "terraform", "io"), takes: "a minute",
	}
)

// Install builds those tools that are not there, from a checkout of infra. It
// says on log what it builds. One process does so at a time.
func Install(ctx context.Context, log io.Writer, checkout string, wanted ...Tool) error {
	if Folder() == "" {
		return errors.New("the lab keeps its tools in the user's cache folder: set $HOME or $XDG_CACHE_HOME")
	}
	if err := os.MkdirAll(Bin(), 0o755); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(Folder(), "lock"))
	if err := lock.Lock(); err != nil {
		return fmt.Errorf("lock the folder of tools: %w", err)
	}
	defer lock.Close()
	for _, t := range wanted {
		if t.there() {
			continue
		}
		fmt.Fprintf(log, "lab: building %s %s, once on this machine: it takes %s\n", t.what, t.version, t.takes)
		if err := t.build(ctx, filepath.Join(checkout, "examples/lab/tools")); err != nil {
			return fmt.Errorf("build %s: %w", t.what, err)
		}
	}
	return errors.Join(shareProvider(), writeConfig())
}

func (t Tool) target() string { return filepath.Join(Folder(), t.path) }

// stamp is a file that says which version the target is.
func (t Tool) stamp() string {
	return filepath.Join(Folder(), "."+strings.ReplaceAll(t.what, " ", "-"))
}

// there says whether the tool is installed, in the version that is wanted.
func (t Tool) there() bool {
	if t.path == Terraform.path && onPath(t.target(), "terraform") {
		return true
	}
	version, err := os.ReadFile(t.stamp())
	if err != nil || string(version) != t.version {
		return false
	}
	_, err = os.Stat(t.target())
	return err == nil
}

// onPath says whether PATH leads to a program of that name other than our own.
func onPath(ours, program string) bool {
	path, err := exec.LookPath(program)
	return err == nil && path != ours
}

// build builds a tool and puts it in its place, as a whole.
func (t Tool) build(ctx context.Context, modules string) error {
	tmp, err := os.MkdirTemp(Folder(), ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	args := []string{"install", "-trimpath", "-ldflags", "-s -w " + t.flags, t.pkg}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = tmp // no module's
	if t.module != "" {
		cmd.Dir = filepath.Join(modules, t.module)
	}
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=-buildvcs=false", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	built, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil || len(built) != 1 {
		return errors.Join(fmt.Errorf("go built %d programs", len(built)), err)
	}
	if err := os.MkdirAll(filepath.Dir(t.target()), 0o755); err != nil {
		return err
	}
	if err := os.Rename(built[0], t.target()); err != nil {
		return err
	}
	return replace(t.stamp(), t.version)
}

// shareProvider lets OpenTofu find the provider as well: it looks for it below
// another registry.
func shareProvider() error {
	if !Provider.there() {
		return nil
	}
	same := filepath.Join(Folder(), fmt.Sprintf(mirror, "opentofu", "org"))
	was, err := os.Stat(same)
	is, missing := os.Stat(Provider.target())
	if missing != nil || err == nil && os.SameFile(was, is) {
		return missing
	}
	if err := os.MkdirAll(filepath.Dir(same), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(same + ".new"); err != nil {
		return err
	}
	if err := os.Link(Provider.target(), same+".new"); err != nil {
		return err
	}
	return os.Rename(same+".new", same)
}

// writeConfig writes the configuration of terraform's own.
func writeConfig() error {
	return replace(config(), fmt.Sprintf(`disable_checkpoint = true

provider_installation {
  filesystem_mirror {
    path = %q
  }
}
`, filepath.Join(Folder(), "mirror")))
}

// replace writes a file as a whole.
func replace(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
